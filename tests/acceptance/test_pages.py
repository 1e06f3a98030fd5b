"""The pages in a real browser: they live, come back, let nobody's HTML in, and can be used without a mouse."""

from __future__ import annotations

import json
import unittest
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests import services
from tests.browser import DESKTOP, PHONE, SECONDS, Browser, missing
from tests.processes import ROOT, Server
from tests.radio import Radio

ROCK = "fm/4e1/4000/09580"
EVIL = "<img src=x onerror='window.evil=1'><script>window.evil=1</script>"
UNREACHABLE = "net::ERR_"  # what Chromium itself says of a node that is away; no page can help it


class PagesCase(unittest.TestCase):
    """A node by itself with the stations and slides of the demo, and a browser."""

    server: ClassVar[Server]
    browser: ClassVar[Browser]
    site: ClassVar[str]
    admin: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        if reason := missing():
            raise AssertionError(reason)
        http, admin = services.free_port(), services.free_port()
        cls.site, cls.admin = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{admin}"
        cls.server = Server(
            "--standalone",
            STATIONS_FILE="stations.toml",
            SLIDES_DIR=ROOT / "demo" / "slides",
            HTTP_PORT=http,
            ADMIN_PORT=admin,
            FB_FALLBACK_TIME=3600,
        )
        cls.addClassCleanup(cls.server.close)
        stations = (ROOT / "demo" / "stations.toml").read_text().replace(":8080", f":{http}")
        (cls.server.folder / "stations.toml").write_text(stations)
        cls.server.start()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self) -> None:
        self.browser.resize(DESKTOP)
        self.browser.prefer(prefers_color_scheme="dark", prefers_reduced_motion="reduce")

    def tearDown(self) -> None:
        self.assertEqual(self.server.faults, [])

    def publish(self, slide: str, text: str, **headers: str) -> None:
        """A slide of the demo, or a whole address, and a text, by Rock FM over STOMP."""
        src = slide if ":" in slide else f"{self.site}/slides/{slide}"
        station = Radio.connect(self.server.address, "1.rock", "demo", version="1.2")
        escaped = {name: value.replace(":", "\\c") for name, value in headers.items()}
        station.publish(f"/topic/{ROCK}/text", f"TEXT {text}".encode())
        station.publish(f"/topic/{ROCK}/image", f"SHOW {src}".encode(), escaped)
        station.close()

    def open(self, path: str) -> None:
        """Load a page, and wait until it hears the node."""
        self.browser.open(path if path.startswith("http") else self.site + path)
        self.wait_for_state("Live")

    def wait_for_state(self, state: str) -> None:
        self.browser.wait_until(lambda: self.browser.text("#state") == state, state)

    def wait_for_slide(self, within: str, name: str) -> None:
        """It is loaded, and to be seen."""
        script = f"const i = document.querySelector('{within} .slide img');"
        script += "return !i.hidden && i.complete && i.naturalWidth === 320 ? i.src : null"
        self.browser.wait_until(lambda: self.browser.run(script) == f"{self.site}/slides/{name}", name)

    def wait_for_text(self, selector: str, text: str) -> None:
        self.browser.wait_until(lambda: self.browser.text(selector) == text, text)

    def assert_quiet(self, *, after_restart: bool = False) -> None:
        """The console said nothing; but that the node was away, if it was."""
        said = self.browser.console()
        self.assertEqual([line for line in said if not (after_restart and UNREACHABLE in line)], [])

    def assert_fits(self) -> None:
        """Nothing has to be moved sideways to be read."""
        self.assertLessEqual(self.browser.run("return document.documentElement.scrollWidth - innerWidth"), 0)

    def restart_under(self) -> None:
        """The node crashes and comes back, and the page shows both."""
        self.server.kill()
        self.wait_for_state("Reconnecting…")
        self.server.start()
        self.wait_for_state("Live")


CARD = f'[data-service="{ROCK}"]'


class TestWall(PagesCase):
    def test_it_changes_when_a_slide_is_published(self) -> None:
        self.publish("rock-1.png", "Now playing: one")
        self.open("/")
        self.wait_for_slide(CARD, "rock-1.png")
        self.wait_for_text(f"{CARD} .text", "Now playing: one")
        self.publish("rock-2.png", "Now playing: two")
        self.wait_for_slide(CARD, "rock-2.png")
        self.wait_for_text(f"{CARD} .text", "Now playing: two")
        self.assertEqual(len(self.browser.all(".card")), 3)
        self.assert_fits()
        self.assert_quiet()
        self.assertGreater(self.browser.screenshot("wall").stat().st_size, 10_000)

    def test_it_comes_back_after_a_restart(self) -> None:
        self.open("/")
        self.restart_under()
        self.publish("rock-3.png", "Here again")
        self.wait_for_slide(CARD, "rock-3.png")
        self.wait_for_text(f"{CARD} .text", "Here again")
        self.assert_quiet(after_restart=True)

    def test_a_new_station_comes_and_goes_by_itself(self) -> None:
        file = Path(self.server.folder) / "stations.toml"
        before = file.read_text()
        self.open("/")
        channel = '[[station.channel]]\ntopic = "/topic/fm/4e1/4000/09990/"\n'
        file.write_text(before.replace("[[station.channel]]", f"{channel}[[station.channel]]", 1))
        self.browser.wait_until(lambda: len(self.browser.all(".card")) == 4, "the fourth card")
        file.write_text(before)
        self.browser.wait_until(lambda: len(self.browser.all(".card")) == 3, "three cards")
        self.assert_quiet()

    def test_paused_it_stands_still(self) -> None:
        self.publish("rock-1.png", "Before")
        self.open("/")
        self.wait_for_text(f"{CARD} .text", "Before")
        self.browser.one("#pause").click()
        self.publish("rock-2.png", "After")
        # What a stream opened now begins with, the page's own has brought already.
        self.browser.run(f"return fetch('/events/{ROCK}').then((answer) => answer.body.getReader().read())")
        self.assertEqual(self.browser.text(f"{CARD} .text"), "Before")
        self.browser.one("#pause").click()
        self.wait_for_text(f"{CARD} .text", "After")
        self.wait_for_slide(CARD, "rock-2.png")

    def test_on_a_phone_in_the_light(self) -> None:
        self.browser.resize(PHONE)
        self.browser.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        self.publish("rock-1.png", "A text that is too long for one line of any phone that was ever made")
        self.open("/")
        self.wait_for_slide(CARD, "rock-1.png")
        self.assert_fits()
        self.assert_quiet()
        self.browser.screenshot("wall-phone")

    def test_with_the_keyboard(self) -> None:
        self.open("/")
        body = self.browser.one("body")
        body.send_keys(Keys.TAB)
        self.assertEqual(self.focused().text, "Skip to the content")
        for _ in range(8):
            self.browser.driver.switch_to.active_element.send_keys(Keys.TAB)
            if self.focused().text == "Rock FM":
                break
        self.focused().send_keys(Keys.ENTER)
        self.browser.wait_until(lambda: self.browser.driver.current_url == f"{self.site}/service/{ROCK}")

    def focused(self) -> WebElement:
        return self.browser.driver.switch_to.active_element


class TestService(PagesCase):
    def test_it_changes_when_a_slide_is_published(self) -> None:
        self.open(f"/service/{ROCK}")
        self.publish("rock-1.png", "Now playing: one", link="http://rock.example/one")
        self.wait_for_slide(".radio", "rock-1.png")
        self.wait_for_text(".radio .text", "Now playing: one")
        self.assertEqual(self.browser.one(".link").get_attribute("href"), "http://rock.example/one")
        self.assertEqual(self.browser.text("h1"), "Rock FM")
        self.assert_fits()
        self.assert_quiet()
        self.browser.screenshot("service")

    def test_it_comes_back_after_a_restart(self) -> None:
        self.open(f"/service/{ROCK}")
        self.restart_under()
        self.publish("rock-2.png", "Here again")
        self.wait_for_slide(".radio", "rock-2.png")
        self.wait_for_text(".radio .text", "Here again")
        self.assert_quiet(after_restart=True)

    def test_a_long_text_runs_unless_the_reader_wants_rest(self) -> None:
        self.browser.resize(PHONE)
        self.browser.prefer(prefers_reduced_motion="no-preference")
        motion = "return getComputedStyle(document.querySelector('.text span')).animationName"
        self.publish("rock-1.png", "A text that is too long for one line of any phone that was ever made")
        self.open(f"/service/{ROCK}")
        self.browser.wait_until(lambda: self.browser.run(motion) == "run", "the text runs")
        self.assert_fits()
        self.browser.screenshot("service-phone")
        self.browser.prefer(prefers_reduced_motion="reduce")
        self.browser.wait_until(lambda: self.browser.run(motion) == "none", "the text stands still")
        self.assert_fits()

    def test_html_and_scripts_of_a_station_do_nothing(self) -> None:
        self.assert_harmless(f"/service/{ROCK}", ".radio")

    def test_nor_on_the_wall(self) -> None:
        self.assert_harmless("/", CARD)

    def assert_harmless(self, path: str, within: str) -> None:
        self.publish("rock-1.png", "harmless", link="http://rock.example/")
        self.open(path)
        self.wait_for_slide(within, "rock-1.png")
        self.publish("javascript:window.evil=1", EVIL, link="javascript:window.evil=1")
        self.wait_for_text(f"{within} .text", EVIL)
        self.browser.wait_until(lambda: not self.browser.one(f"{within} .slide img").is_displayed(), "no slide")
        self.assertEqual([each for each in self.browser.all(".link") if each.is_displayed()], [])
        self.open(path)  # and so says the first view
        self.assertEqual(self.browser.text(f"{within} .text"), EVIL)
        self.assertIsNone(self.browser.run("return window.evil ?? null"))
        self.assert_quiet()

    def test_a_tab_nobody_sees_lets_go_and_is_right_when_it_is_seen(self) -> None:
        driver = self.browser.driver
        self.open(f"/service/{ROCK}")
        self.browser.wait_until(lambda: self.clients() == 1, "one client")
        seen = driver.current_window_handle
        driver.switch_to.new_window("tab")
        self.browser.wait_until(lambda: self.clients() == 0, "no client")
        self.publish("rock-2.png", "Meanwhile")
        driver.close()
        driver.switch_to.window(seen)
        self.wait_for_text(".radio .text", "Meanwhile")
        self.wait_for_slide(".radio", "rock-2.png")

    def clients(self) -> int:
        """How many there are, by the node's own count."""
        with urlopen(f"{self.admin}/api/overview", timeout=SECONDS) as answer:
            return int(json.load(answer)["clients"]["total"])

    def test_a_slide_that_cannot_be_loaded_says_so(self) -> None:
        self.open(f"/service/{ROCK}")
        self.publish("missing.png", "No picture")
        self.wait_for_text(".slide .none", "The slide cannot be loaded")
        self.publish("rock-3.png", "A picture")
        self.wait_for_slide(".radio", "rock-3.png")

    def test_a_station_nobody_has_heard_of(self) -> None:
        self.browser.open(f"{self.site}/service/fm/4e1/4000/00000")
        self.assertEqual(self.browser.text("h1"), "No such station")


class TestDashboard(PagesCase):
    def test_it_shows_the_node_at_work(self) -> None:
        radio = Radio.connect(self.server.address, version="1.1")
        self.addCleanup(radio.close)
        radio.subscribe(f"/topic/{ROCK}/text", id="1")
        self.open(self.admin)
        self.wait_for_text("#clients", "1")
        self.publish("rock-1.png", f"Seen {EVIL}")
        self.wait_for_row("busiest", f"/topic/{ROCK}/text 1")
        self.wait_for_row("protocols", "stomp 1.1 1")
        self.wait_for_row("tasks", "stale topics works")
        self.wait_for_row("bus", "connected")
        self.browser.wait_until(lambda: self.browser.all("#rates canvas"), "the chart")
        self.browser.wait_until(lambda: float(self.browser.text("#deliveries")) > 0, "a delivery in the chart")
        self.wait_for_row("topics", f"Seen {EVIL}")
        picture = f'[data-table="topics"] img[src="{self.site}/slides/rock-1.png"]'
        self.browser.wait_until(lambda: self.browser.all(picture), "the picture")
        self.assertIsNone(self.browser.run("return window.evil ?? null"))
        self.assert_quiet()
        self.browser.screenshot("dashboard")

    def test_the_journal_is_searched(self) -> None:
        self.publish("rock-1.png", "Journal one")
        self.publish("rock-2.png", "Journal two")
        self.open(self.admin)
        self.browser.wait_until(lambda: self.browser.one("#journal").is_displayed(), "the journal")
        field = self.browser.one("#journal-search [name=topic]")
        field.clear()
        field.send_keys(f"/topic/{ROCK}/text", Keys.ENTER)
        self.wait_for_row("records", "TEXT Journal two")
        self.assertNotIn("SHOW", self.browser.text('[data-table="records"]'))
        link = self.browser.one("#journal-csv").get_attribute("href") or ""
        with urlopen(link, timeout=SECONDS) as answer:
            exported = answer.read()
        self.assertIn(b"TEXT Journal two", exported)
        self.assertNotIn(b"SHOW", exported)
        self.assert_quiet()

    def test_it_comes_back_after_a_restart(self) -> None:
        self.open(self.admin)
        self.restart_under()
        self.publish("rock-3.png", "Here again")
        self.wait_for_row("topics", "TEXT Here again")
        self.assert_quiet(after_restart=True)

    def test_on_a_phone(self) -> None:
        self.browser.resize(PHONE)
        self.open(self.admin)
        self.wait_for_row("tasks", "stale topics works")
        self.assert_fits()
        self.browser.screenshot("dashboard-phone")

    def test_every_field_and_picture_has_a_name(self) -> None:
        self.publish("rock-1.png", "x")
        self.open(self.admin)
        self.browser.wait_until(lambda: self.browser.all('[data-table="topics"] img'), "a picture")
        self.browser.wait_until(lambda: len(self.shown_names()) > 15, "fields and pictures")
        self.assertNotIn("", self.names)

    def shown_names(self) -> list[str]:
        """Names of what a screen reader reads out, in :attr:`names`. The page may be drawn again meanwhile."""
        shown = [each for each in self.browser.all("input, button, img, section, [role=img]") if each.is_displayed()]
        self.names = [each.accessible_name for each in shown]
        return self.names

    def wait_for_row(self, table: str, words: str) -> None:
        rows = f'[data-table="{table}"] tbody tr'
        self.browser.wait_until(lambda: any(words in row.text for row in self.browser.all(rows)), words)
