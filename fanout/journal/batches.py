"""Group commit: items that come within a few milliseconds share one write to the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.python.failure import Failure

DELAY = 0.005
"""Seconds from the first item to the write: not noticed by anybody, and a burst shares one fsync."""
BATCH_OCTETS = 4 * 2**20
"""Octets of one write; a larger item is written alone. More gains nothing: the fsync is then the smaller part."""
MAX_WAITING = 10_000
MAX_WAITING_OCTETS = 32 * 2**20
"""Items, and octets of them, that wait while the disk is slow. Further ones are refused; their owner keeps them."""

T = TypeVar("T")


class BatchesFull(Exception):
    """Too many items wait, or nothing is written any more. The text says which."""


class Batches(Generic[T]):
    """Writes items in the order they came, many at a time, one batch after the other.

    A batch succeeds or fails as a whole. Items that wait behind a batch that fails, fail too: a caller that adds all of
    them again keeps their order, even if the disk has room again a moment later.
    """

    def __init__(
        self,
        clock: Any,
        write: Callable[[list[T]], Deferred[Any]],
        size: Callable[[T], int],
        *,
        delay: float = DELAY,
        batch_octets: int = BATCH_OCTETS,
        max_waiting: int = MAX_WAITING,
        max_waiting_octets: int = MAX_WAITING_OCTETS,
    ) -> None:
        """
        :param clock: the reactor, or a Clock.
        :param write: writes a batch, all or nothing; called again only after its Deferred has fired.
        :param size: gives the octets of an item.
        :param delay: seconds the first item of a batch waits for others.
        :param batch_octets: octets of one batch.
        :param max_waiting: items accepted and not yet written.
        :param max_waiting_octets: octets of them.
        """
        self._clock = clock
        self._write = write
        self._size = size
        self._delay = delay
        self._batch_octets = batch_octets
        self._max_waiting = max_waiting
        self._max_waiting_octets = max_waiting_octets
        self._items: list[tuple[T, int, Deferred[None]]] = []
        self._writing: list[tuple[T, int, Deferred[None]]] = []
        self._octets = 0
        self._timer: Any = None
        self._idle: Deferred[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        """Items accepted and not yet written."""
        return len(self._items) + len(self._writing)

    def add(self, item: T) -> Deferred[None]:
        """Write an item; fires when it is written.

        Fails with the error of ``write``, or with :class:`BatchesFull`.
        """
        if self._stopped:
            return fail(BatchesFull("it is closed"))
        size = self._size(item)
        if len(self) >= self._max_waiting or (len(self) and self._octets + size > self._max_waiting_octets):
            return fail(BatchesFull(f"{len(self)} items of {self._octets} octets wait for the disk already"))
        written: Deferred[None] = Deferred()
        self._items.append((item, size, written))
        self._octets += size
        if self._timer is None and not self._writing:
            self._timer = self._clock.callLater(self._delay, self._next)
        return written

    def stop(self) -> Deferred[None]:
        """Write the items that wait, without delay; fires when that is done. Items added later are refused."""
        self._stopped = True
        if not len(self):
            return succeed(None)
        if self._timer is not None:
            self._timer.cancel()
            self._next()
        if not len(self):
            return succeed(None)
        self._idle = Deferred()
        return self._idle

    def _next(self) -> None:
        self._timer = None
        self._writing = self._take()
        maybeDeferred(self._write, [item for item, _, _ in self._writing]).addBoth(self._written)

    def _take(self) -> list[tuple[T, int, Deferred[None]]]:
        """The items of the next batch: as many as fit, and at least one."""
        octets = count = 0
        for _, size, _ in self._items:
            if count and octets + size > self._batch_octets:
                break
            octets += size
            count += 1
        batch, self._items = self._items[:count], self._items[count:]
        return batch

    def _schedule(self) -> None:
        """Only a whole batch, or the last one, does not wait: each write costs a thread its waking, also in an endless
        stream.
        """
        if self._stopped or self._octets >= self._batch_octets:
            self._next()
        else:
            self._timer = self._clock.callLater(self._delay, self._next)

    def _written(self, outcome: object) -> None:
        batch, self._writing = self._writing, []
        if isinstance(outcome, Failure):
            batch, self._items = batch + self._items, []
        self._octets -= sum(size for _, size, _ in batch)
        if self._items:
            self._schedule()
        for _, _, written in batch:
            if isinstance(outcome, Failure):
                written.errback(outcome.value)
            else:
                written.callback(None)
        if self._idle is not None and not len(self):
            idle, self._idle = self._idle, None
            idle.callback(None)
