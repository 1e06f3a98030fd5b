"""What is wrong with a body, without asking anybody."""

from __future__ import annotations

import unittest

from hypothesis import given
from hypothesis import strategies as st

from fanout.message import Message
from radiovis.preflight.bodies import body_complaints, slide_url

CHANNEL = "/topic/fm/4e1/4000/09580/"


def found(kind: str, body: bytes) -> list[str]:
    return list(body_complaints(Message(CHANNEL + kind, body, "1", 0)))


class TestTexts(unittest.TestCase):
    def test_128_octets_and_no_more(self) -> None:
        self.assertEqual(found("text", b"TEXT " + b"x" * 128), [])
        self.assertEqual(found("text", b"TEXT " + "é".encode() * 65), ["its text has 130 octets, radios take 128"])

    def test_utf_8(self) -> None:
        self.assertEqual(found("text", b"TEXT caf\xe9"), ["its text is not UTF-8"])

    def test_words(self) -> None:
        self.assertEqual(found("text", b"SHOW http://x/"), ["its body does not begin with TEXT"])
        self.assertEqual(found("image", b"show http://x/"), ["its body does not begin with SHOW"])

    def test_what_shows_nothing_and_what_is_no_radios_business(self) -> None:
        self.assertEqual(found("text", b""), [])
        self.assertEqual(found("anything/deeper", b"\xff"), [])


class TestUrls(unittest.TestCase):
    def test_512_octets_and_no_more(self) -> None:
        self.assertEqual(found("image", b"SHOW http://x/" + b"a" * 503), [])
        self.assertEqual(found("image", b"SHOW http://x/" + b"a" * 504), ["its URL has 513 octets, radios take 512"])

    def test_what_is_none(self) -> None:
        for url, complaint in (
            ("ftp://x/1.png", "its URL is none that begins with http:// or https://"),
            ("/1.png", "its URL is none that begins with http:// or https://"),
            ("http:///1.png", "its URL is none that begins with http:// or https://"),
            ("http://x/a b.png", "its URL is none that begins with http:// or https://"),
            ("http://x:99999/", "its URL is none"),
            ("http://[::1/", "its URL is none"),
            ("http://ü/", "its URL is none"),
            ("http://user:secret@x/", "its URL holds a login, which receivers do not send"),
        ):
            self.assertEqual(found("image", f"SHOW {url}".encode()), [complaint])
            self.assertIsNone(slide_url(Message(CHANNEL + "image", f"SHOW {url}".encode(), "1", 0)))

    def test_the_one_to_be_fetched(self) -> None:
        self.assertEqual(slide_url(Message(CHANNEL + "image", b"SHOW http://x/1.png\n", "1", 0)), "http://x/1.png")
        self.assertIsNone(slide_url(Message(CHANNEL + "text", b"SHOW http://x/1.png", "1", 0)))

    @given(st.binary(max_size=100))
    def test_of_any_octets_something_can_be_said(self, rest: bytes) -> None:
        complaints = found("image", b"SHOW " + rest)
        self.assertEqual(bool(complaints), slide_url(Message("/image", b"SHOW " + rest, "1", 0)) is None)
