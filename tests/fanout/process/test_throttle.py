from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.process.throttle import Throttle


class ThrottleTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock.seconds, interval=1.0, keys=3)

    def test_one_turn_per_key_and_interval(self) -> None:
        turns = []
        for _ in range(4):
            turns.append([self.throttle.allow("a"), self.throttle.allow("b")])
            self.clock.advance(0.5)
        self.assertEqual(turns, [[True, True], [False, False], [True, True], [False, False]])

    def test_counts_what_was_held_back_until_the_next_turn(self) -> None:
        for _ in range(6):
            self.throttle.allow("a")
        self.assertEqual(self.throttle.held_back("a"), 0)
        self.clock.advance(1)
        self.assertTrue(self.throttle.allow("a"))
        self.assertEqual(self.throttle.held_back("a"), 5)
        self.clock.advance(1)
        self.throttle.allow("a")
        self.assertEqual(self.throttle.held_back("a"), 0)

    def test_memory_is_bounded_and_the_oldest_turn_is_forgotten(self) -> None:
        for key in "abcd":
            self.throttle.allow(key)
        self.assertEqual([self.throttle.allow(key) for key in "bcd"], [False] * 3)
        self.assertTrue(self.throttle.allow("a"), "the fourth key pushed it out")
        self.assertTrue(self.throttle.allow("b"), "and now it pushed out b")
        self.assertEqual(self.throttle.held_back("nobody"), 0)
