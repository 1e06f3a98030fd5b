"""Handing messages over to somebody who may refuse them for now, without losing or reordering any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

import structlog
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

T = TypeVar("T")
log = structlog.get_logger()

PAUSE = 1.0
"""Seconds until what was refused is offered again: a disk that is full stays so for longer, and costs little to ask."""


@dataclass(order=True, slots=True)
class _Delivery(Generic[T]):
    number: int
    item: T = field(compare=False)
    done: Callable[[], None] = field(compare=False)


class RetryBuffer(Generic[T]):
    """Offers each item to a taker. While something is refused nothing newer is offered; all wait, in order.

    How many wait is for the one who offers to bound: a broker sends no more than the prefetch without acknowledgement.

    :ivar trouble: why the last offer was refused; empty while all is well.
    """

    def __init__(self, clock: Any, take: Callable[[T], Deferred[None]], pause: float = PAUSE) -> None:
        """
        :param clock: Twisted's reactor.
        :param take: fires when the item is safe with the taker; any failure means: not now.
        :param pause: seconds until a refused item is offered again.
        """
        self.trouble = ""
        self._clock = clock
        self._take = take
        self._pause = pause
        self._numbers = count()
        self._refused: list[_Delivery[T]] = []
        self._in_flight = 0
        self._call: Any = None
        self._idle: list[Deferred[None]] = []

    @property
    def waiting(self) -> int:
        """How many were offered and are not yet safe."""
        return self._in_flight + len(self._refused)

    def offer(self, item: T, done: Callable[[], None]) -> None:
        """Hand over an item; ``done`` is called once it is safe."""
        delivery = _Delivery(next(self._numbers), item, done)
        if self._refused:
            heappush(self._refused, delivery)
        else:
            self._hand(delivery)

    def forget(self) -> None:
        """Drop what was refused: whoever offered it will do so again, as a broker does with the next connection."""
        self._refused.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def idle(self) -> Deferred[None]:
        """Fires when nothing is on its way to the taker. What was refused does not count."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._check_idle()
        return idle

    def _hand(self, delivery: _Delivery[T]) -> None:
        self._in_flight += 1
        maybeDeferred(self._take, delivery.item).addCallbacks(
            self._taken, self._not_taken, callbackArgs=(delivery,), errbackArgs=(delivery,)
        ).addErrback(_report)

    def _taken(self, _: object, delivery: _Delivery[T]) -> None:
        self._in_flight -= 1
        if self.trouble and not self._refused:
            self.trouble = ""
            log.info("handover.resumed")
        try:
            delivery.done()
        finally:
            self._check_idle()

    def _not_taken(self, failure: Failure, delivery: _Delivery[T]) -> None:
        self._in_flight -= 1
        reason = failure.getErrorMessage() or type(failure.value).__name__
        if reason != self.trouble:
            log.warning("handover.refused", reason=reason, retry_in=self._pause)
        self.trouble = reason
        heappush(self._refused, delivery)
        if self._call is None:
            self._call = self._clock.callLater(self._pause, self._offer_again)
        self._check_idle()

    def _offer_again(self) -> None:
        """In order, until one is refused at once."""
        self._call = None
        again, self._refused = self._refused, []
        while again:
            delivery = heappop(again)
            if self._refused:
                heappush(self._refused, delivery)
            else:
                self._hand(delivery)

    def _check_idle(self) -> None:
        if self._in_flight == 0:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)


def _report(failure: Failure) -> None:
    log.error("handover.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
