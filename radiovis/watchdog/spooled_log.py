"""The log behind PlugIt's API, with a spool on the disk before it: nothing is lost while the API is down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from fanout.journal.batches import DELAY, Batches, BatchesFull
from radiovis.directory.interface import DirectoryError, LogStore
from radiovis.watchdog.journal_log import Outage, RecentSerials, own_serial
from radiovis.watchdog.log import Entry, LogError, LogFull, LogState
from radiovis.watchdog.spool import MAX_BYTES, SEGMENT_BYTES, SpoolError
from radiovis.watchdog.spool_record import decode, encode
from radiovis.watchdog.spool_sender import FIRST_PAUSE, GRACE, LONGEST_PAUSE, SpoolSender
from radiovis.watchdog.spools import Spools

OPEN_AGAIN = 1.0
"""Seconds between attempts to open a spool, while the disk refuses."""
ADOPT_SECONDS = 10.0
"""Seconds between looks for what a process that ended has left behind; usually it is started again before."""

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SpooledLog:
    """A :class:`~radiovis.watchdog.log.Log` that writes each entry to the disk first and sends it to the API later.

    Everything is sent in order and once; :class:`~radiovis.watchdog.spool_sender.SpoolSender` names the exception.
    What another process left in the folder is sent first. Several processes may share a folder.
    """

    def __init__(
        self,
        store: LogStore,
        folder: Path,
        reactor: Any,
        *,
        max_age: int,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        delay: float = DELAY,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        grace: float = GRACE,
    ) -> None:
        """
        :param folder: of the spools; each process has one of its own there.
        :param max_age: seconds entries are kept in the log.
        :param max_bytes: of our spool; when it is full, nothing is taken.
        :param segment_bytes: of one of its files.
        :param delay: seconds the first entry waits for others to share its fsync with.
        :param first_pause: seconds before the API is tried again; doubled for each further attempt.
        :param longest_pause: seconds at most.
        :param grace: seconds a call of the API may still take when the log stops.
        """
        self._store = store
        self._reactor = reactor
        self._spools = Spools(folder, max_bytes=max_bytes, segment_bytes=segment_bytes)
        self._sender = SpoolSender(
            store,
            self._spools,
            reactor,
            max_age=max_age,
            first_pause=first_pause,
            longest_pause=longest_pause,
            grace=grace,
        )
        self._batches: Batches[bytes] = Batches(reactor, self._append, len, delay=delay)
        self._outage = Outage("spool", time.time)
        self._serials = RecentSerials()
        self._writing: dict[str, list[Deferred[None]]] = {}
        self._pool = ThreadPool(0, 1, name="spool")
        self._adopting = LoopingCall(self._adopt)
        self._adopting.clock = reactor
        self._opening: Deferred[None] | None = None
        self._is_open = False

    def start(self) -> None:
        """Open a spool, as soon as the disk lets us, and begin to send. Until then nothing is taken."""
        self._pool.start()
        self._opening = Deferred.fromCoroutine(self._open()).addErrback(_not_opened)

    async def _open(self) -> None:
        while not self._is_open:
            try:
                self._remember(await self._in_thread(self._take_spool))
            except SpoolError as error:
                self._outage.failed(str(error))
                await deferLater(self._reactor, OPEN_AGAIN)
            else:
                await self._adopt()
                self._is_open = True
        self._outage.over()
        self._sender.start()
        self._adopting.start(ADOPT_SECONDS, now=False)

    def _take_spool(self) -> list[bytes]:
        self._spools.open()
        try:
            return self._spools.recent()
        except SpoolError:
            self._spools.close()
            raise

    async def ready(self) -> None:
        """To be awaited before a leader takes messages: those of the leader before, if it has ended, come first.

        :raises LogFull: the spool is not open yet.
        """
        if not self._is_open:
            raise self._not_open()
        await self._adopt()

    def _adopt(self) -> Deferred[None]:
        """Our own work goes on, whatever is wrong with theirs."""
        return self._in_thread(self._spools.adopt).addCallbacks(self._remember, _not_adopted)

    def _remember(self, records: Iterable[bytes]) -> None:
        for record in records:
            with suppress(ValueError):  # The sender tells of it.
                self._serials.add(decode(record).serial)
        self._sender.wake()

    def add(self, entry: Entry) -> Deferred[None]:
        """Keep an entry; fires when it is in the spool on the disk. A second copy is not kept twice."""
        if not self._is_open:
            return fail(self._not_open())
        serial = own_serial(entry.serial)
        if serial in self._serials:
            return succeed(None)
        if serial in self._writing:
            copy: Deferred[None] = Deferred()
            self._writing[serial].append(copy)  # It is as safe as the first one will be.
            return copy
        if serial:
            self._writing[serial] = []
        return self._batches.add(encode(entry)).addBoth(self._written, serial)

    def _not_open(self) -> LogFull:
        return LogFull(self._outage.error or "the spool is not open yet")

    def _append(self, records: list[bytes]) -> Deferred[None]:
        return self._in_thread(self._spools.append, records)

    def _in_thread(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    def _written(self, outcome: Failure | None, serial: str) -> Failure | None:
        answer = None
        if isinstance(outcome, Failure):
            answer = self._failed(outcome)
        else:
            self._kept(serial)
        for copy in self._writing.pop(serial, ()):
            copy.callback(answer)
        return answer

    def _kept(self, serial: str) -> None:
        self._serials.add(serial)
        self._outage.over()
        self._sender.wake()

    def _failed(self, failure: Failure) -> Failure:
        if not failure.check(SpoolError, BatchesFull):
            return failure
        self._outage.failed(str(failure.value))
        return Failure(LogFull(str(failure.value)))

    def cleanup(self, max_age: int) -> Deferred[int]:
        """Ask the API to drop entries older than this many seconds; it does not tell how many went."""
        return Deferred.fromCoroutine(self._clean(max_age))

    async def _clean(self, max_age: int) -> int:
        try:
            await self._store.cleanup_logs(max_age)
        except DirectoryError as error:
            raise LogError(str(error)) from error
        return 0

    def state(self) -> LogState:
        """How many entries the API does not have yet. Trouble with the disk counts more than trouble with the API."""
        outage = self._outage if self._outage.error else self._sender.outage
        return LogState(self._spools.waiting + len(self._batches), outage.error, outage.since)

    def stop(self) -> Deferred[None]:
        """Write what was added, let a call of the API end, and close. What was not sent waits for the next start."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._opening is None:
            return
        if self._adopting.running:
            self._adopting.stop()
        if not self._is_open:
            self._opening.cancel()
        await self._batches.stop()
        if self._is_open:
            await self._sender.stop()
        self._opening, self._is_open = None, False
        await self._in_thread(self._spools.close)
        self._pool.stop()


def _not_adopted(failure: Failure) -> Failure | None:
    if failure.check(CancelledError):
        return failure
    log.error("log.not_adopted", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
    return None


def _not_opened(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.error("log.not_opened", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
