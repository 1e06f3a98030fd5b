"""A log that only the leader has open: its spool lies on a disk that several watchdogs may share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from radiovis.watchdog.log import Entry, Log, LogFull, LogState

log = structlog.get_logger(__name__)


class Opened(Log, Protocol):
    """A log that is opened when it is needed."""

    def start(self) -> None:
        """Open it."""
        ...


class LeadersLog:
    """A :class:`~radiovis.watchdog.log.Log`, open from :meth:`lead` to :meth:`rest`.

    A standby holds nothing, so it has nothing to fail at; a leader that was frozen and wakes up as a standby lets go of
    what the new one needs.
    """

    def __init__(self, make: Callable[[], Opened]) -> None:
        """:param make: makes the log, once for each time we lead."""
        self._make = make
        self._open: Opened | None = None

    def lead(self) -> None:
        """This process has become the leader."""
        if self._open is None:
            self._open = self._make()
            self._open.start()

    def rest(self) -> None:
        """It is the leader no longer."""
        self.stop().addErrback(_not_closed)

    def add(self, entry: Entry) -> Deferred[None]:
        """Keep an entry; a standby does not."""
        return fail(LogFull("another fallback.py leads")) if self._open is None else self._open.add(entry)

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Drop entries older than this many seconds; that is the leader's work."""
        return succeed(0) if self._open is None else self._open.cleanup(max_age)

    def state(self) -> LogState:
        """How the log is doing; well, on a standby."""
        return LogState(0) if self._open is None else self._open.state()

    def stop(self) -> Deferred[None]:
        """Finish what was begun, and close."""
        closing, self._open = self._open, None
        return succeed(None) if closing is None else closing.stop()


def _not_closed(failure: Failure) -> None:
    log.error("log.not_closed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
