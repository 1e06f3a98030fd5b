from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial import unittest

from fanout.hub.message import Message
from radiovis.http import shown
from radiovis.http.shown import Station


def message(body: bytes, when: int = 0, **headers: str) -> Message:
    return Message("/topic/a/b", body, "m1", when, tuple(headers.items()))


class Addresses(unittest.TestCase):
    def test_only_the_web(self) -> None:
        for address in ("http://a.example/1.png", "https://a.example:8080/?x=1&y=2#z", "HTTP://A.EXAMPLE/"):
            with self.subTest(address):
                self.assertEqual(shown.web_address(f" {address}\r\n"), address)

    def test_nothing_else(self) -> None:
        for address in (
            "",
            "javascript:alert(1)",
            "JavaScript://a.example/%0aalert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "file:///etc/passwd",
            "ftp://a.example/1.png",
            "//a.example/1.png",
            "/slides/1.png",
            "http://",
            "http:///1.png",
            "http://[::1/",
            "http://a.example/ 1.png",
            "http://a.example/\x00",
            "http://a.example/" + "a" * 2_048,
        ):
            with self.subTest(address):
                self.assertIsNone(shown.web_address(address))


class Slides(unittest.TestCase):
    def test_a_slide(self) -> None:
        slide = shown.slide(message(b"SHOW http://a/1.png", 86_400, link="https://a/"))
        self.assertEqual(
            slide, shown.ShownSlide("http://a/1.png", "https://a/", datetime(1970, 1, 2, tzinfo=UTC), "m1")
        )

    def test_what_must_not_be_shown_is_none(self) -> None:
        slide = shown.slide(message(b"SHOW javascript:alert(1)", link="javascript:alert(2)"))
        self.assertEqual((slide.src, slide.link), (None, None))
        self.assertIsNone(shown.slide(message(b"\xff\x00")).src)

    def test_a_time_beyond_all_calendars(self) -> None:
        self.assertEqual(shown.slide(message(b"", 10**17)).when.year, 1970)


class Texts(unittest.TestCase):
    def test_one_line_of_text(self) -> None:
        self.assertEqual(shown.text(message("TEXT  Ünter\r\n<b>x</b>\x00 ".encode())).body, "Ünter <b>x</b>")

    def test_no_longer_than_any_screen(self) -> None:
        self.assertEqual(len(shown.text(message(b"TEXT " + b"a" * 5_000)).body), 1_024)


class Names(unittest.TestCase):
    def test_where_it_is_on_the_dial(self) -> None:
        for topic, resolved in (
            ("/topic/fm/4e1/4000/09580/", "FM 95.80 MHz"),
            ("/topic/fm/4e1/4000/10410/", "FM 104.10 MHz"),
            ("/topic/fm/4e1/4000/*/", "FM, any frequency (4e1 4000)"),
            ("/topic/fm/4e1/", "FM 4e1"),
            ("/topic/dab/4e1/4a01/4b02/0/", "DAB 4e1 4a01 4b02 0"),
            ("/topic/id/tests._ebu.nowhere/topic1/", "Internet tests._ebu.nowhere topic1"),
            ("/topic/test/1/", "test/1"),
        ):
            with self.subTest(topic):
                self.assertEqual(Station(topic).resolved, resolved)

    def test_a_name_if_it_has_one(self) -> None:
        self.assertEqual(Station("/topic/fm/4e1/4000/09580/", "Rock FM").name, "Rock FM")
        self.assertEqual(Station("/topic/fm/4e1/4000/09580/").name, "FM 95.80 MHz")

    def test_the_service_identifier(self) -> None:
        self.assertEqual(Station("/topic/fm/4e1/4000/09580/").service, "fm/4e1/4000/09580")
