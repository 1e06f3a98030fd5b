"""What is found is told to the publisher, and remembered for the operator."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.doors.application import Refused
from fanout.message import Message
from radiovis.preflight.application import PreflightedApplication
from radiovis.preflight.preflight import LOG_SECONDS, RECENT, Preflight
from radiovis.preflight.verdicts import UNDER_WAY, Verdicts
from tests.radiovis.preflight.slides import Slides

CHANNEL = "/topic/fm/4e1/4000/09580/"


def show(url: str, channel: str = CHANNEL) -> Message:
    return Message(channel + "image", f"SHOW {url}".encode(), "1", 0)


class _Case(unittest.TestCase):
    mode = "warn"

    def setUp(self) -> None:
        self.clock, self.slides = Clock(), Slides()
        self.slides.at_once = {"http://x/good": (), "http://x/bad": ("it is 1x1, radios expect 320x240",)}
        verdicts = Verdicts(self.clock, self.slides.fetch, seconds=5, kept=300)
        self.preflight = Preflight(self.mode, verdicts, self.clock)


class TestPreflight(_Case):
    def look(self, *messages: Message) -> list[str]:
        return [str(each) for each in self.successResultOf(self.preflight.look(messages))]

    def test_findings_name_the_topic(self) -> None:
        text = Message(CHANNEL + "text", b"TEXT " + bytes(200), "1", 0)
        self.assertEqual(
            self.look(show("http://x/good"), show("http://x/bad"), text),
            [
                f"{CHANNEL}image: it is 1x1, radios expect 320x240",
                f"{CHANNEL}text: its text has 200 octets, radios take 128",
            ],
        )

    def test_a_broadcast_is_told_and_fetched_once(self) -> None:
        found = self.look(*(show("http://x/bad", f"/topic/id/x/{number}/") for number in range(50)))
        self.assertEqual(found, ["/topic/id/x/0/image: it is 1x1, radios expect 320x240"])
        self.assertEqual(self.slides.urls, ["http://x/bad"])

    def test_the_last_finding_of_each_topic_is_remembered_the_newest_first(self) -> None:
        for number in range(RECENT + 5):
            self.look(show("http://x/bad", f"/topic/id/x/{number}/"))
        self.look(show("ftp://x/", "/topic/id/x/30/"))
        recent = self.preflight.recent
        self.assertEqual(len(recent), RECENT)
        self.assertEqual((recent[0].topic, recent[0].body), ("/topic/id/x/30/image", "SHOW ftp://x/"))

    def test_the_same_again_is_counted_once_a_minute(self) -> None:
        for _ in range(5):
            self.look(show("http://x/bad"))
        self.assertEqual(self.preflight.unfit, 1)
        self.clock.advance(LOG_SECONDS)
        self.look(show("http://x/bad"))
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

    async def remarks(self, _messages: object) -> tuple[tuple[str, str], ...]:
        return (("other", "remark"),)


class _ApplicationCase(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.behind = FakeApplication()
        self.application = PreflightedApplication(self.behind, self.preflight)  # type: ignore[arg-type]

    def admit(self, *messages: Message) -> Deferred[tuple[Message, ...]]:
        return ensureDeferred(self.application.admit(None, messages))  # type: ignore[arg-type]


class TestWarn(_ApplicationCase):
    def test_it_is_on_air_before_anybody_has_looked(self) -> None:
        message = show("http://x/slow")
        self.assertEqual(self.successResultOf(self.admit(message)), (message,))
        self.successResultOf(self.application.publish([message]))
        self.assertEqual(self.behind.published, [message])
        remarks = ensureDeferred(self.application.remarks([message]))
        self.assertNoResult(remarks)
        self.slides.answer("it is 1x1")
        self.assertEqual(
            self.successResultOf(remarks), (("preflight-warning", f"{CHANNEL}image: it is 1x1"), ("other", "remark"))
        )
        self.assertEqual(self.slides.urls, ["http://x/slow"])

    def test_a_good_one(self) -> None:
        remarks = self.successResultOf(ensureDeferred(self.application.remarks([show("http://x/good")])))
        self.assertEqual(remarks[0], ("preflight", "ok"))


class TestReject(_ApplicationCase):
    mode = "reject"

    def test_a_good_one_passes_when_it_was_looked_at(self) -> None:
        message = show("http://x/slow")
        admitted = self.admit(message)
        self.assertNoResult(admitted)
        self.slides.answer()
        self.assertEqual(self.successResultOf(admitted), (message,))
        remarks = self.successResultOf(ensureDeferred(self.application.remarks([message])))
        self.assertEqual(remarks[0], ("preflight", "ok"))

    def test_one_bad_one_refuses_them_all(self) -> None:
        refused = self.failureResultOf(self.admit(show("http://x/good"), show("http://x/bad")), Refused).value
        self.assertEqual(refused.summary, f"Not published: {CHANNEL}image: it is 1x1, radios expect 320x240")
        self.assertTrue(refused.unfit)
        self.assertEqual(self.preflight.refused, 1)

    def test_nobody_could_look_now(self) -> None:
        for number in range(UNDER_WAY):
            self.preflight.look([show(f"http://host{number}/")])
        refused = self.failureResultOf(self.admit(show("http://x/more")), Refused).value
        self.assertEqual((refused.temporary, refused.unfit), (True, False))

    def test_its_turn_did_not_come_in_time(self) -> None:
        admitted = self.admit(show("http://x/waits"))
        self.clock.advance(6)
        refused = self.failureResultOf(admitted, Refused).value
        self.assertEqual((refused.temporary, refused.unfit), (True, False))
