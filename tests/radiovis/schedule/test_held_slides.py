"""From the store to the bus, each message at its time."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule.held_slides import AT_ONCE, HEARD, HeldSlides, Timetable, name_of
from tests.radiovis.schedule.stores import FakeSlideStore, message
from tests.radiovis.watchdog.fakes import FakeBus, FakeLeader

AT_10, AT_20 = "1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z"


class SlowBus(FakeBus):
    """Confirms when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.unconfirmed: list[Deferred[None]] = []
        self.slow = False

    def publish(self, message: Message) -> Deferred[None]:
        done = super().publish(message)
        if not self.slow:
            return done
        self.unconfirmed.append(Deferred())
        return self.unconfirmed[-1]


class TestHeldSlides(unittest.TestCase):
    def setUp(self) -> None:
        self.clock, self.bus, self.leader, self.store = Clock(), SlowBus(), FakeLeader(), FakeSlideStore()
        self.set_by = 0.0
        seconds = self.clock.seconds
        self.schedule = HeldSlides(
            self.store,
            self.bus,
            self.leader,
            clock=seconds,
            wall=lambda: seconds() + self.set_by,
            most=3,
        )

    def look(self) -> Deferred[None]:
        return ensureDeferred(self.schedule.send_due())

    def at(self, now: float) -> list[str]:
        """Set the clock, and look; what has been on air so far."""
        self.clock.rightNow = now
        self.successResultOf(self.look())
        return [each.message_id for each in self.bus.published]

    def test_each_at_its_time_as_now_and_then_it_is_done(self) -> None:
        self.store.put(message("b", AT_20))
        self.store.put(message("a", AT_10))
        self.assertEqual((self.at(9.9), self.schedule.is_due), ([], False))
        self.assertEqual(self.at(10), ["a"])
        (sent,) = self.bus.published
        self.assertEqual((dict(sent.headers)["trigger-time"], sent.when), ("NOW", 10))
        self.assertEqual(self.store.names, ["b"])
        self.assertEqual(self.at(99), ["a", "b"])
        self.assertEqual((self.store.names, self.schedule.counters.sent), ([], 2))

    def test_the_clock_jumps_back_and_forth(self) -> None:
        self.store.put(message("a", AT_10))
        self.store.put(message("b", AT_20))
        self.assertEqual(self.at(10), ["a"])
        self.assertEqual(self.at(-3_600), ["a"])
        self.assertFalse(self.schedule.is_due)
        self.assertEqual(self.at(86_400), ["a", "b"])

    def test_the_machines_clock_says_when_and_the_even_one_is_what_messages_bear(self) -> None:
        self.store.put(message("a", AT_10))
        self.assertEqual(self.at(1), [])
        self.set_by = 9
        self.assertTrue(self.schedule.is_due)
        self.assertEqual(self.at(2), ["a"])
        self.assertEqual(self.bus.published[0].when, 2)

    def test_a_later_publish_replaces_and_an_empty_body_cancels(self) -> None:
        self.look()
        self.store.put(message("a", AT_10, b"SHOW old"))
        self.store.put(message("a", AT_20, b"SHOW new"))
        self.store.put(message("b", AT_10))
        self.store.put(message("b", body=b""))
        self.store.put(message("nobody", body=b""))
        self.assertEqual(self.store.names, ["a"])
        self.assertEqual((self.at(10), self.at(20)), ([], ["a"]))
        self.assertEqual(self.bus.published[0].body, b"SHOW new")
        counters = self.schedule.counters
        self.assertEqual((counters.sent, counters.replaced, counters.cancelled), (1, 1, 1))

    def test_one_on_air_with_its_name_replaces_it(self) -> None:
        self.look()
        self.store.put(message("a", AT_10))
        self.schedule.heard(message("a", when=5))
        self.assertEqual((self.store.names, self.at(10)), ([], []))

    def test_what_it_sends_and_hears_itself_ends_once(self) -> None:
        self.look()
        self.store.put(message("a", AT_10))
        self.bus.slow = True
        self.clock.rightNow = 10
        looking = self.look()
        self.schedule.heard(self.bus.published[0])
        self.assertEqual(self.store.names, ["a"])  # not before the broker has it
        self.bus.unconfirmed[0].callback(None)
        self.successResultOf(looking)
        self.assertEqual(self.store.names, [])

    def test_what_the_broker_does_not_take_is_due_again(self) -> None:
        self.store.put(message("a", AT_10))
        self.look()
        self.bus.refusing = True
        self.clock.rightNow = 10
        self.failureResultOf(self.look(), BusError)
        self.assertEqual(self.store.names, ["a"])
        self.bus.refusing = False
        self.assertEqual(self.at(11), ["a"])

    def test_a_standby_and_who_has_lost_the_lead_send_nothing(self) -> None:
        self.store.put(message("a", AT_10))
        self.leader.leading = False
        self.assertEqual((self.at(10), self.store.room), ([], None))
        self.leader.leading = True
        self.look()
        self.bus.published.clear()
        self.store.put(message("b", AT_20))
        self.leader.truth = False  # it was frozen, and the broker knows better
        self.assertEqual(self.at(20), [])
        self.assertEqual(self.at(21), [])
        self.assertEqual(len(self.schedule), 0)

    def test_a_new_connection_gives_everything_again_and_what_was_sent_does_not_go_twice(self) -> None:
        self.look()
        self.store.put(message("a", AT_10))
        self.store.put(message("b", AT_20))
        self.schedule.heard(message("a", "NOW", when=10))  # as the leader before us sent it
        self.store.put(message("a", AT_10))  # and had no time to say so
        self.store.lose()
        self.assertEqual(len(self.schedule), 0)
        self.assertEqual((self.at(15), self.at(20)), ([], ["b"]))

    def test_no_more_room_than_there_is(self) -> None:
        self.look()
        for name in "abc":
            self.assertTrue(self.store.room)
            self.store.put(message(name, AT_10))
            self.look()
        self.assertFalse(self.store.room)
        self.at(10)
        self.look()
        self.assertTrue(self.store.room)

    def test_many_at_one_instant_in_order(self) -> None:
        names = [str(number) for number in range(3 * AT_ONCE)]
        for name in names:
            self.store.put(message(name, AT_10))
        self.look()
        self.assertEqual(self.at(10), names)

    def test_what_has_no_time_is_dropped(self) -> None:
        self.look()
        self.store.put(message("a", "soon"))
        self.assertEqual((self.store.names, len(self.schedule)), ([], 0))

    def test_a_shelf_that_is_away_is_an_error_in_words(self) -> None:
        self.store.broken = True
        self.assertEqual(str(self.failureResultOf(self.look(), BusError).value), "no broker")

    def test_report(self) -> None:
        self.look()
        self.store.put(message("b", AT_20))
        self.store.put(message("a", AT_10))
        report = self.schedule.report()
        self.assertEqual((report["held"], report["most"]), (2, 3))
        self.assertEqual([(each["message_id"], each["at"]) for each in report["next"]], [("a", 10), ("b", 20)])


# What is held, by name and by time.


class Compared(float):
    """A time that counts how often it is looked at, to put it in its place or to find it."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return float(self) == other

    def __lt__(self, other: float) -> bool:
        Compared.times += 1
        return float(self) < float(other)

    def __le__(self, other: float) -> bool:
        Compared.times += 1
        return float(self) <= float(other)

    __hash__ = float.__hash__


class TestTimetable(unittest.TestCase):
    def setUp(self) -> None:
        self.timetable = Timetable()

    def hold(self, name: str, at: float, when: int = 0, ticket: int = 1) -> int | None:
        replaced = self.timetable.hold(message(name, when=when), at, ticket)
        return None if replaced is None else replaced.ticket

    def due(self, now: float) -> list[str]:
        return [held.message.message_id for held in self.timetable.due(now, 100)]

    def test_by_time_and_then_by_arrival(self) -> None:
        for name, at in (("c", 30), ("a", 10), ("b", 20), ("a2", 10)):
            self.hold(name, at)
        self.assertEqual((self.timetable.next_at(), self.due(9.99)), (10, []))
        self.assertEqual(self.due(20), ["a", "a2", "b"])
        self.assertEqual(self.due(5), [])  # the clock was set back

    def test_the_same_name_replaces(self) -> None:
        self.hold("a", 10, ticket=1)
        self.assertEqual(self.hold("a", 50, ticket=2), 1)
        self.assertEqual((len(self.timetable), self.due(10), self.due(50)), (1, [], ["a"]))

    def test_cancel(self) -> None:
        self.hold("a", 10)
        self.assertIsNotNone(self.timetable.cancel(name_of(message("a"))))
        self.assertIsNone(self.timetable.cancel(name_of(message("a"))))
        self.assertEqual((self.due(99), self.timetable.next_at()), ([], None))

    def test_one_on_air_replaces_what_was_published_before_it(self) -> None:
        self.hold("a", 100, when=50)
        self.assertIsNone(self.timetable.heard(message("a", when=49)))
        self.assertIsNone(self.timetable.heard(message("b", when=60)))
        self.assertIsNotNone(self.timetable.heard(message("a", when=50)))
        self.assertEqual(len(self.timetable), 0)

    def test_what_was_sent_already_is_not_held_again(self) -> None:
        """Its leader died between sending it and saying so."""
        self.timetable.heard(message("a", when=100))
        self.assertEqual(self.hold("a", 100, when=50, ticket=7), 7)
        self.assertEqual(len(self.timetable), 0)
        self.assertIsNone(self.hold("a", 200, when=101))

    def test_what_was_heard_is_bounded(self) -> None:
        for number in range(HEARD + 1):
            self.timetable.heard(message(str(number), when=100))
        self.assertEqual((self.hold("0", 200, when=50), self.hold("1", 200, when=50, ticket=3)), (None, 3))

    def test_forget_keeps_what_was_heard(self) -> None:
        self.hold("a", 10)
        self.timetable.heard(message("b", when=9))
        self.timetable.forget()
        self.assertEqual((len(self.timetable), self.hold("b", 10, when=1, ticket=4)), (0, 4))

    def test_only_this_one_is_removed(self) -> None:
        self.hold("a", 10)
        (old,) = self.timetable.due(10, 1)
        self.hold("a", 10, ticket=2)
        self.assertFalse(self.timetable.remove(old))
        (new,) = self.timetable.due(10, 1)
        self.assertTrue(self.timetable.remove(new))

    def test_what_is_due_is_found_without_a_look_at_all_that_is_held(self) -> None:
        count = 5_000
        for number in range(count):
            self.hold(str(number), Compared(number * 7 % count))
        Compared.times = 0
        self.assertEqual((self.timetable.next_at(), len(self.timetable.upcoming(20))), (0, 20))
        self.assertEqual(len(self.timetable.due(9.5, 100)), 10)
        self.assertLess(Compared.times, 20)
        self.hold("new", Compared(2_500))
        self.timetable.cancel(name_of(message("new")))
        self.assertLess(Compared.times, 200)
