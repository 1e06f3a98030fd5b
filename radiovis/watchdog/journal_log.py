"""The log in the SQLite journal: for stations files and for a node by itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.bus.serial import SERIAL
from fanout.journal.journal import Journal, JournalError, Record
from radiovis.watchdog.log import Entry, LogError, LogFull, LogState

# Something that fails for a while: said when it begins and when it is over, not each time.

_LOG_INTERVAL = 60.0  # Seconds; a reason may have a number in it that changes each time.

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Outage:
    """Whether a part fails, since when and why.

    :ivar error: the last failure in words; empty while all is well.
    :ivar since: Unix time in seconds of the first failure; None while all is well.
    """

    def __init__(self, part: str, clock: Callable[[], float]) -> None:
        """
        :param part: what fails, for the log.
        :param clock: Unix time in seconds.
        """
        self._part = part
        self._clock = clock
        self._logged = -_LOG_INTERVAL
        self.error = ""
        self.since: int | None = None

    def failed(self, error: str) -> None:
        """It failed; logged the first time, and once a minute if the reason changes."""
        now = self._clock()
        if self.since is None or (error != self.error and now - self._logged >= _LOG_INTERVAL):
            log.error("log.failing", part=self._part, error=error)
            self._logged = now
        self.error = error
        if self.since is None:
            self.since = int(now)

    def over(self) -> None:
        """It works."""
        if self.since is not None:
            log.info("log.well", part=self._part, after_seconds=int(self._clock()) - self.since)
        self.error, self.since = "", None


# Which entries were kept lately, so that a message delivered twice is kept once.

SIZE = 10_000
"""Serials remembered. A message is delivered again when it was not acknowledged: of the last few hundred at most."""


def own_serial(serial: str) -> str:
    """A serial of ours, or nothing: devices use the AMQP property in their own ways, and may repeat themselves."""
    return serial if SERIAL.fullmatch(serial) else ""


class RecentSerials:
    """The serials seen lately.

    Exactly those, unlike :class:`fanout.bus.serial.Seen`: an entry that was refused comes again after later ones.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._serials: OrderedDict[str, None] = OrderedDict()

    def add(self, serial: str) -> None:
        """Remember a serial, if it is one of ours."""
        if own_serial(serial):
            self._serials[serial] = None
            if len(self._serials) > self._size:
                self._serials.popitem(last=False)

    def __contains__(self, serial: str) -> bool:
        return serial in self._serials


class JournalLog:
    """A :class:`~radiovis.watchdog.log.Log` that keeps entries in a journal.

    :ivar journal: to look into.
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
        return LogState(self.journal.waiting, self._outage.error, self._outage.since)

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
