"""None"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.listeners.limits import Gate, Pace, Quota


class TestGate(unittest.TestCase):
    def test_only_so_many_in_all(self) -> None:
        gate = Gate(2, 0)
        self.assertEqual([gate.admit(address) for address in ("a", "b", "c")], [True, True, False])
        gate.closed("a")
        self.assertTrue(gate.admit("c"))
        self.assertEqual(gate.total, 2)

    def test_only_so_many_of_one_address(self) -> None:
        gate = Gate(100, 2)
        self.assertEqual([gate.admit("a") for _ in range(3)], [True, True, False])
        self.assertTrue(gate.admit("b"))
        gate.closed("a")
        self.assertTrue(gate.admit("a"))
        self.assertEqual((gate.of("a"), gate.of("b"), gate.of("c")), (2, 1, 0))

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        gate = Gate()
        for number in range(1_000):
            gate.admit(str(number))
            gate.closed(str(number))
        self.assertEqual((gate.total, len(gate._open)), (0, 0))

    def test_the_addresses_of_one_ipv6_subscriber_are_one(self) -> None:
        gate = Gate(100, 2)
        self.assertEqual([gate.admit(f"2001:db8::{number}") for number in range(3)], [True, True, False])
        self.assertTrue(gate.admit("2001:db8:0:1::1"))
        gate.closed("2001:db8::ffff")
        self.assertEqual(gate.of("2001:db8::1"), 1)

    def test_one_address_comes_no_faster_than_it_may(self) -> None:
        clock = Clock()
        gate = Gate(100, 0, Pace(clock.seconds, 3, 1))
        self.assertEqual([gate.admit("a") for _ in range(4)], [True] * 3 + [False])
        self.assertTrue(gate.admit("b"))
        clock.advance(1)
        self.assertEqual([gate.admit("a") for _ in range(2)], [True, False])
        self.assertEqual(gate.total, 5)


class TestQuota(unittest.TestCase):
    def test_only_so_many_in_all(self) -> None:
        quota = Quota(2, 0)
        self.assertEqual([quota.take(each) for each in ("a", "b", "c")], [True, True, False])
        quota.give_back("a")
        self.assertTrue(quota.take("c"))
        self.assertEqual(quota.total, 2)

    def test_only_so_many_of_one_subscriber(self) -> None:
        quota = Quota(100, 2)
        taken = [quota.take(f"2001:db8::{number}") for number in range(3)]
        self.assertEqual(taken, [True, True, False])
        self.assertTrue(quota.take("2001:db8:0:1::1"))

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        quota = Quota()
        for number in range(1_000):
            quota.take(str(number))
            quota.give_back(str(number))
        self.assertEqual((quota.total, len(quota._held)), (0, 0))


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
