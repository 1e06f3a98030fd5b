"""The pages that the web server makes itself, in a browser: lists, uploads, topics and errors."""

from __future__ import annotations

import os
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from fanout.http import pages
from tests.browser import DESKTOP, PHONE, Browser, missing
from tests.web import Answer, ask
from tests.webserver.test_cli import Process

WHEN = 1_795_294_143  # 2026-11-21 20:49:03 UTC
SITE = """
[server]
port = 0
[topics]
[[uploads]]
folder = "uploads"
listing = true
[[uploads]]
at = "/unlisted"
folder = "unlisted"
[[files]]
folder = "public"
listing = true
"""
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a b.txt"\r\n\r\n1\r\n--b--\r\n'


class PagesCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.home = Path(temporary.name)
        for name in ("uploads", "unlisted", "public/empty", "public/reports & more"):
            (cls.home / name).mkdir(parents=True)
        for name, octets in (
            ("notes.txt", 12),
            ("<b>.bin", 1_234_567),
            ("a" * 120 + ".dat", 999_960),
            ("Z.log", 1_000),
        ):
            path = cls.home / "public" / name
            path.write_bytes(b"x" * octets)
            os.utime(path, (WHEN, WHEN))
        (cls.home / "SITE.toml").write_text(SITE)
        cls.process = Process("webserver", str(cls.home / "SITE.toml"))
        cls.addClassCleanup(cls.process.kill)
        cls.address = cls.process.address
        cls.url = "http://{}:{}".format(*cls.address)


class Octets(PagesCase):
    """What does not need a browser."""

    def page(self, path: str, **headers: str) -> Answer:
        answer = ask(self.address, path, accept="text/html", **headers)
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        return answer

    def test_a_list_has_size_date_and_parent_folder(self) -> None:
        text = self.page("/").body.decode()
        cell = '<td class="size" title="1,234,567 octets">1.2 MB</td>'
        time = '<td><time datetime="2026-11-21T20:49:03Z">2026-11-21 20:49</time></td>'
        self.assertIn(f'<a href="./%3Cb%3E.bin">&lt;b&gt;.bin</a></th>{cell}{time}</tr>', text)
        for size in ("12 B", "1.0 kB", "1.0 MB"):
            self.assertIn(f">{size}</td>", text)
        self.assertNotIn("Parent folder", text)
        self.assertLess(text.index("reports &amp; more/"), text.index("&lt;b&gt;.bin"))
        text = self.page("/empty/").body.decode()
        self.assertIn('<a href="../">Parent folder</a>', text)

    def test_each_page_may_use_its_own_style_and_nothing_else(self) -> None:
        for path in ("/", "/uploads/", "/nowhere", "/uploads/nowhere", "/channels"):
            answer = self.page(path)
            self.assertEqual(answer.headers["content-security-policy"], dict(pages.HEADERS)["content-security-policy"])
        self.assertIn("sandbox", ask(self.address, "/unlisted/x", method="PUT", body=b"1") and self.stored())

    def stored(self) -> str:
        return ask(self.address, "/unlisted/x").headers["content-security-policy"]

    def test_a_program_that_posts_gets_json_and_a_browser_a_page(self) -> None:
        posted = {"method": "POST", "body": PART, "content_type": FORM}
        answer = ask(self.address, "/uploads", **posted)
        self.assertEqual((answer.status, answer.json), (201, {"files": ["/uploads/a%20b.txt"]}))
        ask(self.address, "/uploads/a%20b.txt", method="DELETE")
        answer = ask(self.address, "/uploads", accept="image/png", **posted)
        self.assertEqual((answer.status, answer.headers["content-type"]), (201, "application/json"))
        browser = {**posted, "accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        answer = ask(self.address, "/unlisted", **browser)
        self.assertEqual((answer.status, answer.headers["location"]), (201, "/unlisted/a%20b.txt"))
        self.assertIn(b'<a href="/unlisted/a%20b.txt">/unlisted/a b.txt</a>', answer.body)
        self.assertEqual(ask(self.address, "/uploads", **browser).status, 409)
        ask(self.address, "/uploads/a%20b.txt", method="DELETE")
        answer = ask(self.address, "/uploads", **browser)
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/uploads/"))
        ask(self.address, "/uploads/a%20b.txt", method="DELETE")


@unittest.skipIf(missing(), missing())
class InABrowser(PagesCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        for topic, value in (("kitchen/temperature", b"21.5"), ("door", b'{"open": true}')):
            ask(cls.address, f"/channels/{topic}", method="PUT", body=value, content_type="application/json")

    def setUp(self) -> None:
        self.browser.resize(DESKTOP)

    @contextmanager
    def looks(self, name: str, *, errors: int = 0) -> Iterator[None]:
        """What a page is like in the light and the dark, on a desk and in a hand: nothing is cut off."""
        yield
        for size, width in ((DESKTOP, "wide"), (PHONE, "narrow")):
            self.browser.resize(size)
            for scheme, ground in (("light", "rgb(243, 241, 236)"), ("dark", "rgb(17, 22, 27)")):
                self.browser.prefer(prefers_color_scheme=scheme)
                self.assertEqual(self.browser.run("return getComputedStyle(document.body).backgroundColor"), ground)
                wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
                self.assertLessEqual(self.browser.run(wider), 0, f"{name}: {width}")
                self.browser.screenshot(f"web-{name}-{width}-{scheme}")
        self.browser.resize(DESKTOP)
        self.assertEqual(len(self.browser.console()), errors)

    def test_a_list_of_files(self) -> None:
        with self.looks("files"):
            self.browser.open(self.url + "/")
        self.assertIn("1.2 MB", self.browser.text("main"))
        self.browser.open(self.url + "/empty/")
        with self.looks("empty"):
            self.browser.open(self.url + "/empty/")

    def test_the_keyboard_leads_through_folders(self) -> None:
        self.browser.open(self.url + "/empty/")
        self.press(Keys.TAB)
        self.assertEqual(self.browser.run("return document.activeElement.textContent"), "Parent folder")
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        self.assertEqual(self.browser.run(outline), "solid")
        self.press(Keys.ENTER)
        self.browser.wait_until(lambda: self.browser.driver.current_url == self.url + "/")
        self.press(Keys.TAB, Keys.TAB, Keys.ENTER)
        self.browser.wait_until(lambda: self.browser.driver.current_url.endswith("/reports%20%26%20more/"))

    def press(self, *keys: str) -> None:
        ActionChains(self.browser.driver).send_keys(*keys).perform()

    def test_files_are_uploaded_by_a_form(self) -> None:
        self.browser.open(self.url + "/uploads/")
        field = self.browser.one("input[type=file]")
        field.send_keys(f"{self.home}/public/notes.txt\n{self.home}/public/Z.log")
        self.browser.one("button").click()
        with self.looks("uploads"):
            self.browser.wait_until(lambda: "notes.txt" in self.browser.text("main"))
        self.assertEqual(self.browser.driver.current_url, self.url + "/uploads/")
        self.assertEqual((self.home / "uploads" / "notes.txt").read_bytes(), b"x" * 12)
        self.browser.one("input[type=file]").send_keys(f"{self.home}/public/notes.txt")
        self.browser.one("button").click()
        with self.looks("upload-refused", errors=1):
            self.browser.wait_until(lambda: "409 Conflict" in self.browser.text("main"))

    def test_errors(self) -> None:
        with self.looks("error"):
            self.browser.open(self.url + "/nowhere")
        self.assertEqual(self.browser.text("h1"), "404 Not Found")

    def test_topics(self) -> None:
        with self.looks("topics"):
            self.browser.open(self.url + "/channels")
        self.assertEqual(self.browser.text("h1"), "Topics")
