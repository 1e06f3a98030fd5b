"""What is held, by name and by time."""

from __future__ import annotations

import unittest

from radiovis.schedule.timetable import HEARD, Timetable, name_of
from tests.radiovis.schedule.stores import message


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
