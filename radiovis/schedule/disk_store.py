"""Held messages of a node without a broker, in a SQLite file (``SCHEDULE_FILE``).

Messages that arrive within a few milliseconds share one transaction, and therefore one fsync. A damaged file is
replaced by one with every message that could be read (:mod:`fanout.journal.sqlite`).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from fanout.journal.records import is_pairs
from fanout.journal.sqlite import Batches, BatchesFull, FileThread, Layout, SqliteFile, checksum
from fanout.journal.sqlite_pages import Value
from fanout.process.logs import Throttle
from radiovis.schedule.held_slides import MOST_HELD, Take
from radiovis.settings import SlideSettings

CANCELS = 100
"""How many cancellations are accepted beyond the limit: they free room a moment later."""
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
_CHECKSUMS = "ALTER TABLE held ADD COLUMN checksum INTEGER"  # Messages before version 2 have none.
_COLUMNS = ("number", "topic", "message_id", "posted", "headers", "body", "checksum")
_INSERT = f"INSERT INTO held ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  (our own names)
# The number of a dropped message is not used again, so that a ticket always means the same message.
_LAST_NUMBER = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'held'"
_ALL = "SELECT number, topic, message_id, posted, headers, body FROM held ORDER BY number"

log = structlog.get_logger(__name__)


def _is_row(row: Sequence[Value]) -> bool:
    kinds = (int, str, str, int, str, bytes)
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)) and is_pairs(row[4])


_LAYOUT = Layout(
    application_id=0x46414E48,  # "FANH"
    scripts=(_SCHEMA, _CHECKSUMS),
    damaged="schedule.damaged",
    migrated="schedule.migrated",
    check_unfinished="schedule.check_unfinished",
    table="held",
    columns=_COLUMNS,
    is_row=_is_row,
)


class DiskSlideStore:
    """The messages that one process holds, a :class:`~radiovis.schedule.held_slides.LocalSlideStore`."""

    def __init__(self, reactor: Any, settings: SlideSettings, *, most: int = MOST_HELD) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: ``SCHEDULE_FILE``, empty for a file in memory.
        :param most: how many messages may be held at a time.
        """
        self._most = most
        self._rows = Rows(settings.SCHEDULE_FILE)
        self._thread = FileThread(reactor, "schedule")
        self._batches: Batches[Adding] = Batches(reactor, self._write, _size)
        self._count = self._adding = 0
        self._stopped = False
        self._throttle = Throttle(reactor.seconds)
        self._take: Take | None = None

    def hold(self, message: Message) -> Deferred[None]:
        """Hold a message. The Deferred fires when it is on the disk."""
        if self._stopped:
            return fail(BusError("the schedule is closed"))
        if self._count + self._adding >= self._most + (0 if message.body else CANCELS):
            return fail(BusError(f"{self._most} messages are held already, which is the limit"))
        try:
            (message.topic + message.message_id).encode()
        except UnicodeEncodeError as error:  # Checked here, because it would fail the whole batch.
            return fail(BusError(f"the schedule cannot store it: {error}"))
        self._adding += 1
        adding = Adding(message)
        return self._batches.add(adding).addBoth(self._added).addCallbacks(lambda _: self._held(adding), _refused)

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Pass all messages of the file to ``take``, on the first call.

        :raises BusError: the file cannot be read.
        """
        if self._take is not None:
            return
        rows = await self._thread.call(self._rows.all)
        self._count = len(rows)
        self._take = take
        for number, message in rows:
            take(message, number)

    def done(self, ticket: int) -> None:
        """Drop a message. If the disk fails, the message stays, and is sent again after a restart."""
        self._count -= 1
        self._thread.call(self._rows.drop, ticket).addErrback(self._not_dropped)

    def _not_dropped(self, failure: Failure) -> None:
        failure.trap(BusError)
        reason = failure.getErrorMessage()
        if self._throttle.allow(reason):
            log.error("schedule.not_dropped", reason=reason, held_back=self._throttle.held_back(reason))

    async def stop(self) -> None:
        """Write the waiting messages, and close the file. It may be called twice."""
        self._take = None
        if self._stopped:
            return
        self._stopped = True
        await self._batches.stop()
        await self._thread.stop(self._rows.close)

    def _write(self, adding: list[Adding]) -> Deferred[None]:
        return self._thread.call(self._rows.add, adding)

    def _added(self, outcome: Any) -> Any:
        self._adding -= 1
        return outcome

    def _held(self, adding: Adding) -> None:
        """Pass a new message on, unless it was added before the first reading, which includes it."""
        if self._take is not None:
            self._count += 1
            self._take(adding.message, adding.number)


class Adding:
    """A message on its way to the disk.

    :ivar number: set when the message is on the disk.
    """

    __slots__ = ("message", "number")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.number = 0


class Rows:
    """The table. Every call blocks, and raises :class:`BusError`; use it from one thread at a time."""

    def __init__(self, path: str) -> None:
        """:param path: the file; empty for one in memory, which ends with the process."""
        self._file = SqliteFile(path, _LAYOUT, self._error, unix_time=time.time)

    def add(self, adding: Sequence[Adding]) -> None:
        """Add messages, all or none, and set their numbers."""

        def insert(db: sqlite3.Connection) -> list[int]:
            last = db.execute(_LAST_NUMBER).fetchone()[0]
            rows = [(number, *_row(each.message)) for number, each in enumerate(adding, last + 1)]
            db.executemany(_INSERT, ((*row, checksum(row)) for row in rows))
            return [row[0] for row in rows]

        for each, number in zip(adding, self._file.write(insert), strict=True):
            each.number = number

    def all(self) -> list[tuple[int, Message]]:
        """All messages with their numbers, in order."""
        try:
            return self._file.run(lambda db: [_message(*row) for row in db.execute(_ALL)])
        except ValueError as error:
            raise self._error("read", str(error)) from error

    def drop(self, number: int) -> None:
        """Drop a message."""
        self._file.write(lambda db: db.execute("DELETE FROM held WHERE number = ?", (number,)))

    def close(self) -> None:
        """Close the file, if it is open."""
        self._file.close()

    def _error(self, _doing: str, reason: str) -> BusError:
        return BusError(f"the schedule {self._file.path} cannot be used: {reason}; see SCHEDULE_FILE")


def _size(adding: Adding) -> int:
    return len(adding.message.body) + sum(len(name) + len(value) for name, value in adding.message.headers)


def _row(message: Message) -> tuple[str, str, int, str, bytes]:
    return message.topic, message.message_id, message.when, json.dumps(message.headers), message.body


def _message(number: int, topic: str, message_id: str, posted: int, rest: str, body: bytes) -> tuple[int, Message]:
    headers = tuple((name, value) for name, value in json.loads(rest))
    return number, Message(topic, body, message_id, posted, headers)


def _refused(failure: Failure) -> Failure:
    if failure.check(BatchesFull):
        raise BusError(f"the schedule does not accept it: {failure.value}")
    return failure
