"""Held messages of a node by itself lie in a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule.held_slides import Take

BUSY = 5.0
"""Seconds to wait for another process that looks into the file, such as a back-up."""
CANCELS = 100
"""Cancellations that are kept beyond the limit: they free room a moment later."""
_ID = 0x46414E48  # "FANH" in the file's header: no other program's database is taken for ours.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS held (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
    topic      TEXT NOT NULL,
    message_id TEXT NOT NULL,
    posted     INTEGER NOT NULL,                   -- Unix time, s
    headers    TEXT NOT NULL,                      -- JSON: a list of pairs
    body       BLOB NOT NULL
)
"""
_INSERT = "INSERT INTO held (topic, message_id, posted, headers, body) VALUES (?, ?, ?, ?, ?)"
_ALL = "SELECT number, topic, message_id, posted, headers, body FROM held ORDER BY number"

T = TypeVar("T")
log = structlog.get_logger(__name__)


class DiskSlideStore:
    """The slides that one process holds, on its own disk."""

    def __init__(self, reactor: Any, path: str, most: int) -> None:
        """
        :param path: the file; empty for one in memory, which ends with the process.
        :param most: messages it takes.
        """
        self._reactor = reactor
        self._rows = Rows(path)
        self._most = most
        self._count = self._adding = 0
        self._stopped = False
        self._take: Take | None = None
        self._pool = ThreadPool(0, 1, name="schedule")
        self._pool.start()

    def hold(self, message: Message) -> Deferred[None]:
        """Keep a message; it is on the disk then."""
        if self._stopped:
            return fail(BusError("the schedule is closed"))
        if self._count + self._adding >= self._most + (0 if message.body else CANCELS):
            return fail(BusError(f"{self._most} messages are held already (SCHEDULE_MAX)"))
        self._adding += 1
        return self._work(self._rows.add, message).addBoth(self._added).addCallback(self._held, message)

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """The first time: give what lies there. :raises BusError: the file cannot be read."""
        if self._take is not None:
            return
        rows = await self._work(self._rows.all)
        self._count = len(rows)
        self._take = take
        for number, message in rows:
            take(message, number)

    def done(self, ticket: int) -> None:
        """Drop it. One that stays, because the disk fails, is shown again after a restart."""
        self._count -= 1
        self._work(self._rows.drop, ticket).addErrback(_warn)

    async def stop(self) -> None:
        """Write what is waiting, and close the file. May be called twice."""
        self._take = None
        if self._stopped:
            return
        self._stopped = True
        await deferToThreadPool(self._reactor, self._pool, self._rows.close)
        self._pool.stop()

    def _added(self, outcome: Any) -> Any:
        self._adding -= 1
        return outcome

    def _held(self, number: int, message: Message) -> None:
        """What was added before the first reading is among what that brings."""
        if self._take is not None:
            self._count += 1
            self._take(message, number)

    def _work(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)


class Rows:
    """The file. Every call blocks, and raises :class:`BusError`; use it from one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path = path or ":memory:"
        self._db: sqlite3.Connection | None = None

    def add(self, message: Message) -> int:
        """Add a message; its number."""
        values = (message.topic, message.message_id, message.when, json.dumps(message.headers), message.body)
        with self._complaining() as db:
            number = db.execute(_INSERT, values).lastrowid
        assert number is not None
        return number

    def all(self) -> list[tuple[int, Message]]:
        """All of them, with their numbers, in order."""
        with self._complaining() as db:
            return [_message(*row) for row in db.execute(_ALL)]

    def drop(self, number: int) -> None:
        """Drop one."""
        with self._complaining() as db:
            db.execute("DELETE FROM held WHERE number = ?", (number,))

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _complaining(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db = self._db or self._open()
            yield self._db
        except (sqlite3.Error, ValueError) as error:
            raise BusError(f"the schedule {self._path} cannot be used: {error}; see SCHEDULE_FILE") from error

    def _open(self) -> sqlite3.Connection:
        # The thread of a pool of one may be replaced by another.
        db = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # A commit is on the disk: the publisher is told after it.
            _recognise(db)
            db.execute(f"PRAGMA application_id = {_ID}")  # Before the table: who is killed here finds his own.
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db


def _message(number: int, topic: str, message_id: str, posted: int, rest: str, body: bytes) -> tuple[int, Message]:
    headers = tuple((name, value) for name, value in json.loads(rest))
    return number, Message(topic, body, message_id, posted, headers)


def _recognise(db: sqlite3.Connection) -> None:
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and db.execute("PRAGMA application_id").fetchone()[0] != _ID:
        raise sqlite3.DatabaseError("it is another program's database")


def _warn(failure: Any) -> None:
    failure.trap(BusError)
    log.error("schedule.not_dropped", reason=failure.getErrorMessage())
