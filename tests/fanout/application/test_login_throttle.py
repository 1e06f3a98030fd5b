from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application import login_throttle
from fanout.application.login_throttle import LoginQueue, LoginSettings, LoginThrottle, TooManyFailures, TooManyLogins


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

    def test_guesses_at_other_names_from_its_address_do_not_delay_a_known_one(self) -> None:
        self.throttle.succeeded("203.0.113.1", "1.rock")
        self.fail(100, "203.0.113.1", "2.jazz")
        self.successResultOf(self.turn("203.0.113.1", "1.rock"))
        self.assertNoResult(self.turn("203.0.113.1", "3.new"))

    def test_guesses_at_a_known_name_delay_that_name_only(self) -> None:
        self.throttle.succeeded("203.0.113.1", "1.rock")
        self.fail(3, "203.0.113.1", "1.rock")
        self.assertNoResult(self.turn("203.0.113.1", "1.rock"))
        self.successResultOf(self.turn("203.0.113.1", "3.new"))

    def test_those_that_would_wait_too_long_are_counted(self) -> None:
        self.fail(3)
        for _ in range(5):
            self.turn().addErrback(lambda failure: failure.trap(TooManyFailures))
        self.assertEqual(self.throttle.put_off, 3)

    def test_a_flood_of_names_takes_no_more_memory_than_set(self) -> None:
        for number in range(10_100):
            self.throttle.failed("guesser", str(number))
            self.throttle.succeeded("guesser", str(number))
        self.assertEqual((len(self.throttle._names), len(self.throttle._friends)), (10_000, 10_000))


class TestLoginQueue(unittest.TestCase):
    """Checks that end when the test says so."""

    def setUp(self) -> None:
        self.friends: set[tuple[str, str]] = set()
        self.queue = LoginQueue(2, lambda address, login: (address, login) in self.friends)
        self.running: dict[str, Deferred[bool]] = {}
        self.addCleanup(self.order)

    def log_in(self, address: str, login: str) -> Deferred[bool]:
        def check() -> Deferred[bool]:
            self.running[login] = Deferred()
            return self.running[login]

        return Deferred.fromCoroutine(self.queue.run(address, login, check))

    def end(self, login: str, result: Any = True) -> None:
        self.running.pop(login).callback(result)

    def order(self) -> list[str]:
        """All logins in the order in which they are checked, one ended after the other."""
        found = []
        while self.running:
            found.append(next(iter(self.running)))
            self.end(found[-1])
        return found

    def test_some_at_a_time(self) -> None:
        logins = [self.log_in("a", str(number)) for number in range(3)]
        self.assertEqual((list(self.running), self.queue.waiting()), (["0", "1"], {"known": 0, "stranger": 1}))
        self.end("0")
        self.assertEqual(list(self.running), ["1", "2"])
        self.end("2", False)
        self.assertEqual([self.successResultOf(logins[number]) for number in (0, 2)], [True, False])

    def test_an_address_with_many_logins_delays_its_own(self) -> None:
        for number in range(10):
            self.log_in("guesser", f"g{number}")
        self.log_in("b", "b0")
        self.log_in("c", "c0")
        self.assertEqual(self.order()[:5], ["g0", "g1", "g2", "b0", "c0"])

    def test_addresses_that_are_known_go_first(self) -> None:
        for number in range(10):
            self.log_in(f"192.0.2.{number}", f"s{number}")
        self.friends = {("192.0.2.77", "1.rock"), ("192.0.2.0", "1.rock")}
        self.log_in("192.0.2.77", "1.rock")
        self.log_in("192.0.2.77", "2.jazz")
        self.assertEqual(self.order()[2], "1.rock")

    def test_a_place_is_kept_for_those_known(self) -> None:
        self.queue = LoginQueue(4, lambda address, login: login == "1.rock")
        for number in range(10):
            self.log_in("a", str(number))
        self.assertEqual(len(self.running), 3)
        self.log_in("b", "1.rock")
        self.assertIn("1.rock", self.running)

    def test_a_check_that_fails_gives_its_place_back(self) -> None:
        failing = [self.log_in("a", str(number)) for number in range(2)]
        later = self.log_in("a", "2")
        self.running.pop("0").errback(ValueError("no"))
        self.failureResultOf(failing[0], ValueError)
        self.end("2")
        self.assertTrue(self.successResultOf(later))

    def test_one_that_is_cancelled_while_it_waits_is_left_out(self) -> None:
        logins = [self.log_in("a", str(number)) for number in range(4)]
        logins[2].cancel()
        self.failureResultOf(logins[2], CancelledError)
        self.end("0")
        self.assertEqual(list(self.running), ["1", "3"])

    def test_a_thousand_that_need_no_time(self) -> None:
        """Each of them lets the next one go on; that is a loop, and no tower of calls."""

        async def at_once() -> bool:
            return True

        for number in range(2):
            self.log_in("a", str(number))
        logins = [Deferred.fromCoroutine(self.queue.run("a", "x", at_once)) for _ in range(1_000)]
        self.end("0")
        self.assertTrue(all(self.successResultOf(each) for each in logins))

    def full(self) -> list[Deferred[bool]]:
        """Three logins of a, two of b, and one of c wait: as many as may."""
        self.patch(login_throttle, "MOST_WAITING", 6)
        for number in range(2):
            self.log_in("first", str(number))
        return [self.log_in(address, f"{address}{number}") for number, address in enumerate("aaabbc")]

    def test_where_no_more_may_wait_the_address_with_most_loses_its_latest(self) -> None:
        waiting = self.full()
        self.log_in("d", "d0")
        self.failureResultOf(waiting[2], TooManyLogins)
        for each in (*waiting[:2], *waiting[3:]):
            self.assertNoResult(each)

    def test_the_address_with_most_gets_no_more(self) -> None:
        self.full()
        refused = self.log_in("a", "a9")
        error = self.failureResultOf(refused, TooManyLogins).value
        self.assertTrue(error.temporary)
        self.assertEqual(self.queue.put_off, 1)

    def test_strangers_lose_before_those_known(self) -> None:
        waiting = self.full()
        self.friends = {("k", "1.rock")}
        known = [self.log_in("k", "1.rock") for _ in range(6)]
        self.assertEqual(self.queue.waiting(), {"known": 6, "stranger": 0})
        self.failureResultOf(self.log_in("z", "stranger"), TooManyLogins)
        self.failureResultOf(self.log_in("k", "1.rock"), TooManyLogins)
        for each in waiting:
            self.failureResultOf(each, TooManyLogins)
        for each in known:
            self.assertNoResult(each)
