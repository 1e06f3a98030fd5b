"""The journal: an append-only log of messages with retention, for use from the reactor.

A separate thread reads and writes the file (:mod:`fanout.journal.records`). Messages that arrive within a few
milliseconds share one transaction, and therefore one fsync (:mod:`fanout.journal.sqlite`). Long work is done in small
steps, so that new messages never wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from fanout.journal.records import HEADER, PAGE, JournalError, Ledger, Place, Record, Selection, csv_rows
from fanout.journal.sqlite import DELAY, Batches, BatchesFull, FileThread
from fanout.settings import SettingsGroup, setting

__all__ = ["Journal", "JournalError", "JournalSettings", "Record", "Selection"]

CLEANUP_STEP = 1000
"""How many records are dropped at a time. This takes a few milliseconds, during which nothing else is written."""
ADDRESS_STEP = 100
"""How many records lose their address at a time. Each record is read and written as a whole, which takes longer."""
MAX_CALLS = 100
"""How many queries may wait for the thread; further ones are refused."""

T = TypeVar("T")


class JournalSettings(SettingsGroup):
    """The journal."""

    JOURNAL_FILE: str = setting(
        "journal.sqlite",
        "The file of the journal; empty = in memory, lost when the process ends.",
        why="Change it to keep the journal on another disk.",
    )
    JOURNAL_MAX_BYTES: int = setting(
        256 * 2**20,
        "Size limit of the journal; above it the publisher that uses the most octets loses its oldest entries.",
        "octets",
        ge=2**20,
        why="Raise it to keep more entries, or lower it on a small disk.",
    )
    JOURNAL_ADDRESS_SECONDS: int = setting(
        2_592_000,
        "How long the journal keeps the IP addresses of publishers; the entries themselves stay.",
        "s",
        ge=0,
        why="Lower it if your data protection rules require less than 30 days.",
    )


class Journal:
    """Stores records, and finds those of a topic between two times.

    Every method fails with :class:`~fanout.journal.records.JournalError`.
    """

    def __init__(
        self, reactor: Any, settings: JournalSettings, *, delay: float = DELAY, max_calls: int = MAX_CALLS
    ) -> None:
        """
        :param settings: may be replaced while the journal runs; a new ``JOURNAL_FILE`` has no effect.
        :param delay: seconds that the first record of a batch waits for others.
        :param max_calls: how many queries may wait for the thread.
        """
        self._ledger = Ledger(settings.JOURNAL_FILE, time.time)
        self.settings = settings
        self._batches: Batches[Record] = Batches(reactor, self._write, _size, delay=delay)
        self._max_calls = max_calls
        self._calls = 0
        self._stopped = False
        self._without_address: Place = (0, 0)
        self._thread = FileThread(reactor, "journal")

    @property
    def settings(self) -> JournalSettings:
        """The current settings."""
        return self._settings

    @settings.setter
    def settings(self, settings: JournalSettings) -> None:
        self._settings = settings
        self._ledger.max_bytes = settings.JOURNAL_MAX_BYTES

    @property
    def waiting(self) -> int:
        """How many records were accepted and are not on the disk yet."""
        return len(self._batches)

    def add(self, record: Record) -> Deferred[None]:
        """Store a record. The Deferred fires when it is on the disk. Records keep their order.

        A record whose serial is already stored is left out.
        """
        return self._batches.add(record).addErrback(_refused)

    def between(self, selection: Selection, limit: int = PAGE, after: Place | None = None) -> Deferred[list[Record]]:
        """Records in the order of time, and of arrival within a second.

        :param selection: which records.
        :param limit: how many at most; fewer if they are large.
        :param after: :attr:`Record.place` of the last record of the previous page. An empty page is the end.
        """
        return self._call(self._ledger.between, selection, limit, after)

    def last_alive(self, topics: Collection[str]) -> Deferred[dict[str, int]]:
        """Unix time in seconds of the latest record of each topic; topics without one are left out."""
        return self._call(self._ledger.last_alive, tuple(topics))

    def latest(self, limit: int, octets: int) -> Deferred[list[Record]]:
        """The last record of each topic: see :meth:`~fanout.journal.records.Ledger.latest`."""
        return self._call(self._ledger.latest, limit, octets)

    async def export_csv(self, selection: Selection, write: Callable[[bytes], Deferred[None] | None]) -> int:
        """Write the selected records as CSV (:func:`~fanout.journal.records.csv_rows`), page by page. Returns their
        number.

        :param write: called with the next octets. If it returns a Deferred, the export waits for it.
        """
        await maybeDeferred(write, HEADER)
        after, count = None, 0
        while page := await self.between(selection, after=after):
            await maybeDeferred(write, csv_rows(page))
            after, count = page[-1].place, count + len(page)
        return count

    async def cleanup(self, before: int) -> int:
        """Drop the records older than a Unix time in seconds. Returns how many were dropped."""
        total = 0
        while dropped := await self._call(self._ledger.drop, before, CLEANUP_STEP):
            total += dropped
        return total

    async def drop_addresses(self, before: int) -> None:
        """Drop the addresses of the records older than a Unix time in seconds. Records handled by an earlier call are
        skipped.
        """
        after: Place | None = self._without_address
        while after is not None:
            self._without_address = after
            after = await self._call(self._ledger.drop_addresses, before, after, ADDRESS_STEP)

    @property
    def displaced(self) -> int:
        """How many records were dropped since the start because the file had reached its size limit."""
        return self._ledger.displaced

    async def stop(self) -> None:
        """Write the waiting records, and close the file. Later calls fail."""
        if self._stopped:
            return
        self._stopped = True
        await self._batches.stop()
        await self._thread.stop(self._ledger.close)

    def _write(self, records: list[Record]) -> Deferred[None]:
        return self._thread.call(self._ledger.add, records)

    def _call(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        if self._stopped:
            return fail(JournalError("the journal is closed"))
        if self._calls >= self._max_calls:
            return fail(JournalError(f"{self._calls} queries are already waiting for the journal; try again later"))
        self._calls += 1
        return self._thread.call(work, *arguments).addBoth(self._answered)

    def _answered(self, answer: T) -> T:
        self._calls -= 1
        return answer


def _size(record: Record) -> int:
    return len(record.body) + sum(len(name) + len(value) for name, value in record.headers)


def _refused(failure: Failure) -> None:
    failure.trap(BatchesFull)
    raise JournalError(f"the journal does not accept it: {failure.value}")
