from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.listeners.client_limits import (
    SLICE_FRAMES,
    TURN_FRAMES,
    ConnectionLimit,
    ConnectionSettings,
    FairTurns,
    InputMemory,
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


class Visitor:
    """A connection."""

    def __init__(self, heard_at: float = 0.0) -> None:
        self.heard_at = heard_at
        self.turned_out = False

    def close_for_others(self) -> None:
        self.turned_out = True


class TestFullNode(unittest.TestCase):
    def fill(self, connection_limit: ConnectionLimit, address: str, *heard_at: float) -> list[Visitor]:
        visitors = [Visitor(each) for each in heard_at]
        for each in visitors:
            self.assertTrue(connection_limit.admit(address, each))
        return visitors

    def test_while_there_is_room_nobody_is_closed(self) -> None:
        connection_limit = connection_limit_of(10, 0)
        visitors = self.fill(connection_limit, "a", *range(9))
        self.assertTrue(connection_limit.admit("b", Visitor()))
        self.assertFalse(any(each.turned_out for each in visitors))

    def test_the_quietest_of_the_address_with_the_most_gives_its_place(self) -> None:
        connection_limit = connection_limit_of(6, 0)
        many, few = self.fill(connection_limit, "a", 5, 3, 4, 9), self.fill(connection_limit, "b", 1, 2)
        self.assertTrue(connection_limit.admit("c", Visitor()))
        self.assertEqual([each.turned_out for each in many], [False, True, False, False])
        self.assertFalse(any(each.turned_out for each in few))
        self.assertEqual((connection_limit.closed_for_others, connection_limit.of("a")), (1, 3))
        connection_limit.closed("a", many[1])
        self.assertEqual((connection_limit.total, connection_limit.of("a")), (6, 3))

    def test_equal_shares_stay(self) -> None:
        connection_limit = connection_limit_of(6, 0)
        visitors = self.fill(connection_limit, "a", *range(5)) + self.fill(connection_limit, "b", 0)
        admitted = [connection_limit.admit("b", Visitor()) for _ in range(4)]
        self.assertEqual(admitted, [True, True, False, False])
        self.assertEqual((connection_limit.of("a"), connection_limit.of("b")), (3, 3))
        self.assertFalse(connection_limit.admit("a", Visitor()))
        self.assertEqual(connection_limit.refused["connections"], 3)
        self.assertEqual(sum(each.turned_out for each in visitors), 2)

    def test_the_addresses_of_one_ipv6_subscriber_are_one(self) -> None:
        connection_limit = connection_limit_of(4, 0)
        for number in range(4):
            connection_limit.admit(f"2001:db8::{number}", Visitor())
        self.assertFalse(connection_limit.admit("2001:db8::9", Visitor()))
        self.assertTrue(connection_limit.admit("2001:db8:0:1::1", Visitor()))

    def test_only_so_many_are_closing_at_a_time(self) -> None:
        connection_limit = connection_limit_of(500, 0)
        self.fill(connection_limit, "a", *range(500))
        admitted = sum(connection_limit.admit(str(number), Visitor()) for number in range(300))
        self.assertEqual((admitted, connection_limit.total), (100, 600))

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        connection_limit = connection_limit_of(50, 0)
        visitors = [(str(number % 7), Visitor()) for number in range(50)]
        for address, visitor in visitors:
            connection_limit.admit(address, visitor)
        visitors += [(address, visitor) for address, visitor in (("x", Visitor()), ("y", Visitor()))]
        for address, visitor in visitors[50:]:
            self.assertTrue(connection_limit.admit(address, visitor))
        for address, visitor in visitors:
            connection_limit.closed(address, visitor)
        kept = (connection_limit._open, connection_limit._admitted, connection_limit._with, connection_limit._leaving)
        self.assertEqual((connection_limit.total, [len(each) for each in kept]), (0, [0, 0, 0, 0]))

    def test_a_refusal_takes_as_long_among_many_addresses(self) -> None:
        connection_limit = connection_limit_of(10_000, 0)
        for number in range(10_000):
            connection_limit.admit(str(number), Visitor())
        for _ in range(10_000):  # a search for the address with the most would take seconds
            self.assertFalse(connection_limit.admit("0", Visitor()))


class Holder:
    def __init__(self, memory: InputMemory, address: str) -> None:
        self.memory = memory
        self.address = address
        self.gave_up = False

    def give_up(self) -> None:
        self.gave_up = True


class TestInputMemory(unittest.TestCase):
    def test_of_the_address_with_most_the_client_with_most_gives_up(self) -> None:
        memory = InputMemory(1_000)
        station = Holder(memory, "b")
        memory.hold(station, 400)
        crowd = [Holder(memory, "a") for _ in range(6)]
        for number, each in enumerate(crowd):
            memory.hold(each, 100 + number)
        self.assertEqual([each.gave_up for each in crowd], [False] * 4 + [True] * 2)
        self.assertFalse(station.gave_up)
        self.assertEqual((memory.total, memory.refused), (806, 2))

    def test_the_last_may_be_the_one(self) -> None:
        memory = InputMemory(1_000)
        first, last = Holder(memory, "a"), Holder(memory, "b")
        memory.hold(first, 400)
        memory.hold(last, 700)
        self.assertEqual((first.gave_up, last.gave_up, memory.total), (False, True, 400))

    def test_nothing_is_kept_of_those_who_are_done(self) -> None:
        memory = InputMemory(1_000)
        for number in range(1_000):
            holder = Holder(memory, str(number % 10))
            memory.hold(holder, 90)
            memory.hold(holder, 40)
            memory.hold(holder, 0)
        self.assertEqual((memory.total, memory.refused, len(memory._held), len(memory._sums)), (0, 0, 0, 0))

    def test_many_equal_ones_are_relieved_in_one_go(self) -> None:
        memory = InputMemory(1_000_000)
        holders = [Holder(memory, str(number)) for number in range(10_001)]
        for each in holders:
            memory.hold(each, 100)
        self.assertEqual((memory.total, memory.refused), (875_000, 1_251))


class Client:
    """A client with so many frames to be worked on."""

    def __init__(self, turns: FairTurns, address: str, frames: int, done: list[str]) -> None:
        self.turns = turns
        self.address = address
        self.frames = frames
        self.done = done

    def work(self, most: int) -> None:
        now = min(most, self.frames)
        self.frames -= now
        self.done += [self.address] * now
        self.turns.spend(now)
        if self.frames:
            self.turns.wait(self)


class TestFairTurns(unittest.TestCase):
    def setUp(self) -> None:
        self.failures: list[Exception] = []
        self.ends: list[Callable[[], None]] = []
        self.turns = FairTurns(self.ends.append, lambda worker, error: self.failures.append(error))
        self.done: list[str] = []

    def come(self, address: str, frames: int) -> Client:
        client = Client(self.turns, address, frames, self.done)
        client.work(self.turns.grant)
        return client

    def turn(self) -> list[str]:
        self.done.clear()
        ends, self.ends[:] = list(self.ends), []
        for end in ends:
            end()
        return self.done

    def test_few_frames_are_worked_on_at_once(self) -> None:
        self.come("a", 5)
        self.come("b", 5)
        self.assertEqual((len(self.done), self.turns.waiting), (10, 0))

    def test_one_client_alone_has_the_whole_turn(self) -> None:
        self.come("a", 1_000)
        self.assertEqual(len(self.done), TURN_FRAMES)
        self.assertEqual(len(self.turn()), TURN_FRAMES)

    def test_one_that_comes_is_not_held_up_by_those_that_wait(self) -> None:
        for _ in range(10):
            self.come("a", 1_000)
        self.turn()
        self.done.clear()
        self.come("b", 5)
        self.assertEqual(self.done, ["b"] * 5)

    def test_each_address_has_its_turn(self) -> None:
        for _ in range(50):
            self.come("a", 1_000)
        self.come("b", 1_000)
        done = [each for _ in range(5) for each in list(self.turn())]
        self.assertEqual(done.count("b"), len(done) // 2)

    def test_each_client_of_an_address_has_its_turn(self) -> None:
        clients = [self.come("a", 1_000) for _ in range(8)]
        before = [client.frames for client in clients]
        self.turn()
        self.assertEqual([was - client.frames for was, client in zip(before, clients, strict=True)], [SLICE_FRAMES] * 8)

    def test_one_that_fails_costs_the_others_nothing(self) -> None:
        bad, good = self.come("a", 1_000), self.come("b", 1_000)
        bad.work = lambda most: 1 / 0  # type: ignore[assignment,return-value]
        while good.frames:
            self.turn()
        self.assertEqual((len(self.failures), self.turns.waiting), (1, 0))

    def test_all_of_it_is_worked_on(self) -> None:
        clients = [self.come(str(number % 3), number * 7) for number in range(100)]
        while self.turns.waiting:
            self.turn()
        self.assertEqual({client.frames for client in clients}, {0})
        self.assertEqual(len(self.turns._queue), 0)


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
