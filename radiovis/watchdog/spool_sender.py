"""Sends what the spool holds to the log API: in order, one at a time, until each is accepted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from radiovis.directory.interface import DirectoryError, LogStore
from radiovis.watchdog.journal_log import Outage
from radiovis.watchdog.log import Entry
from radiovis.watchdog.spool import SpoolError
from radiovis.watchdog.spool_record import decode
from radiovis.watchdog.spool_segments import Spooled
from radiovis.watchdog.spools import Spools

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds between two attempts; doubled each time."""
GRACE = 3.0
"""Seconds a call under way may still take when the sender stops."""
SUSPICIOUS = 3
"""Attempts after which we ask whether it is the entry or the API that fails."""
REFUSALS = 3
"""Times the API must be well and refuse the entry all the same, before that is set aside."""
_READ = 100  # Records read ahead.

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SpoolSender:
    """Sends in the spools' order.

    An entry is sent once, unless the process dies, or gives up a call when it stops, between the API's acceptance and
    the note in the spool: then it is sent again. An entry the API refuses time and again, though it is well otherwise
    (PlugIt has only status 500 to say so), would hold up all others for ever: it is set aside in the spool's folder.
    """

    def __init__(
        self,
        store: LogStore,
        spools: Spools,
        reactor: Any,
        *,
        max_age: int,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        grace: float = GRACE,
    ) -> None:
        """
        :param spools: opened.
        :param max_age: seconds entries are kept; asking to drop older ones is how we find out whether the API is well.
        :param first_pause: seconds before the second attempt; doubled for each further one.
        :param longest_pause: seconds at most.
        :param grace: seconds a call under way may still take when it stops.
        """
        self._store = store
        self._spools = spools
        self._reactor = reactor
        self._max_age = max_age
        self._pauses = (first_pause, longest_pause)
        self._grace = grace
        self.outage = Outage("log API", time.time)
        self._pool = ThreadPool(0, 1, name="spool-sender")
        self._run: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._news: Deferred[None] | None = None
        self._has_news = False
        self._stopped = False

    def start(self) -> None:
        """Send what is there, and from now on what comes."""
        self._pool.start()
        self._run = Deferred.fromCoroutine(self._work())

    def wake(self) -> None:
        """There is something new in the spool."""
        self._has_news = True
        news, self._news = self._news, None
        if news is not None:
            news.callback(None)

    def stop(self) -> Deferred[None]:
        """Send nothing more; fires when the call under way has ended."""
        self._stopped = True
        self.wake()
        if self._pause is not None:
            self._pause.cancel()
        if self._run is None:
            return succeed(None)
        self._run.addTimeout(self._grace, self._reactor)
        return self._run.addBoth(self._ended)

    def _ended(self, outcome: Failure | None) -> None:
        self._pool.stop()
        if isinstance(outcome, Failure) and not outcome.check(CancelledError, DeferredTimeout):
            log.error("log.sender_failed", exc_info=(outcome.type, outcome.value, outcome.getTracebackObject()))

    async def _work(self) -> None:
        while not self._stopped:
            try:
                await self._send_all()
            except CancelledError:
                raise
            except SpoolError as error:
                self.outage.failed(str(error))
            except Exception as error:
                log.error("log.sender_failed", exc_info=error)
                self.outage.failed(f"{type(error).__name__}: {error}")
            else:
                continue
            self._spools.rewind()
            await self._rest(self._pauses[1])

    async def _send_all(self) -> None:
        self._has_news = False
        records = await self._in_thread(self._spools.read, _READ)
        await self._send(records)
        if not records and not self._stopped and not self._has_news:
            self._news = Deferred()
            await self._news

    async def _send(self, records: Sequence[Spooled]) -> None:
        for spooled in records:
            if self._stopped:
                return
            entry = _entry(spooled)
            if entry is None or await self._deliver(entry, spooled):
                await self._note(spooled)

    async def _deliver(self, entry: Entry, spooled: Spooled) -> bool:
        """Whether it is settled; False only if we stop before."""
        attempts = refusals = 0
        while not self._stopped:
            if await self._accepted(entry):
                return True
            attempts += 1
            refusals = refusals + 1 if attempts >= SUSPICIOUS and await self._api_is_well() else 0
            if refusals >= REFUSALS:
                await self._set_aside(spooled)
                return True
            first, longest = self._pauses
            await self._rest(min(first * 2 ** min(attempts - 1, 30), longest))
        return False

    async def _accepted(self, entry: Entry) -> bool:
        try:
            await self._store.add_log(_form(entry.topic), entry.body, _headers(entry), entry.timestamp)
        except DirectoryError as error:
            self.outage.failed(str(error))
            return False
        self.outage.over()
        return True

    async def _api_is_well(self) -> bool:
        """Not another entry to find out: that would then stand before this one in the log."""
        try:
            await self._store.cleanup_logs(self._max_age)
        except DirectoryError:
            return False
        return True

    async def _set_aside(self, spooled: Spooled) -> None:
        assert spooled.record is not None
        kept = False
        try:
            kept = await self._in_thread(self._spools.set_aside, spooled.record)
        except SpoolError as error:
            log.error("log.not_set_aside", error=str(error))
        log.error("log.entry_refused", error=self.outage.error, octets=len(spooled.record), kept=kept)

    async def _note(self, spooled: Spooled) -> None:
        try:
            await self._in_thread(self._spools.advance, spooled.end)
        except SpoolError as error:
            self.outage.failed(str(error))

    async def _rest(self, seconds: float) -> None:
        if self._stopped:
            return
        self._pause = deferLater(self._reactor, seconds)
        try:
            await self._pause
        except CancelledError:
            if not self._stopped:
                raise
        finally:
            self._pause = None

    def _in_thread(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)


def _entry(spooled: Spooled) -> Entry | None:
    try:
        return decode(spooled.record or b"")
    except ValueError as error:
        log.error("log.entry_damaged", segment=spooled.end.segment, offset=spooled.end.offset, error=str(error))
        return None


def _form(text: str) -> str:
    """As a form can carry it: half characters become question marks."""
    return text.encode("utf-8", "replace").decode()


def _headers(entry: Entry) -> list[tuple[str, str]]:
    return [(_form(name), _form(value)) for name, value in entry.headers]
