"""Offering messages to a taker that refuses now and then."""

from __future__ import annotations

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.bus.consumer_retry import RetryBuffer


class Full(Exception):
    pass


class Handing(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.full = False
        self.offered: list[int] = []
        self.kept: list[int] = []
        self.done: list[int] = []
        self.slow: dict[int, Deferred[None]] = {}
        self.buffer = RetryBuffer(self.clock, self.take, pause=1.0)

    def take(self, item: int) -> Deferred[None]:
        self.offered.append(item)
        if self.full:
            return fail(Full("the disk is full"))
        if item in self.slow:
            return self.slow[item]
        self.kept.append(item)
        return succeed(None)

    def offer(self, *items: int) -> None:
        for item in items:
            self.buffer.offer(item, lambda item=item: self.done.append(item))

    def test_what_is_taken_is_done(self) -> None:
        self.offer(1, 2, 3)
        self.assertEqual((self.kept, self.done), ([1, 2, 3], [1, 2, 3]))
        self.assertEqual((self.buffer.waiting, self.buffer.trouble), (0, ""))

    def test_what_is_refused_waits_and_nothing_newer_is_offered_before_it(self) -> None:
        self.full = True
        self.offer(1, 2, 3)
        self.assertEqual((self.offered, self.done, self.buffer.waiting), ([1], [], 3))
        self.full = False
        self.offer(4)
        self.assertEqual(self.kept, [])
        self.clock.advance(1)
        self.assertEqual((self.kept, self.done), ([1, 2, 3, 4], [1, 2, 3, 4]))
        self.assertEqual(self.buffer.trouble, "")

    def test_a_refusal_that_comes_late_keeps_the_order_too(self) -> None:
        self.slow = {1: Deferred(), 2: Deferred()}
        slow = dict(self.slow)
        self.offer(1, 2)
        self.slow.clear()
        slow[2].errback(Full("full"))
        slow[1].errback(Full("full"))
        self.offer(3)
        self.clock.advance(1)
        self.assertEqual(self.kept, [1, 2, 3])

    def test_while_it_is_full_one_is_offered_per_pause_and_it_is_logged_once(self) -> None:
        self.full = True
        with capture_logs() as logs:
            self.offer(*range(100))
            self.clock.pump([1.0] * 10)
            self.full = False
            self.clock.advance(1)
        self.assertEqual(self.offered, [0] * 11 + list(range(100)))
        self.assertEqual([event["event"] for event in logs], ["handover.refused", "handover.resumed"])

    def test_a_taker_that_raises_refuses(self) -> None:
        def take(item: int) -> Deferred[None]:
            raise Full("at once")

        buffer = RetryBuffer(self.clock, take)
        buffer.offer(1, lambda: self.done.append(1))
        self.assertEqual((buffer.trouble, self.done), ("at once", []))
        buffer.forget()

    def test_forget_drops_what_waits_and_its_timer(self) -> None:
        self.full = True
        self.offer(1, 2)
        self.buffer.forget()
        self.assertEqual((self.buffer.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_idle_waits_for_what_is_on_its_way_and_not_for_what_is_refused(self) -> None:
        self.slow = {1: Deferred()}
        self.offer(1)
        idle = self.buffer.idle()
        self.assertNoResult(idle)
        self.slow[1].callback(None)
        self.successResultOf(idle)
        self.full = True
        self.offer(2)
        self.successResultOf(self.buffer.idle())
        self.buffer.forget()
