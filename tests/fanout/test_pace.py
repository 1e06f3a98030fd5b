from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.pace import Pace


class TestPace(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pace = Pace(self.clock.seconds, 5, 2)

    def allowed(self, key: str = "a", tries: int = 20) -> int:
        return sum(self.pace.allow(key) for _ in range(tries))

    def test_a_burst_and_then_so_many_a_second(self) -> None:
        self.assertEqual(self.allowed(), 5)
        self.clock.advance(1)
        self.assertEqual(self.allowed(), 2)
        self.clock.advance(0.4)
        self.assertEqual(self.allowed(), 0)

    def test_who_was_quiet_has_the_burst_again_and_no_more(self) -> None:
        self.allowed()
        self.clock.advance(100)
        self.assertEqual(self.allowed(), 5)

    def test_each_has_its_own(self) -> None:
        self.assertEqual((self.allowed("a"), self.allowed("b")), (5, 5))

    def test_no_limit(self) -> None:
        pace = Pace(self.clock.seconds, 1, 0)
        self.assertTrue(all(pace.allow("a") for _ in range(1_000)))
        self.assertEqual(len(pace), 0)

    def test_a_flood_of_keys_takes_no_more_memory_than_set(self) -> None:
        for number in range(20_100):
            self.pace.allow(number)
        self.assertEqual(len(self.pace), 20_000)
