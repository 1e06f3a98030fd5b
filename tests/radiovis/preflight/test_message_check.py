"""What is found is told to the publisher, and remembered for the operator."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application.interface import Refused
from fanout.hub.message import Message
from radiovis.preflight.message_check import (
    LOG_SECONDS,
    RECENT,
    CheckedApplication,
    Preflight,
    body_complaints,
    slide_url,
)
from radiovis.preflight.slide_verdicts import UNDER_WAY, SlideVerdicts
from radiovis.settings import SlideSettings
from tests.radiovis.preflight.slides import Slides

# What is wrong with a body, without asking anybody.

CHANNEL = "/topic/fm/4e1/4000/09580/"


def found(kind: str, body: bytes) -> list[str]:
    return list(body_complaints(Message(CHANNEL + kind, body, "1", 0)))


class TestTexts(unittest.TestCase):
    def test_128_octets_and_no_more(self) -> None:
        self.assertEqual(found("text", b"TEXT " + b"x" * 128), [])
        self.assertEqual(
            found("text", b"TEXT " + "é".encode() * 65), ["its text has 130 octets, radios take 128: shorten it"]
        )

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
            ("ftp://x/1.png", "its URL is not a valid http:// or https:// URL"),
            ("/1.png", "its URL is not a valid http:// or https:// URL"),
            ("http:///1.png", "its URL is not a valid http:// or https:// URL"),
            ("http://x/a b.png", "its URL is not a valid http:// or https:// URL"),
            ("http://x:99999/", "its URL is invalid"),
            ("http://[::1/", "its URL is invalid"),
            ("http://ü/", "its URL is invalid"),
            ("http://user:secret@x/", "its URL contains a login, which receivers do not send"),
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


CHANNEL = "/topic/fm/4e1/4000/09580/"


def show(url: str, channel: str = CHANNEL) -> Message:
    return Message(channel + "image", f"SHOW {url}".encode(), "1", 0)


class _Case(unittest.TestCase):
    mode: Literal["warn", "reject"] = "warn"

    def setUp(self) -> None:
        self.clock, self.slides = Clock(), Slides()
        self.slides.at_once = {"http://x/good": (), "http://x/bad": ("it is 1x1, radios expect 320x240",)}
        settings = SlideSettings(PREFLIGHT=self.mode)
        verdicts = SlideVerdicts(self.clock, self.slides.fetch)
        self.preflight = Preflight(settings, verdicts, self.clock, self.clock.seconds)


class TestPreflight(_Case):
    def check(self, *messages: Message) -> list[str]:
        return [str(each) for each in self.successResultOf(self.preflight.check(messages))]

    def test_findings_name_the_topic(self) -> None:
        text = Message(CHANNEL + "text", b"TEXT " + bytes(200), "1", 0)
        self.assertEqual(
            self.check(show("http://x/good"), show("http://x/bad"), text),
            [
                f"{CHANNEL}image: it is 1x1, radios expect 320x240",
                f"{CHANNEL}text: its text has 200 octets, radios take 128: shorten it",
            ],
        )

    def test_a_broadcast_is_told_and_fetched_once(self) -> None:
        found = self.check(*(show("http://x/bad", f"/topic/id/x/{number}/") for number in range(50)))
        self.assertEqual(found, ["/topic/id/x/0/image: it is 1x1, radios expect 320x240"])
        self.assertEqual(self.slides.urls, ["http://x/bad"])

    def test_the_last_finding_of_each_topic_is_remembered_the_newest_first(self) -> None:
        for number in range(RECENT + 5):
            self.check(show("http://x/bad", f"/topic/id/x/{number}/"))
        self.check(show("ftp://x/", "/topic/id/x/30/"))
        recent = self.preflight.recent
        self.assertEqual(len(recent), RECENT)
        self.assertEqual((recent[0].topic, recent[0].body), ("/topic/id/x/30/image", "SHOW ftp://x/"))

    def test_the_same_again_is_counted_once_a_minute(self) -> None:
        for _ in range(5):
            self.check(show("http://x/bad"))
        self.assertEqual(self.preflight.unfit, 1)
        self.clock.advance(LOG_SECONDS)
        self.check(show("http://x/bad"))
        self.assertEqual(self.preflight.unfit, 2)


class FakeApplication:
    """Publishes at once."""

    def __init__(self) -> None:
        self.published: list[Message] = []

    async def admit(self, _principal: object, sends: tuple[Message, ...]) -> tuple[Message, ...]:
        return sends

    def publish(self, messages: list[Message]) -> Deferred[None]:
        self.published += messages
        return succeed(None)

    async def receipt_headers(self, _messages: object) -> tuple[tuple[str, str], ...]:
        return (("other", "remark"),)


class _ApplicationCase(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.behind = FakeApplication()
        self.application = CheckedApplication(self.behind, self.preflight)  # type: ignore[arg-type]

    def admit(self, *messages: Message) -> Deferred[tuple[Message, ...]]:
        return ensureDeferred(self.application.admit(None, messages))  # type: ignore[arg-type]


class TestWarn(_ApplicationCase):
    def test_it_is_on_air_before_anybody_has_looked(self) -> None:
        message = show("http://x/slow")
        self.assertEqual(self.successResultOf(self.admit(message)), (message,))
        self.successResultOf(self.application.publish([message]))
        self.assertEqual(self.behind.published, [message])
        receipt_headers = ensureDeferred(self.application.receipt_headers([message]))
        self.assertNoResult(receipt_headers)
        self.slides.answer("it is 1x1")
        self.assertEqual(
            self.successResultOf(receipt_headers),
            (("preflight-warning", f"{CHANNEL}image: it is 1x1"), ("other", "remark")),
        )
        self.assertEqual(self.slides.urls, ["http://x/slow"])

    def test_a_good_one(self) -> None:
        receipt_headers = self.successResultOf(
            ensureDeferred(self.application.receipt_headers([show("http://x/good")]))
        )
        self.assertEqual(receipt_headers[0], ("preflight", "ok"))


class TestReject(_ApplicationCase):
    mode: Literal["warn", "reject"] = "reject"

    def test_a_good_one_passes_when_it_was_looked_at(self) -> None:
        message = show("http://x/slow")
        admitted = self.admit(message)
        self.assertNoResult(admitted)
        self.slides.answer()
        self.assertEqual(self.successResultOf(admitted), (message,))
        receipt_headers = self.successResultOf(ensureDeferred(self.application.receipt_headers([message])))
        self.assertEqual(receipt_headers[0], ("preflight", "ok"))

    def test_one_bad_one_refuses_them_all(self) -> None:
        refused = self.failureResultOf(self.admit(show("http://x/good"), show("http://x/bad")), Refused).value
        self.assertEqual(refused.summary, f"Not published: {CHANNEL}image: it is 1x1, radios expect 320x240")
        self.assertTrue(refused.unfit)
        self.assertEqual(self.preflight.refused, 1)

    def test_nobody_could_look_now(self) -> None:
        for number in range(UNDER_WAY):
            self.preflight.check([show(f"http://host{number}/")])
        refused = self.failureResultOf(self.admit(show("http://x/more")), Refused).value
        self.assertEqual((refused.temporary, refused.unfit), (True, False))

    def test_its_turn_did_not_come_in_time(self) -> None:
        admitted = self.admit(show("http://x/waits"))
        self.clock.advance(6)
        refused = self.failureResultOf(admitted, Refused).value
        self.assertEqual((refused.temporary, refused.unfit), (True, False))
