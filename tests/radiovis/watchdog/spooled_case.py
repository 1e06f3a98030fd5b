"""A log with its spool on a real disk, and a scripted API behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater

from radiovis.directory.interface import DirectoryError
from radiovis.watchdog.log import Entry, LogFull
from radiovis.watchdog.spooled_log import SpooledLog

TOPIC = "/topic/fm/4e1/4000/09580/text"
HEADERS = (("message-id", "3aa7"), ("when", "1000"))


def entry(number: int, serial: str = "", body: bytes | None = None) -> Entry:
    return Entry(TOPIC, b"TEXT %d" % number if body is None else body, HEADERS, 1000 + number, serial)


def serial(number: int) -> str:
    return f"fanout-{'a' * 32}-{number}"


def turn() -> Deferred[None]:
    """The reactor's next turn."""
    return deferLater(reactor, 0)  # type: ignore[arg-type]


def ready(log: SpooledLog) -> Deferred[None]:
    """Before it takes messages."""
    return Deferred.fromCoroutine(log.ready())


class ClockedReactor(Clock):
    """Timers by hand, threads for real."""

    callFromThread = staticmethod(reactor.callFromThread)  # type: ignore[attr-defined]


class ScriptedStore:
    """A log API that keeps everything in a list, or fails as told.

    :ivar down: what it fails with; empty while it is well.
    :ivar refused: a body it always refuses.
    :ivar connection_limit: while it is set, calls wait for it.
    """

    def __init__(self) -> None:
        self.logs: list[bytes] = []
        self.topics: list[tuple[str, Sequence[tuple[str, str]], int]] = []
        self.down = ""
        self.refused: bytes | None = None
        self.connection_limit: Deferred[None] | None = None
        self.attempts = 0
        self.cleanups: list[int] = []
        self._expected: list[tuple[int, Deferred[None]]] = []
        self._attempted: list[Deferred[None]] = []

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        self.attempts += 1
        attempted, self._attempted = self._attempted, []
        for each in attempted:
            reactor.callLater(0, each.callback, None)  # type: ignore[attr-defined]
        if self.connection_limit is not None:
            await self.connection_limit
        if self.down or body == self.refused:
            raise DirectoryError(self.down or "add_log at host: HTTP status 500")
        self.logs.append(body)
        self.topics.append((topic, headers, timestamp))
        for count, expected in list(self._expected):
            if len(self.logs) >= count:
                self._expected.remove((count, expected))
                expected.callback(None)

    async def cleanup_logs(self, max_age: int) -> None:
        if self.down:
            raise DirectoryError(self.down)
        self.cleanups.append(max_age)

    def when_logged(self, count: int) -> Deferred[None]:
        logged: Deferred[None] = Deferred()
        if len(self.logs) >= count:
            logged.callback(None)
        else:
            self._expected.append((count, logged))
        return logged

    def when_attempted(self) -> Deferred[None]:
        """Fires just after the next attempt."""
        attempted: Deferred[None] = Deferred()
        self._attempted.append(attempted)
        return attempted


class SpooledCase:
    """Mixed into the cases. Not a TestCase itself: it would run as an empty test."""

    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "spool"
        self.store = ScriptedStore()
        self.reactor: Any = ClockedReactor()
        self.reactor.advance(1_795_294_643)

    async def open(self, store: Any = None, **settings: Any) -> SpooledLog:
        log = SpooledLog(store or self.store, self.folder, self.reactor, max_age=86400, delay=0, **settings)
        log.start()
        self.addCleanup(log.stop)
        await log._opening  # type: ignore[misc]
        return log

    async def add(self, log: SpooledLog, *entries: Entry) -> None:
        added = [log.add(each) for each in entries]
        self.reactor.advance(0)
        await gatherResults(added, consumeErrors=True)

    async def refused(self, log: SpooledLog, one: Entry) -> str:
        added = log.add(one)
        self.reactor.advance(0)
        return str(await self.assertFailure(added, LogFull))
