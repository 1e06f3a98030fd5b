"""The journal: an append-only ledger of messages with retention, for the reactor.

The file is SQLite's, and a thread of its own reads and writes it (:mod:`fanout.journal.sqlite`). Messages that
arrive within a few milliseconds share one transaction, and so one fsync; long work goes in small steps, so that new
messages never wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from fanout.journal.batches import DELAY, Batches, BatchesFull
from fanout.journal.sqlite import (
    HEADER,
    MAX_BYTES,
    PAGE,
    JournalError,
    Ledger,
    ListenAddress,
    Record,
    Selection,
    csv_rows,
)

__all__ = ["Journal", "JournalError", "Record", "Selection"]

CLEANUP_STEP = 1000
"""Records dropped at a time: a few milliseconds, in which nothing else is written."""
MAX_CALLS = 100
"""Questions waiting for the thread; further ones are refused."""

T = TypeVar("T")


class Journal:
    """Keeps records, and answers what was on a topic between two times.

    Every method fails with :class:`~fanout.journal.sqlite.JournalError`.
    """

    def __init__(
        self,
        reactor: Any,
        path: str,
        *,
        max_bytes: int = MAX_BYTES,
        delay: float = DELAY,
        max_calls: int = MAX_CALLS,
    ) -> None:
        """
        :param path: the file; empty for a journal in memory, which ends with the process.
        :param max_bytes: of the file; beyond it the oldest records go.
        :param delay: seconds the first record of a batch waits for others.
        :param max_calls: questions that may wait for the thread.
        """
        self._reactor = reactor
        self._ledger = Ledger(path, time.time, max_bytes=max_bytes)
        self._batches: Batches[Record] = Batches(reactor, self._write, _size, delay=delay)
        self._max_calls = max_calls
        self._calls = 0
        self._stopped = False
        self._pool = ThreadPool(0, 1, name="journal")
        self._pool.start()

    @property
    def waiting(self) -> int:
        """Records accepted and not yet on the disk."""
        return len(self._batches)

    def add(self, record: Record) -> Deferred[None]:
        """Keep a record; fires when it is on the disk.

        A second copy, by its serial, is not kept twice. Records keep their order.
        """
        return self._batches.add(record).addErrback(_refused)

    def between(
        self, selection: Selection, limit: int = PAGE, after: ListenAddress | None = None
    ) -> Deferred[list[Record]]:
        """Records in order of time, and of arrival within a second.

        :param limit: how many at most; large records make it fewer.
        :param after: :attr:`Record.place` of the last one of the page before. An empty page is the end.
        """
        return self._call(self._ledger.between, selection, limit, after)

    def last_alive(self, topics: Collection[str]) -> Deferred[dict[str, int]]:
        """Unix time in seconds of the latest record of each topic; those without one are left out."""
        return self._call(self._ledger.last_alive, tuple(topics))

    async def export_csv(self, selection: Selection, write: Callable[[bytes], Deferred[None] | None]) -> int:
        """Write the selected records as CSV (:mod:`fanout.journal.sqlite`), page by page; gives how many there were.

        :param write: takes the next octets; the export goes on when the Deferred it may return has fired.
        """
        await maybeDeferred(write, HEADER)
        after, count = None, 0
        while page := await self.between(selection, after=after):
            await maybeDeferred(write, csv_rows(page))
            after, count = page[-1].place, count + len(page)
        return count

    async def cleanup(self, before: int) -> int:
        """Drop the records older than a Unix time in seconds; gives how many went."""
        total = 0
        while dropped := await self._call(self._ledger.drop, before, CLEANUP_STEP):
            total += dropped
        return total

    async def stop(self) -> None:
        """Write what is waiting, and close the file. What is asked afterwards fails."""
        if self._stopped:
            return
        self._stopped = True
        await self._batches.stop()
        await deferToThreadPool(self._reactor, self._pool, self._ledger.close)
        self._pool.stop()

    def _write(self, records: list[Record]) -> Deferred[None]:
        return deferToThreadPool(self._reactor, self._pool, self._ledger.add, records)

    def _call(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        if self._stopped:
            return fail(JournalError("the journal is closed"))
        if self._calls >= self._max_calls:
            return fail(JournalError(f"{self._calls} questions wait for the journal already: ask again later"))
        self._calls += 1
        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, work, *arguments)
        return answer.addBoth(self._answered)

    def _answered(self, answer: T) -> T:
        self._calls -= 1
        return answer


def _size(record: Record) -> int:
    return len(record.body) + sum(len(name) + len(value) for name, value in record.headers)


def _refused(failure: Failure) -> None:
    failure.trap(BatchesFull)
    raise JournalError(f"the journal does not take it: {failure.value}")
