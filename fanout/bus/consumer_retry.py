"""Offers messages to a consumer that may refuse them for a while, without losing or reordering any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

import structlog
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from fanout.process.logs import Throttle

T = TypeVar("T")
log = structlog.get_logger()

PAUSE = 1.0
"""Seconds until a refused message is offered again. A full disk stays full for longer, and another offer costs
little."""


@dataclass(order=True, slots=True)
class _Offer(Generic[T]):
    number: int
    item: T = field(compare=False)
    done: Callable[[], None] = field(compare=False)


class RetryBuffer(Generic[T]):
    """Offers each item to a consumer. While the consumer refuses one item, no newer one is offered; all of them wait in
    order.

    The caller bounds the number of waiting items: a broker sends no more unacknowledged messages than the prefetch.

    :ivar trouble: why the last offer was refused; empty while the consumer accepts items.
    """

    def __init__(self, clock: Any, take: Callable[[T], Deferred[None]], pause: float = PAUSE) -> None:
        """
        :param clock: Twisted's reactor.
        :param take: called with each item; its Deferred fires when the item is stored. If it fails the item is offered
            again.
        :param pause: seconds until a refused item is offered again.
        """
        self.trouble = ""
        self._clock = clock
        self._take = take
        self._pause = pause
        self._numbers = count()
        self._refused: list[_Offer[T]] = []
        self._in_flight = 0
        self._call: Any = None
        self._idle: list[Deferred[None]] = []
        self._throttle = Throttle(clock.seconds)

    @property
    def waiting(self) -> int:
        """How many items were offered and are not stored yet."""
        return self._in_flight + len(self._refused)

    def offer(self, item: T, done: Callable[[], None]) -> None:
        """Offer an item.

        :param done: called when the item is stored.
        """
        offer = _Offer(next(self._numbers), item, done)
        if self._refused:
            heappush(self._refused, offer)
        else:
            self._offer(offer)

    def forget(self) -> None:
        """Drop the refused items. The caller will offer them again, as a broker does over the next connection."""
        self._refused.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def idle(self) -> Deferred[None]:
        """A Deferred that fires when every offer has an answer. Refused items that wait for another offer do not
        count.
        """
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._check_idle()
        return idle

    def _offer(self, offer: _Offer[T]) -> None:
        self._in_flight += 1
        maybeDeferred(self._take, offer.item).addCallbacks(
            self._taken, self._not_taken, callbackArgs=(offer,), errbackArgs=(offer,)
        ).addErrback(_report)

    def _taken(self, _: object, offer: _Offer[T]) -> None:
        self._in_flight -= 1
        if self.trouble and not self._refused:
            self.trouble = ""
            log.info("handover.resumed")
        try:
            offer.done()
        finally:
            self._check_idle()

    def _not_taken(self, failure: Failure, offer: _Offer[T]) -> None:
        self._in_flight -= 1
        reason = failure.getErrorMessage() or type(failure.value).__name__
        if self._throttle.allow(reason):
            held_back = self._throttle.held_back(reason)
            log.warning("handover.refused", reason=reason, retry_in=self._pause, held_back=held_back)
        self.trouble = reason
        heappush(self._refused, offer)
        if self._call is None:
            self._call = self._clock.callLater(self._pause, self._offer_again)
        self._check_idle()

    def _offer_again(self) -> None:
        """Offer the refused items again in order, until one is refused at once."""
        self._call = None
        again, self._refused = self._refused, []
        while again:
            offer = heappop(again)
            if self._refused:
                heappush(self._refused, offer)
            else:
                self._offer(offer)

    def _check_idle(self) -> None:
        if self._in_flight == 0:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)


def _report(failure: Failure) -> None:
    log.error("handover.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
