from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application import login_throttle
from fanout.application.login_throttle import LoginSettings, LoginThrottle, TooManyFailures


class TestLoginThrottle(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        constants = {"QUEUE_SECONDS": 2, "FORGET_SECONDS": 60, "FAILURES_PER_NAME": 4, "STRANGER_SECONDS": 1.5}
        for name, value in constants.items():
            self.patch(login_throttle, name, value)
        self.throttle = LoginThrottle(self.clock, LoginSettings(LOGIN_FAILURES=3))

    def turn(self, address: str = "guesser", login: str = "1.rock") -> Deferred[None]:
        return Deferred.fromCoroutine(self.throttle.turn(address, login))

    def fail(self, times: int, address: str = "guesser", login: str = "1.rock") -> None:  # type: ignore[override]
        for _ in range(times):
            self.throttle.failed(address, login)

    def botnet(self, failures: int = 4) -> None:
        """One failure from each of some addresses."""
        for number in range(failures):
            self.fail(1, f"192.0.2.{number}")

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
        self.successResultOf(self.turn("neighbour", "2.rock"))

    def test_it_is_forgotten_after_a_while(self) -> None:
        self.fail(3)
        self.clock.advance(61)
        self.successResultOf(self.turn())
        self.fail(2)
        self.successResultOf(self.turn())

    def test_a_flood_of_addresses_takes_no_more_memory_than_set(self) -> None:
        for number in range(10_100):
            self.fail(1, str(number), str(number))
        self.assertEqual(len(self.throttle._addresses), 10_000)

    def test_the_addresses_of_one_ipv6_subscriber_are_one(self) -> None:
        for number in range(3):
            self.fail(1, f"2001:db8:1:2::{number:x}")
        self.assertNoResult(self.turn("2001:db8:1:2:ffff::1"))
        self.successResultOf(self.turn("2001:db8:1:3::1"))

    def test_a_name_that_is_guessed_at_from_everywhere_is_slow_for_strangers(self) -> None:
        self.botnet()
        stranger = self.turn("198.51.100.1")
        self.clock.advance(1.4)
        self.assertNoResult(stranger)
        self.clock.advance(0.2)
        self.successResultOf(stranger)
        self.successResultOf(self.turn("198.51.100.1", "2.rock"))

    def test_a_few_failures_of_a_name_are_free_for_all(self) -> None:
        self.botnet(3)
        self.successResultOf(self.turn("198.51.100.1"))

    def test_a_stranger_has_one_try_at_a_time(self) -> None:
        self.botnet()
        first = self.turn("198.51.100.1")
        self.failureResultOf(self.turn("198.51.100.1"), TooManyFailures)
        self.clock.advance(1.6)
        self.successResultOf(first)

    def test_a_refused_try_of_a_stranger_makes_the_next_one_wait_no_longer(self) -> None:
        self.botnet()
        first = self.turn("198.51.100.1")
        for _ in range(5):
            self.failureResultOf(self.turn("198.51.100.1"), TooManyFailures)
        self.clock.advance(1.5)
        self.successResultOf(first)
        second = self.turn("198.51.100.1")
        self.clock.advance(1.5)
        self.successResultOf(second)

    def test_a_stranger_may_wait_for_exactly_the_longest_time(self) -> None:
        self.patch(login_throttle, "STRANGER_SECONDS", 2)
        self.botnet()
        first = self.turn("198.51.100.1")
        self.failureResultOf(self.turn("198.51.100.1"), TooManyFailures)
        self.clock.advance(2)
        self.successResultOf(first)

    def test_strangers_do_not_wait_for_each_other_so_nobody_is_locked_out(self) -> None:
        self.botnet(1_000)
        crowd = [self.turn(f"198.51.{number // 256}.{number % 256}") for number in range(1_000)]
        station = self.turn("203.0.113.1")
        self.clock.advance(1.6)
        self.successResultOf(station)
        self.assertEqual(len([self.successResultOf(each) for each in crowd]), 1_000)

    def test_an_address_that_has_logged_in_before_does_not_wait(self) -> None:
        self.throttle.succeeded("203.0.113.1", "1.rock")
        self.botnet(1_000)
        self.successResultOf(self.turn("203.0.113.1"))

    def test_a_friend_of_one_name_is_a_stranger_to_another(self) -> None:
        self.throttle.succeeded("203.0.113.1", "2.rock")
        self.botnet()
        self.assertNoResult(self.turn("203.0.113.1"))

    def test_a_flood_of_names_takes_no_more_memory_than_set(self) -> None:
        for number in range(10_100):
            self.throttle.failed("guesser", str(number))
            self.throttle.succeeded("guesser", str(number))
        self.assertEqual((len(self.throttle._names), len(self.throttle._friends)), (10_000, 10_000))
