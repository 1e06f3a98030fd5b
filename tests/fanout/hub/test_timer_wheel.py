from __future__ import annotations

import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.hub.timer_wheel import Wheel

_TICK = 0.25


class Item:
    def __init__(self, fault: Exception | None = None) -> None:
        self.slot: int | None = None
        self.looks: list[float] = []
        self._fault = fault

    def on_timer(self, now: float) -> None:
        self.looks.append(now)
        if self._fault is not None:
            raise self._fault


class WheelCase(unittest.TestCase):
    def setUp(self) -> None:
        self.wheel: Wheel[Item] = Wheel(_TICK)
        self.now = 1000.0
        self.assertEqual(self.wheel.due(self.now), [])

    def seen_at(self, *items: Item, until: float) -> list[float]:
        """The times, tick by tick, at which each of the items is seen."""
        seen: dict[int, float] = {}
        while self.now < until:
            self.now += _TICK
            for item in self.wheel.due(self.now):
                self.assertNotIn(id(item), seen)
                seen[id(item)] = self.now
        return [seen[id(item)] for item in items]


class Due(WheelCase):
    def test_never_early_and_at_most_two_ticks_late(self) -> None:
        whens = [self.now + index * 0.03 for index in range(400)]
        items = [Item() for _ in whens]
        for item, when in zip(items, whens, strict=True):
            self.wheel.schedule(item, when)
        for when, seen in zip(whens, self.seen_at(*items, until=self.now + 20), strict=True):
            self.assertGreaterEqual(seen, when)
            self.assertLessEqual(seen - when, 2 * _TICK)

    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 3)), max_size=30))
    @settings(deadline=None)
    def test_whatever_the_clock_does(self, script: list[tuple[float, float]]) -> None:
        """Ticks come late, and together: an item is never seen early, and always at the first tick two ticks after."""
        wheel: Wheel[Item] = Wheel(_TICK)
        now, waiting = 0.0, {}
        for when, pause in script:
            item = Item()
            wheel.schedule(item, now + when)
            waiting[item] = now + when
            now += pause
            for seen in wheel.due(now):
                self.assertGreaterEqual(now, waiting.pop(seen))
            self.assertEqual([late for late in waiting.values() if late + 2 * _TICK < now], [])

    def test_an_item_is_seen_once(self) -> None:
        item = Item()
        self.wheel.schedule(item, self.now + 1)
        self.seen_at(item, until=self.now + 2)
        self.assertEqual(self.wheel.due(self.now + 100), [])
        self.assertIsNone(item.slot)

    def test_what_is_overdue_is_seen_at_the_next_tick(self) -> None:
        item = Item()
        self.wheel.schedule(item, self.now - 50)
        self.assertEqual(self.wheel.due(self.now + _TICK), [item])

    def test_no_time_changes_nothing(self) -> None:
        item = Item()
        self.wheel.schedule(item, None)
        self.assertIsNone(item.slot)
        self.wheel.schedule(item, self.now + 1)
        self.wheel.schedule(item, None)
        self.assertEqual(self.wheel.due(self.now + 2), [item])

    def test_scheduling_from_within_a_look(self) -> None:
        item = Item()
        self.wheel.schedule(item, self.now)
        [seen] = self.wheel.due(self.now + 1)
        self.wheel.schedule(seen, self.now + 1)
        self.assertEqual(self.wheel.due(self.now + 1), [])
        self.assertEqual(self.wheel.due(self.now + 1 + 2 * _TICK), [item])


class Turning(WheelCase):
    def test_each_that_is_due_is_looked_at_once_whatever_its_neighbours_do(self) -> None:
        fault = ValueError("broken")
        items = [Item(), Item(fault), Item(), Item()]
        for item, when in zip(items, (1, 1, 1, 50), strict=True):
            self.wheel.schedule(item, self.now + when)
        failures: list[tuple[Item, Exception]] = []
        for _ in range(12):
            self.now += _TICK
            self.wheel.turn(self.now, lambda item, error: failures.append((item, error)))
        self.assertEqual([len(item.looks) for item in items], [1, 1, 1, 0])
        self.assertEqual(failures, [(items[1], fault)])


class Rescheduling(WheelCase):
    def test_earlier(self) -> None:
        item = Item()
        self.wheel.schedule(item, self.now + 10)
        self.wheel.schedule(item, self.now + 1)
        [seen] = self.seen_at(item, until=self.now + 20)  # and once only
        self.assertLessEqual(seen, 1001 + 2 * _TICK)

    def test_later_keeps_the_earlier_look(self) -> None:
        """Whoever is looked at schedules itself anew, so a look too many does no harm and one too few does."""
        item = Item()
        self.wheel.schedule(item, self.now + 1)
        self.wheel.schedule(item, self.now + 10)
        self.assertEqual(self.wheel.due(self.now + 2), [item])
        self.assertEqual(self.wheel.due(self.now + 20), [])

    def test_earlier_and_back_to_the_old_time(self) -> None:
        item = Item()
        self.wheel.schedule(item, self.now + 10)
        self.wheel.schedule(item, self.now + 1)
        self.assertEqual(self.wheel.due(self.now + 2), [item])
        self.wheel.schedule(item, self.now + 10)
        self.assertEqual(self.wheel.due(self.now + 11), [item])


class ManyItems(WheelCase):
    def test_10_000_items(self) -> None:
        """A tick touches those that are due, and nobody else."""
        items = [Item() for _ in range(10_000)]
        for index, item in enumerate(items):
            self.wheel.schedule(item, self.now + index % 100 * _TICK)
        counts = []
        while len(counts) < 102:
            self.now += _TICK
            counts.append(len(self.wheel.due(self.now)))
        self.assertEqual(sum(counts), 10_000)
        self.assertEqual(max(counts), 100)

    def test_who_is_forgotten_is_not_kept_until_its_time(self) -> None:
        item = Item()
        self.wheel.schedule(item, 9000.0)
        held = weakref.ref(item)
        self.wheel.forget(item)
        self.assertIsNone(item.slot)
        self.wheel.forget(item)  # nothing to forget: nothing happens
        del item
        self.assertIsNone(held())

    def test_who_is_wanted_earlier_is_looked_at_once(self) -> None:
        item = Item()
        self.wheel.schedule(item, 1100.0)
        self.wheel.schedule(item, 1001.0)
        self.assertEqual(self.wheel.due(1002.0), [item])
        self.assertEqual(self.wheel.due(1200.0), [])

    def test_empty_slots_are_not_kept(self) -> None:
        item = Item()
        for _ in range(1000):
            self.wheel.schedule(item, self.now + 1)
            self.now += 2
            self.assertEqual(self.wheel.due(self.now), [item])
        self.assertEqual(len(self.wheel._slots), 0)

    def test_empty_slots_are_not_kept_where_nobody_turns_the_wheel(self) -> None:
        item = Item()
        for second in range(1000):
            self.wheel.forget(item)
            self.wheel.schedule(item, self.now + second)
        self.assertEqual(len(self.wheel._slots), 1)

    def test_a_long_pause(self) -> None:
        """The machine slept for a year: the slots that passed are not walked one by one, and nothing is lost."""
        near, far = Item(), Item()
        self.wheel.schedule(near, self.now + 1)
        self.wheel.schedule(far, self.now + 400 * 86_400)
        year = self.now + 365 * 86_400
        self.assertLessEqual(len(self.wheel._passed(int(year / _TICK))), 2)
        self.assertEqual(self.wheel.due(year), [near])
        self.assertEqual(self.wheel.due(year + 40 * 86_400), [far])

    def test_after_a_pause_the_earlier_comes_first(self) -> None:
        items = [Item() for _ in range(5)]
        for index in (3, 1, 4, 0, 2):
            self.wheel.schedule(items[index], self.now + 100 * index)
        self.assertEqual(self.wheel.due(self.now + 1_000_000), items)
