"""Hearing the bus, leading, and keeping the log."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.settings import WatchdogSettings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.broker_liveness import BrokerLiveness
from radiovis.watchdog.log import LogError
from radiovis.watchdog.sources import Keys
from radiovis.watchdog.topic_deadlines import Staleness
from tests.radiovis.scripted_directory import ScriptedDirectory
from tests.radiovis.watchdog.fakes import FakeBus, FakeLeader

ROCK = "/topic/fm/4e1/4000/09580/"
DEFAULT = (("trigger-time", "NOW"), ("expires", "0"), ("priority", "0"))


class FakeSource:
    def __init__(self) -> None:
        self.ensured = 0
        self.forgotten = 0
        self.trouble = ""

    async def ensure(self) -> None:
        self.ensured += 1

    def forget(self) -> None:
        self.forgotten += 1


class Liveness(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_795_294_643)
        self.directory = ScriptedDirectory()
        self.directory.countries["ch"] = "4e1"
        self.bus, self.leader, self.source = FakeBus(), FakeLeader(), FakeSource()
        self.silence = Staleness(WatchdogSettings(FB_FALLBACK_TIME=60, FB_REPEAT=600))
        self.promotions = 0
        self.keys = Keys(TopicResolver(self.directory, lambda: None))
        self.liveness = BrokerLiveness(
            self.bus, self.leader, self.source, self.silence, self.keys, self.clock.seconds, self.promoted
        )
        self.silence.watch([ROCK + "text"], {}, self.clock.seconds())
        self.silence.due(self.clock.seconds(), again=0)

    def promoted(self) -> None:
        self.promotions += 1

    def is_due_after(self, seconds: float) -> bool:
        return bool(self.silence.due(self.clock.seconds() + seconds, again=0))

    async def test_without_the_broker_a_round_fails_and_says_why(self) -> None:
        self.bus.connected = False
        with self.assertRaisesRegex(BusError, "as the test says"):
            await self.liveness.check()
        self.assertEqual(self.source.ensured, 0)

    async def test_a_standby_does_not_touch_the_queue(self) -> None:
        self.leader.leading = self.leader.truth = False
        await self.liveness.check()
        self.assertEqual((self.source.ensured, self.promotions), (0, 0))

    async def test_who_becomes_the_leader_acts_at_once_and_once(self) -> None:
        self.leader.leading = self.leader.truth = False
        await self.liveness.check()
        self.leader.truth = True
        await self.liveness.check()
        await self.liveness.check()
        self.assertEqual((self.source.ensured, self.promotions), (2, 1))

    async def test_a_leader_that_comes_back_acts_at_once_again(self) -> None:
        await self.liveness.check()
        self.bus.connected = False
        with self.assertRaises(BusError):
            await self.liveness.check()
        self.bus.connected = True
        await self.liveness.check()
        self.assertEqual(self.promotions, 2)

    async def test_a_log_that_refuses_is_to_be_seen(self) -> None:
        self.source.trouble = "the disk is full"
        with self.assertRaisesRegex(LogError, "the disk is full"):
            await self.liveness.check()

    async def test_what_the_log_refused_is_dropped_when_the_lead_is_lost_and_kept_while_it_lasts(self) -> None:
        await self.liveness.check()
        await self.liveness.check()
        self.assertEqual(self.source.forgotten, 1)  # Before it led.
        self.leader.leading = self.leader.truth = False
        await self.liveness.check()
        self.assertEqual(self.source.forgotten, 2)

    def test_what_is_heard_is_alive_from_now_on_whatever_its_publisher_says(self) -> None:
        for when in (0, 1, 2**40):
            self.liveness.heard(Message(ROCK + "text", b"TEXT x", "id", when))
            self.assertFalse(self.is_due_after(59))
            self.assertTrue(self.is_due_after(61))

    def test_a_country_in_a_topic_is_its_gcc(self) -> None:
        self.liveness.heard(Message("/topic/fm/ch/4000/09580/text", b"TEXT x", "id", 1))
        self.assertFalse(self.is_due_after(59))

    def test_a_default_of_any_watchdog_is_heard_as_one(self) -> None:
        self.liveness.heard(Message(ROCK + "text", b"TEXT x", "123", 1, DEFAULT))
        self.assertFalse(self.is_due_after(599))
        self.assertTrue(self.is_due_after(601))

    def test_after_a_time_without_the_bus_what_was_alive_begins_anew(self) -> None:
        self.liveness.heard(Message(ROCK + "text", b"TEXT x", "id", 1))
        self.clock.advance(300)
        self.liveness.heard_again()
        self.assertFalse(self.is_due_after(59))
        self.assertTrue(self.is_due_after(61))

    async def test_who_leads_again_after_an_outage_gives_the_living_their_time_first(self) -> None:
        """The bus says that it is heard again only a moment later, when the nodes have caught up."""
        for lost in (self.lose_bus, self.lose_lead_only):
            await self.liveness.check()
            self.liveness.heard(Message(ROCK + "text", b"TEXT x", "id", 1))
            await lost()
            self.clock.advance(300)
            await self.liveness.check()
            self.assertFalse(self.is_due_after(59))

    async def lose_bus(self) -> None:
        self.bus.connected = False
        with self.assertRaises(BusError):
            await self.liveness.check()
        self.bus.connected = True

    async def lose_lead_only(self) -> None:
        """A new connection was there before the next round."""
        self.leader.leading = False

    async def test_a_standby_that_takes_over_heard_all_the_time(self) -> None:
        self.leader.leading = self.leader.truth = False
        await self.liveness.check()
        self.liveness.heard(Message(ROCK + "text", b"TEXT x", "id", 1))
        self.clock.advance(61)
        self.leader.truth = True
        await self.liveness.check()
        self.assertTrue(self.is_due_after(0))

    def test_an_unknown_country_is_asked_for_once(self) -> None:
        for _ in range(10):
            self.liveness.heard(Message("/topic/fm/zz/4000/09580/text", b"TEXT x", "id", 1))
        self.assertEqual(self.directory.asked, ["gcc zz"])

    def test_a_directory_that_is_down_keeps_no_message_from_being_noted(self) -> None:
        self.directory.down = True
        self.liveness.heard(Message(ROCK + "text", b"TEXT x", "id", 1))
        self.liveness.heard(Message("/topic/fm/zz/4000/09580/text", b"TEXT x", "id", 1))
        self.assertFalse(self.is_due_after(59))
