"""The pages in a browser: they show what is sent, live, in light and in dark, and need no other server."""

from __future__ import annotations

import re
import shutil
import tempfile
import unittest
from pathlib import Path

from tests.artcast.server import ArtcastServer
from tests.browser import DESKTOP, PHONE, Browser, missing
from tests.processes import ROOT

DAYS = [["2026-11-18", 427.11], ["2026-11-19", 427.3], ["2026-11-20", 427.52]]


@unittest.skipIf(missing(), missing())
class InABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = ArtcastServer(TEMPLATES="templates")
        (cls.server.folder / "templates" / "school").mkdir(parents=True)
        own = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "artcast.md").read_text(), re.DOTALL)
        (cls.server.folder / "templates" / "school" / "door.html").write_text("<!DOCTYPE html><body>" + own[0])
        cls.server.start()
        cls.addClassCleanup(cls.server.close)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.url = "http://{}:{}".format(*cls.server.client)
        for key, description, provenance, license_ in (
            ("test/tick", "Counts seconds since it was started", "artcast.sources.tick", "CC0 1.0"),
            ("co2/maunaloa", "Carbon dioxide over Mauna Loa, parts per million, day by day", "NOAA", ""),
            ("school/door", "Whether the front door is open", "a reed switch and class 6b", "CC BY 4.0"),
        ):
            terms = {"uri": "https://creativecommons.org/", "title": license_} if license_ else None
            cls.server.register(key, description=description, provenance=provenance, license=terms)

    def setUp(self) -> None:
        self.browser.resize(DESKTOP)
        self.browser.prefer(prefers_color_scheme="light")

    def shown(self, key: str, value: object, text: str, where: str = "#value") -> None:
        """Send it until the page shows it: a source repeats its values, too."""

        def send_and_look() -> bool:
            self.server.send(key, value)
            return self.browser.text(where) == text

        self.browser.wait_until(send_and_look, f"{text} on the page of {key}")

    def test_the_table_follows_what_is_on_the_air(self) -> None:
        self.browser.open(self.url)
        self.browser.wait_until(lambda: "school/door" in self.browser.text("#keys"))
        self.browser.screenshot("artcast-keys-light")
        self.server.send("seen/later", 1)
        self.browser.wait_until(lambda: "seen/later" in self.browser.text("#keys"))
        self.browser.resize(PHONE)
        self.browser.prefer(prefers_color_scheme="dark")
        self.browser.screenshot("artcast-keys-phone")
        self.assertEqual(self.browser.console(), [])

    def test_a_key_shows_its_values_as_they_come(self) -> None:
        self.browser.open(self.url + "/artcasts/test/tick")
        self.shown("test/tick", 41, "41")
        self.shown("test/tick", 42, "42")
        self.browser.screenshot("artcast-key-light")
        self.shown("test/tick", "<b>a line of text</b>, as it was sent", "<b>a line of text</b>, as it was sent")
        self.browser.prefer(prefers_color_scheme="dark")
        self.browser.screenshot("artcast-key-text-dark")
        self.assertEqual(self.browser.console(), [])

    def test_a_list_has_a_line_for_each_item(self) -> None:
        self.browser.open(self.url + "/artcasts/co2/maunaloa")
        self.shown("co2/maunaloa", DAYS, "2026-11-18   427.11\n2026-11-19   427.3\n2026-11-20   427.52")
        self.browser.resize(PHONE)
        self.browser.screenshot("artcast-key-list-phone")
        self.assertEqual(self.browser.console(), [])

    def test_an_empty_key_and_one_with_odd_characters(self) -> None:
        for path, key in (("", ""), ("Z%C3%BCrich%20%3F%23", "Zürich ?#")):
            self.browser.open(f"{self.url}/artcasts/{path}")
            self.shown(key, "here", "here")

    def test_a_page_of_ones_own_as_the_manual_shows_it(self) -> None:
        self.browser.open(self.url + "/artcasts/school/door")
        for value, text in ((True, "open"), (False, "closed")):
            self.shown("school/door", value, text, "body")

    def test_the_client_for_any_page_shows_values_too(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        page = Path(folder, "artcast.html")
        page.write_text((ROOT / "examples" / "artcast.html").read_text().replace("http://localhost:8888", self.url))
        self.browser.open(page.as_uri())
        self.shown("test/tick", 7, "7")
        self.browser.screenshot("artcast-client")
