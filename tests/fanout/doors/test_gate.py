from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.doors.gate import Gate
from fanout.pace import Pace


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
