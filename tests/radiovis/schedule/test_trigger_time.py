"""The header trigger-time: what is a time, what is held, what is passed on, and what is too far ahead."""

from __future__ import annotations

from datetime import datetime
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial import unittest

from fanout.application.interface import Refused
from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule import trigger_time as module
from radiovis.schedule.trigger_time import ScheduledApplication, for_now, trigger_time
from tests.radiovis.schedule.stores import message

NOW = 1_800_014_400.0  # 2027-01-15T12:00:00Z
LATER, PAST = "2027-01-15T12:00:01Z", "2027-01-15T11:59:59Z"


class TestTriggerTime(unittest.TestCase):
    def test_date_and_time_with_a_zone(self) -> None:
        for text in (
            "2027-01-15T12:00:00Z",
            "2027-01-15T13:00:00+01:00",
            "2027-01-15T13:00:00+0100",
            "2027-01-15T12:00:00.000Z",
            "20270115T120000Z",
            " 2027-01-15T12:00Z ",
        ):
            self.assertEqual(trigger_time(message("1", text)), 1_800_014_400, text)

    def test_anything_else_is_none(self) -> None:
        for text in (
            "NOW",
            "now",
            "",
            "soon",
            "2027-01-15T12:00:00",
            "2027-01-15",
            "12:00Z",
            "1800014400",
            "Z" * 9_999,
        ):
            self.assertIsNone(trigger_time(message("1", text)), text)
        self.assertIsNone(trigger_time(Message("/t", b"", "1", 0)))

    @given(st.text())
    def test_no_text_hurts(self, text: str) -> None:
        self.assertIsInstance(trigger_time(message("1", text)), float | None)

    def test_the_same_for_now(self) -> None:
        changed = for_now(message("1", "2027-01-15T12:00:00Z", when=5), 9)
        self.assertEqual(changed.headers, (("trigger-time", "NOW"), ("link", "http://l/")))
        self.assertEqual((changed.message_id, changed.when), ("1", 9))


class Behind:
    """The application behind it, and where messages are held."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.held: list[str] = []
        self.full = False

    async def admit(self, _principal: object, sends: tuple[Message, ...]) -> tuple[Message, ...]:
        return sends

    def publish(self, messages: list[Message]) -> Deferred[None]:
        self.published += messages
        return succeed(None)

    def hold(self, each: Message) -> Deferred[None]:
        if self.full:
            return fail(BusError("nobody holds it"))
        self.held.append(each.message_id)
        return succeed(None)


class TestScheduledApplication(unittest.TestCase):
    def setUp(self) -> None:
        self.behind = Behind()
        behind: object = self.behind
        self.enterContext(mock.patch.object(module, "HORIZON", 3_600.0))
        self.application = ScheduledApplication(behind, behind, lambda: NOW)  # type: ignore[arg-type]

    def publish(self, *messages: Message) -> list[tuple[str, str]]:
        self.successResultOf(self.application.publish(messages))
        return [(each.message_id, dict(each.headers)["trigger-time"]) for each in self.behind.published]

    def test_the_future_is_held_the_past_is_now_and_nonsense_goes_on_as_it_is(self) -> None:
        given = [("a", LATER), ("b", PAST), ("c", "NOW"), ("d", "soon"), ("e", "2027-01-15T12:00:01")]
        found = self.publish(*(message(name, trigger) for name, trigger in given))
        self.assertEqual(found, [("b", "NOW"), ("c", "NOW"), ("d", "soon"), ("e", "2027-01-15T12:00:01")])
        self.assertEqual(self.behind.held, ["a"])

    def test_an_empty_body_is_for_what_is_held(self) -> None:
        self.assertEqual(self.publish(message("a", body=b"")), [])
        self.assertEqual(self.behind.held, ["a"])

    def test_what_cannot_be_held_fails_in_words(self) -> None:
        self.behind.full = True
        failure = self.failureResultOf(self.application.publish([message("a", LATER), message("b")]), BusError)
        self.assertEqual(str(failure.value), "nobody holds it")

    def test_one_time_is_read_once_however_many_messages_have_it(self) -> None:
        broadcast = tuple(message(str(number), "2027-01-15T12:34:56.7Z") for number in range(10))
        with mock.patch.object(module, "datetime", wraps=datetime) as read:
            self.successResultOf(ensureDeferred(self.application.admit(None, broadcast)))  # type: ignore[arg-type]
            self.publish(*broadcast)
        self.assertEqual((len(self.behind.held), read.fromisoformat.call_count), (10, 1))

    def test_too_far_ahead(self) -> None:
        near, far = message("a", "2027-01-15T13:00:00Z"), message("b", "2027-01-15T13:00:01Z")
        admit = self.application.admit
        self.assertEqual(self.successResultOf(ensureDeferred(admit(None, (near,)))), (near,))  # type: ignore[arg-type]
        refused = self.failureResultOf(ensureDeferred(admit(None, (near, far))), Refused).value  # type: ignore[arg-type]
        self.assertTrue(refused.unfit)
        self.assertIn("3600 s ahead", refused.detail)
