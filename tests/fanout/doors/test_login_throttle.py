from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.doors.login_throttle import LoginThrottle, TooManyFailures


class TestLoginThrottle(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = LoginThrottle(self.clock, failures=3, pause=1, queue=2, forget=60)

    def turn(self, address: str = "guesser") -> Deferred[None]:
        return Deferred.fromCoroutine(self.throttle.turn(address))

    def fail(self, times: int, address: str = "guesser") -> None:  # type: ignore[override]
        for _ in range(times):
            self.throttle.failed(address)

    def test_a_few_failures_are_free(self) -> None:
        self.fail(2)
        self.successResultOf(self.turn())

    def test_then_each_login_waits(self) -> None:
        self.fail(3)
        first, second = self.turn(), self.turn()
        self.clock.advance(0.9)
        self.assertNoResult(first)
        self.clock.advance(0.2)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.clock.advance(1)
        self.successResultOf(second)

    def test_too_many_that_wait_are_refused_at_once(self) -> None:
        self.fail(3)
        waiting = [self.turn() for _ in range(2)]
        self.failureResultOf(self.turn(), TooManyFailures)
        self.clock.pump([1.0] * 3)
        for each in waiting:
            self.successResultOf(each)
        self.successResultOf(self.turn())

    def test_other_addresses_do_not_wait(self) -> None:
        self.fail(100)
        self.successResultOf(self.turn("neighbour"))

    def test_it_is_forgotten_after_a_while(self) -> None:
        self.fail(3)
        self.clock.advance(61)
        self.successResultOf(self.turn())
        self.fail(2)
        self.successResultOf(self.turn())

    def test_a_flood_of_addresses_takes_no_more_memory_than_set(self) -> None:
        for number in range(10_100):
            self.fail(1, str(number))
        self.assertEqual(len(self.throttle._addresses), 10_000)
