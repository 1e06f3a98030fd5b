from __future__ import annotations

import re
from html.parser import HTMLParser

from radiovis.directory.interface import Channel
from radiovis.http import wall
from radiovis.http.pages import WallPages, dashboard
from tests.radiovis.http.site import ROCK, TALK, SiteCase

EVIL = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;"


class Elements(HTMLParser):
    """The elements of a page: names and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


class PageCase(SiteCase):
    def assert_harmless(self, html: str) -> None:
        """No script of a stranger's: none but our own files, no handlers, no addresses that are scripts."""
        for tag, attributes in Elements(html).found:
            if tag == "script":
                self.assertRegex(attributes["src"] or "", r"^/(static|vendor)/[\w./]+$")
            self.assertNotIn(tag, ("style", "iframe", "object", "base"))
            for name, value in attributes.items():
                self.assertFalse(name.startswith("on") or name == "style", f"{tag} {name}")
                self.assertNotRegex((value or "").lower(), r"^\s*(javascript|data|vbscript):")


class TheWall(PageCase):
    def wall_page(self) -> str:
        request = self.ask(WallPages(self.wall).wall)
        self.assertEqual((request.status, request.headers["content-type"]), (200, "text/html; charset=utf-8"))
        return request.html

    def test_what_is_on_air(self) -> None:
        self.say(f"{ROCK}image", "SHOW http://a/1.png", 60)
        self.say(f"{ROCK}text", "TEXT Now playing", 61)
        page = Elements(self.wall_page())
        self.assertEqual(page.all("img")[0]["src"], "http://a/1.png")
        self.assertEqual(page.all("img")[0]["alt"], "Slide of Rock FM")
        self.assertLessEqual({"Rock FM", "FM 95.80 MHz", "Now playing", "1970-01-01 00:01:01 UTC"}, set(page.texts))
        self.assertIn("/service/fm/4e1/4000/09580", [each.get("href") for each in page.all("a")])

    def test_the_silent_ones_come_last(self) -> None:
        self.say(f"{TALK}text", "TEXT x")
        cards = [each["data-service"] for each in Elements(self.wall_page()).all("li")]
        self.assertEqual(cards, ["fm/4e1/4001/10410", "fm/4e1/4000/09580"])

    def test_html_in_names_texts_and_slides_is_text(self) -> None:
        self.directory.registered = [Channel(ROCK, 1, name=EVIL)]
        self.refresh()
        self.say(f"{ROCK}image", f"SHOW http://a/{EVIL.replace(' ', '%20')}")
        self.say(f"{ROCK}text", f"TEXT {EVIL}")
        html = self.wall_page()
        self.assert_harmless(html)
        page = Elements(html)
        self.assertEqual(page.texts.count(EVIL), 2)
        self.assertEqual(page.all("img")[0]["alt"], f"Slide of {EVIL}")
        self.assertEqual(len(page.all("img")), 1)

    def test_a_slide_that_is_a_script_is_no_slide(self) -> None:
        for address in ("javascript:alert(1)", "data:text/html,x", "vbscript:x"):
            self.say(f"{ROCK}image", f"SHOW {address}")
            html = self.wall_page()
            self.assert_harmless(html)
            self.assertNotIn("alert(1)", html)
            self.assertIn("hidden", Elements(html).all("img")[0])

    def test_a_crowd_gets_the_same_page_for_half_a_second(self) -> None:
        page = WallPages(self.wall).wall
        self.say(f"{ROCK}text", "TEXT before")
        self.assertIn("before", self.ask(page).html)
        self.say(f"{ROCK}text", "TEXT after")
        self.assertIn("before", self.ask(page).html)
        self.house.wait(0.5)
        self.assertIn("after", self.ask(page).html)

    def test_no_stations(self) -> None:
        self.directory.registered = []
        self.refresh()
        self.assertIn("No stations are registered yet.", self.wall_page())

    def test_more_stations_than_there_is_room(self) -> None:
        self.patch(wall, "MOST_STATIONS", 1)
        self.assertIn("And 1 more stations", self.wall_page())

    def test_every_picture_has_a_text_and_every_page_a_language(self) -> None:
        page = Elements(self.wall_page())
        self.assertTrue(all(each["alt"] for each in page.all("img")))
        self.assertEqual(page.all("html"), [{"lang": "en"}])


class OneStation(PageCase):
    def test_as_a_radio_shows_it(self) -> None:
        self.say(f"{ROCK}image", "SHOW http://a/1.png", link="http://a/more?x=1&y=2")
        self.say(f"{ROCK}text", "TEXT Now playing")
        request = self.ask(WallPages(self.wall).service, "fm/4e1/4000/09580")
        page = Elements(request.html)
        self.assertEqual(page.all("img")[0]["src"], "http://a/1.png")
        self.assertIn("http://a/more?x=1&y=2", [each.get("href") for each in page.all("a")])
        self.assertIn("Now playing", page.texts)
        self.assertTrue(any(each.get("aria-live") == "polite" for each in page.all("p")))

    def test_a_link_that_is_a_script_leads_nowhere(self) -> None:
        self.say(f"{ROCK}image", "SHOW http://a/1.png", link="javascript:alert(1)")
        html = self.ask(WallPages(self.wall).service, "fm/4e1/4000/09580").html
        self.assert_harmless(html)
        self.assertNotIn("javascript", html.lower().replace("without javascript", ""))

    def test_html_is_text(self) -> None:
        self.directory.registered = [Channel(ROCK, 1, name=EVIL)]
        self.refresh()
        self.say(f"{ROCK}text", f"TEXT {EVIL}")
        html = self.ask(WallPages(self.wall).service, "fm/4e1/4000/09580").html
        self.assert_harmless(html)
        self.assertEqual(Elements(html).texts.count(EVIL), 2)

    def test_one_that_is_not_registered_but_heard_of(self) -> None:
        self.say("/topic/test/9/text", "TEXT x")
        self.assertEqual(self.ask(WallPages(self.wall).service, "test/9").status, 200)
        self.assertEqual(self.ask(WallPages(self.wall).service, "test/9/").status, 200)

    def test_one_nobody_has_heard_of(self) -> None:
        for path in ("test/8", "fm", "a/<script>alert(1)</script>", "%00", "x" * 3_000 + "/y", "../../etc/passwd"):
            with self.subTest(path):
                request = self.ask(WallPages(self.wall).service, path)
                self.assertEqual(request.status, 404)
                self.assertIn("No such station", request.html)
                self.assert_harmless(request.html)

    def test_an_evil_address_is_quoted(self) -> None:
        self.say('/topic/x/"><script>alert(1)/text', "TEXT x")
        html = self.ask(WallPages(self.wall).service, 'x/"><script>alert(1)').html
        self.assert_harmless(html)
        self.assertIn("/radiodns/push/1.0/x/%22%3E%3Cscript%3Ealert%281%29", html)


class TheDashboard(PageCase):
    def test_a_page_without_anything_foreign(self) -> None:
        html = self.ask(dashboard).html
        self.assert_harmless(html)
        addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
        self.assertTrue(all(each.startswith(("/", "#")) for each in addresses), addresses)

    def test_every_field_has_a_label_and_every_column_a_name(self) -> None:
        html = self.ask(dashboard).html
        self.assertEqual(html.count("<input"), len(re.findall(r"<label>[^<]+<input", html)))
        self.assertEqual(html.count("<th "), html.count('<th scope="col"'))
