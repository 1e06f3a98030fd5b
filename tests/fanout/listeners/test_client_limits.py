from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.listeners.client_limits import (
    ConnectionLimit,
    ConnectionSettings,
    SubscriptionLimit,
    SubscriptionSettings,
    TokenBucket,
)


def connection_limit_of(total: int, per_address: int) -> ConnectionLimit:
    return ConnectionLimit(
        ConnectionSettings(MAX_CONNECTIONS=total, MAX_CONNECTIONS_PER_ADDRESS=per_address, CONNECT_RATE=0)
    )


def subscription_limit_of(total: int, per_address: int) -> SubscriptionLimit:
    return SubscriptionLimit(
        SubscriptionSettings(MAX_SUBSCRIPTIONS_TOTAL=total, MAX_SUBSCRIPTIONS_PER_ADDRESS=per_address)
    )


class TestConnectionLimit(unittest.TestCase):
    def test_only_so_many_in_all(self) -> None:
        connection_limit = connection_limit_of(2, 0)
        self.assertEqual([connection_limit.admit(address) for address in ("a", "b", "c")], [True, True, False])
        connection_limit.closed("a")
        self.assertTrue(connection_limit.admit("c"))
        self.assertEqual(connection_limit.total, 2)

    def test_only_so_many_of_one_address(self) -> None:
        connection_limit = connection_limit_of(100, 2)
        self.assertEqual([connection_limit.admit("a") for _ in range(3)], [True, True, False])
        self.assertTrue(connection_limit.admit("b"))
        connection_limit.closed("a")
        self.assertTrue(connection_limit.admit("a"))
        self.assertEqual((connection_limit.of("a"), connection_limit.of("b"), connection_limit.of("c")), (2, 1, 0))

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        connection_limit = ConnectionLimit()
        for number in range(1_000):
            connection_limit.admit(str(number))
            connection_limit.closed(str(number))
        self.assertEqual((connection_limit.total, len(connection_limit._open)), (0, 0))

    def test_the_addresses_of_one_ipv6_subscriber_are_one(self) -> None:
        connection_limit = connection_limit_of(100, 2)
        self.assertEqual([connection_limit.admit(f"2001:db8::{number}") for number in range(3)], [True, True, False])
        self.assertTrue(connection_limit.admit("2001:db8:0:1::1"))
        connection_limit.closed("2001:db8::ffff")
        self.assertEqual(connection_limit.of("2001:db8::1"), 1)

    def test_one_address_comes_no_faster_than_it_may(self) -> None:
        clock = Clock()
        connection_limit = ConnectionLimit(
            ConnectionSettings(MAX_CONNECTIONS=100, MAX_CONNECTIONS_PER_ADDRESS=0, CONNECT_BURST=3, CONNECT_RATE=1),
            clock.seconds,
        )
        self.assertEqual([connection_limit.admit("a") for _ in range(4)], [True] * 3 + [False])
        self.assertTrue(connection_limit.admit("b"))
        clock.advance(1)
        self.assertEqual([connection_limit.admit("a") for _ in range(2)], [True, False])
        self.assertEqual(connection_limit.total, 5)

    def test_a_reload_keeps_the_rates_unless_they_change(self) -> None:
        clock = Clock()
        settings = ConnectionSettings(CONNECT_BURST=1, CONNECT_RATE=1)
        connection_limit = ConnectionLimit(settings, clock.seconds)
        self.assertTrue(connection_limit.admit("a"))
        connection_limit.settings = settings.model_copy(update={"MAX_CONNECTIONS": 7})
        self.assertFalse(connection_limit.admit("a"))
        connection_limit.settings = settings.model_copy(update={"CONNECT_BURST": 2})
        self.assertTrue(connection_limit.admit("a"))


class TestSubscriptionLimit(unittest.TestCase):
    def test_several_are_taken_all_or_none(self) -> None:
        subscription_limit = subscription_limit_of(3, 2)
        self.assertFalse(subscription_limit.take("a", 3))
        self.assertTrue(subscription_limit.take("a", 2))
        self.assertFalse(subscription_limit.take("b", 2))
        self.assertTrue(subscription_limit.take("b"))
        subscription_limit.give_back("a", 2)
        self.assertEqual((subscription_limit.total, dict(subscription_limit._held)), (1, {"b": 1}))

    def test_only_so_many_in_all(self) -> None:
        subscription_limit = subscription_limit_of(2, 0)
        self.assertEqual([subscription_limit.take(each) for each in ("a", "b", "c")], [True, True, False])
        subscription_limit.give_back("a")
        self.assertTrue(subscription_limit.take("c"))
        self.assertEqual(subscription_limit.total, 2)

    def test_only_so_many_of_one_subscriber(self) -> None:
        subscription_limit = subscription_limit_of(100, 2)
        taken = [subscription_limit.take(f"2001:db8::{number}") for number in range(3)]
        self.assertEqual(taken, [True, True, False])
        self.assertTrue(subscription_limit.take("2001:db8:0:1::1"))

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        subscription_limit = SubscriptionLimit()
        for number in range(1_000):
            subscription_limit.take(str(number))
            subscription_limit.give_back(str(number))
        self.assertEqual((subscription_limit.total, len(subscription_limit._held)), (0, 0))


class TestTokenBucket(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.bucket = TokenBucket(self.clock.seconds, 5, 2)

    def allowed(self, key: str = "a", tries: int = 20) -> int:
        return sum(self.bucket.allow(key) for _ in range(tries))

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
        bucket = TokenBucket(self.clock.seconds, 1, 0)
        self.assertTrue(all(bucket.allow("a") for _ in range(1_000)))
        self.assertEqual(len(bucket), 0)

    def test_a_burst_is_whole_at_every_time_of_the_clock(self) -> None:
        """A sum of times is rounded: at 7,500.3 s a full bucket of one refused, as 1,000 s more were 1,000.0…01."""
        for tenths in range(70_000, 90_000, 37):
            for burst in (1, 3):
                bucket = TokenBucket(lambda now=tenths / 10: now, burst, 0.001)  # type: ignore[misc]
                self.assertEqual([bucket.allow("a") for _ in range(burst + 1)], [True] * burst + [False], tenths)

    def test_a_flood_of_keys_takes_no_more_memory_than_set(self) -> None:
        for number in range(20_100):
            self.bucket.allow(number)
        self.assertEqual(len(self.bucket), 20_000)
