"""The records of the journal: an append-only table in a SQLite file, queries by topic and time, and CSV.

Every call of :class:`Ledger` blocks. :class:`~fanout.journal.journal.Journal` makes the calls for the reactor.

:func:`csv_rows` writes records as CSV (RFC 4180), for spreadsheets and scripts. The columns are ``time`` (UTC, ISO
8601), ``timestamp`` (Unix, s), ``topic``, ``body``, ``headers`` (JSON, a list of pairs) and ``serial``. The octets of a
body are written unchanged: to get them back, open the file as UTF-8 with ``errors="surrogateescape"`` and
``newline=""``.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fanout.journal.sqlite import Layout, SqliteFile, checksum, pragma
from fanout.journal.sqlite_pages import Value

Place = tuple[int, int]
"""Where a record stands in the order of the journal: its timestamp and its number."""


@dataclass(frozen=True, slots=True)
class Record:
    """A published message.

    :ivar topic: the topic, opaque here.
    :ivar body: octets.
    :ivar headers: names and values in their order.
    :ivar timestamp: Unix time in whole seconds at which the message came.
    :ivar serial: different for different messages, the same in copies of one; empty if there is none.
    :ivar number: rises with the order of arrival; the journal sets it.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""
    number: int = 0

    @property
    def place(self) -> Place:
        """Where the next page goes on."""
        return self.timestamp, self.number


MAX_BYTES = 256 * 2**20
PAGE = 1000
"""Records of one answer."""
PAGE_OCTETS = 4 * 2**20
"""Octets of one answer: a thousand bodies of 1 MiB would take too much memory."""
_ID = 0x46414E4A  # "FANJ"
_OVERHEAD = 250  # Octets a record takes besides its own, most of them for the indexes.
_ROOM_STEP = 100  # Records dropped at a time to make room.

# The time index ends in the topic, so that a search by prefix reads the index only, and not the records.
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number    INTEGER PRIMARY KEY,  -- order of arrival
    topic     TEXT NOT NULL,
    timestamp INTEGER NOT NULL,     -- Unix time, s
    serial    TEXT NOT NULL,        -- '' = none
    headers   TEXT NOT NULL,        -- JSON: a list of pairs
    body      BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_topic ON records (topic, timestamp, number);
CREATE INDEX IF NOT EXISTS records_by_time ON records (timestamp, number, topic);
CREATE UNIQUE INDEX IF NOT EXISTS records_by_serial ON records (serial) WHERE serial <> ''
"""
_CHECKSUMS = "ALTER TABLE records ADD COLUMN checksum INTEGER"  # Of records from version 2 on; others have none.
_COLUMNS = ("number", "topic", "timestamp", "serial", "headers", "body", "checksum")
_INSERT = """
INSERT INTO records (number, topic, timestamp, serial, headers, body, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (serial) WHERE serial <> '' DO NOTHING
"""
_EVENTS = ("journal.damaged", "journal.migrated", "journal.check_unfinished")
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM records"
_SELECT = """
SELECT topic, body, headers, timestamp, serial, number FROM records INDEXED BY {index}
WHERE {topic} AND (timestamp, number) > (?, ?) AND timestamp < ? ORDER BY timestamp, number LIMIT ?
"""
_EXACT = _SELECT.format(index="records_by_topic", topic="topic = ?1")
_PREFIX = _SELECT.format(index="records_by_time", topic="substr(topic, 1, length(?1)) = ?1")
_LAST = "SELECT max(timestamp) FROM records WHERE topic = ?"
# The order of arrival counts: a clock may be set back. The index has topics and numbers, so no record is read.
_LATEST = "SELECT max(number) FROM records INDEXED BY records_by_topic GROUP BY topic ORDER BY 1 DESC LIMIT ?"
_BY_NUMBER = f"SELECT {', '.join(_COLUMNS)} FROM records WHERE number = ?"  # noqa: S608  (our own names)
_DROP_BEFORE = "DELETE FROM records WHERE number IN (SELECT number FROM records WHERE timestamp < ? LIMIT ?)"
_DROP_OLDEST = "DELETE FROM records WHERE number IN (SELECT number FROM records ORDER BY timestamp, number LIMIT ?)"


class JournalError(Exception):
    """The journal's file could not be read or written. The text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are asked for.

    :ivar topic: a topic, or how it begins; an empty prefix is every topic.
    :ivar start: Unix time in seconds of the earliest record.
    :ivar end: Unix time in seconds; records at this time and later are left out.
    :ivar prefix: whether ``topic`` is only a beginning.
    """

    topic: str
    start: int
    end: int
    prefix: bool = False


class Ledger:
    """The file of records. Every method raises :class:`JournalError`. Use it from one thread at a time.

    A damaged file is moved aside, and a new one has every record that could be read.

    :ivar max_bytes: may be changed while it runs.
    """

    def __init__(
        self, path: str, clock: Callable[[], float], *, max_bytes: int = MAX_BYTES, read_only: bool = False
    ) -> None:
        """
        :param path: the file; empty for a journal in memory, which ends with the process.
        :param clock: Unix time in seconds, for the names of damaged files.
        :param max_bytes: beyond it the oldest records are dropped. SQLite's write-ahead log is not counted.
        :param read_only: the file is not changed, even if it is damaged, and must exist. Another process may write it.
        """
        layout = Layout(_ID, (SCHEMA, _CHECKSUMS), *_EVENTS, "records", _COLUMNS, _is_row)
        self._file = SqliteFile(path, layout, self._error, unix_time=clock, read_only=read_only)
        self.max_bytes = max_bytes

    def add(self, records: Sequence[Record]) -> None:
        """Append records, all or none; they are on the disk when this returns.

        A record whose serial is there already is left out.
        """
        rows = [_row(record) for record in records]
        octets = sum(_OVERHEAD + len(row[3]) + len(row[4]) for row in rows)

        def insert(db: sqlite3.Connection) -> None:
            last = db.execute(_LAST_NUMBER).fetchone()[0]
            self._make_room(db, octets)
            numbered = ((number, *row) for number, row in enumerate(rows, last + 1))
            db.executemany(_INSERT, ((*row, checksum(row)) for row in numbered))

        self._file.write(insert)

    def between(self, selection: Selection, limit: int = PAGE, after: Place | None = None) -> list[Record]:
        """Records in order of time, and of arrival within a second.

        :param limit: how many at most; fewer if they take more than :data:`PAGE_OCTETS`.
        :param after: the place of the last record of the page before. An empty page is the end.
        """
        first = (selection.start, 0)
        place = max(after, first) if after else first
        arguments = (_text(selection.topic), *place, selection.end, limit)
        query = _PREFIX if selection.prefix else _EXACT
        return self._file.run(lambda db: list(_page(db.execute(query, arguments), PAGE_OCTETS)))

    def latest(self, limit: int, octets: int) -> list[Record]:
        """The last record of each topic, in order of arrival. The file need not be checked before, which takes a while.

        :param limit: how many at most, those of the topics that were heard last.
        :param octets: of bodies and headers, the same.
        """

        def ask(db: sqlite3.Connection) -> list[Record]:
            numbers = db.execute(_LATEST, (limit,)).fetchall()
            rows = (row for number in numbers for row in db.execute(_BY_NUMBER, number))
            return list(_page(map(self._whole, rows), octets))[::-1]

        return self._file.read_at_once(ask)

    def _whole(self, row: tuple[Any, ...]) -> tuple[str, bytes, str, int, str, int]:
        self._file.require_whole(row)
        number, topic, timestamp, serial, headers, body, _ = row
        return topic, body, headers, timestamp, serial, number

    def last_alive(self, topics: Iterable[str]) -> dict[str, int]:
        """Unix time in seconds of each topic's latest record; topics without one are left out."""

        def ask(db: sqlite3.Connection) -> dict[str, int]:
            found = ((topic, db.execute(_LAST, (_text(topic),)).fetchone()[0]) for topic in topics)
            return {topic: timestamp for topic, timestamp in found if timestamp is not None}

        return self._file.run(ask)

    def drop(self, before: int, limit: int) -> int:
        """Drop records older than a Unix time in seconds, at most ``limit``; gives how many."""
        dropped = self._file.write(lambda db: db.execute(_DROP_BEFORE, (before, limit)).rowcount)
        self._file.run(self._give_back, "write")
        return dropped

    def close(self) -> None:
        """Close the file, if it is open."""
        self._file.close()

    def _make_room(self, db: sqlite3.Connection, octets: int) -> None:
        while self._used(db) + octets > self.max_bytes:
            if not db.execute(_DROP_OLDEST, (_ROOM_STEP,)).rowcount:
                return

    def _used(self, db: sqlite3.Connection) -> int:
        return (pragma(db, "page_count") - pragma(db, "freelist_count")) * pragma(db, "page_size")

    def _give_back(self, db: sqlite3.Connection) -> None:
        """Make the file smaller if it is above its limit, which was lowered. Otherwise free pages are used again."""
        if pragma(db, "page_count") * pragma(db, "page_size") > self.max_bytes:
            db.executescript("PRAGMA incremental_vacuum(1000)")  # execute() would stop after the first page.

    def _error(self, doing: str, reason: str) -> JournalError:
        return JournalError(f"cannot {doing} {self._file.path}: {reason}")


def _row(record: Record) -> tuple[str, int, str, str, bytes]:
    return _text(record.topic), record.timestamp, _text(record.serial), json.dumps(record.headers), record.body


def _is_row(row: Sequence[Value]) -> bool:
    kinds = (int, str, int, str, str, bytes)
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)) and is_pairs(row[4])


def is_pairs(text: Value) -> bool:
    """Whether a text is the JSON of a list of names and values."""
    try:
        pairs = json.loads(str(text))
        return all(isinstance(name, str) and isinstance(value, str) for name, value in pairs)
    except (ValueError, TypeError, RecursionError):
        return False


def _text(text: str) -> str:
    """Text that SQLite takes, which is UTF-8: a topic with an invalid character must not fail a whole batch."""
    return text.encode("utf-8", "backslashreplace").decode()


def _page(rows: Iterable[tuple[str, bytes, str, int, str, int]], octets: int) -> Iterator[Record]:
    for topic, body, headers, timestamp, serial, number in rows:
        pairs = tuple((name, value) for name, value in json.loads(headers))
        yield Record(topic, body, pairs, timestamp, serial, number)
        octets -= len(body) + len(headers)
        if octets <= 0:
            return


COLUMNS = ("time", "timestamp", "topic", "body", "headers", "serial")
HEADER = (",".join(COLUMNS) + "\r\n").encode()


def csv_rows(records: Iterable[Record]) -> bytes:
    """The rows, without the header."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(_csv_row(record) for record in records)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _csv_row(record: Record) -> tuple[str, int, str, str, str, str]:
    time = datetime.fromtimestamp(record.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = record.body.decode("utf-8", "surrogateescape")
    return time, record.timestamp, record.topic, body, json.dumps(record.headers), record.serial
