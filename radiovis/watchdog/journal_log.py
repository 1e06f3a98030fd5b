"""The log in the SQLite journal: for clusters with a stations file, and for a node without a broker."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.journal.journal import Journal, JournalError, Record
from radiovis.watchdog.log import Entry, LogError, LogFull, LogState, Outage, own_serial


class JournalLog:
    """A :class:`~radiovis.watchdog.log.Log` that keeps entries in a journal.

    :ivar journal: may be searched.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        """
        :param journal: closed by :meth:`stop`.
        :param clock: Unix time in seconds.
        """
        self.journal = journal
        self._clock = clock
        self._outage = Outage("journal", clock)

    def add(self, entry: Entry) -> Deferred[None]:
        """Keep an entry; fires when it is on the disk. A second copy is not kept twice."""
        record = Record(entry.topic, entry.body, entry.headers, entry.timestamp, own_serial(entry.serial))
        return self.journal.add(record).addCallbacks(self._kept, self._failed)

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this many seconds; fires with how many went."""
        before = int(self._clock()) - max_age
        return Deferred.fromCoroutine(self.journal.cleanup(before)).addErrback(_not_cleaned)

    def state(self) -> LogState:
        """How the journal is doing."""
        return LogState(self._outage.error, self._outage.since)

    def stop(self) -> Deferred[None]:
        """Write what is waiting, and close the journal."""
        return Deferred.fromCoroutine(self.journal.stop())

    def _kept(self, _: None) -> None:
        self._outage.over()

    def _failed(self, failure: Failure) -> None:
        failure.trap(JournalError)
        self._outage.failed(str(failure.value))
        raise LogFull(str(failure.value)) from failure.value


def _not_cleaned(failure: Failure) -> int:
    failure.trap(JournalError)
    raise LogError(str(failure.value)) from failure.value
