"""An append-only SQLite file of messages: what the journal's thread does. Every call here blocks."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

# One line of the journal.

ListenAddress = tuple[int, int]
"""Where a record stands in the journal's order: its timestamp and its number."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it was heard.

    :ivar topic: the topic, opaque here.
    :ivar body: octets.
    :ivar headers: names and values in their order.
    :ivar timestamp: Unix time in whole seconds at which it was heard.
    :ivar serial: different for different messages, the same in copies of one; empty if there is none.
    :ivar number: rises with the order of arrival; the journal gives it.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""
    number: int = 0

    @property
    def place(self) -> ListenAddress:
        """Where the next page goes on."""
        return self.timestamp, self.number


MAX_BYTES = 256 * 2**20
PAGE = 1000
"""Records of one answer."""
PAGE_OCTETS = 4 * 2**20
"""Octets of one answer: a thousand bodies of 1 MiB do not belong into memory at once."""
BUSY = 5.0
"""Seconds to wait for another process that writes to the same file, such as a back-up."""
DAMAGED_KEPT = 3
"""Damaged files left for somebody to look at; a dying disk must not fill itself with them."""
_ID = 0x46414E4A  # "FANJ" in the file's header: no other program's database is taken for a journal.
_VERSION = 1
_OVERHEAD = 250  # Octets a record takes besides its own, most of them for the indexes.
_ROOM_STEP = 100  # Records dropped at a time to make room.
_MEMORY = ":memory:"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)

# The time index ends in the topic, so that looking through it for a prefix needs no look at the records themselves.
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
CREATE UNIQUE INDEX IF NOT EXISTS records_by_serial ON records (serial) WHERE serial <> '';
"""
_INSERT = """
INSERT INTO records (topic, timestamp, serial, headers, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (serial) WHERE serial <> '' DO NOTHING
"""
_SELECT = """
SELECT topic, body, headers, timestamp, serial, number FROM records INDEXED BY {index}
WHERE {topic} AND (timestamp, number) > (?, ?) AND timestamp < ? ORDER BY timestamp, number LIMIT ?
"""
_EXACT = _SELECT.format(index="records_by_topic", topic="topic = ?1")
_PREFIX = _SELECT.format(index="records_by_time", topic="substr(topic, 1, length(?1)) = ?1")
_LAST = "SELECT max(timestamp) FROM records WHERE topic = ?"
_DROP_BEFORE = "DELETE FROM records WHERE number IN (SELECT number FROM records WHERE timestamp < ? LIMIT ?)"
_DROP_OLDEST = "DELETE FROM records WHERE number IN (SELECT number FROM records ORDER BY timestamp, number LIMIT ?)"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class JournalError(Exception):
    """The journal's file could not be read or written. The text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are asked for.

    :ivar topic: a topic, or how it begins; an empty prefix is every topic.
    :ivar start: Unix time in seconds of the earliest.
    :ivar end: Unix time in seconds before which the latest lies.
    :ivar prefix: whether ``topic`` is only a beginning.
    """

    topic: str
    start: int
    end: int
    prefix: bool = False


class Ledger:
    """The file. Opened by the first call, and anew by the next one after a failure; a damaged file is moved aside.

    Every method raises :class:`JournalError`. Use it from one thread at a time.
    """

    def __init__(
        self, path: str, clock: Callable[[], float], *, max_bytes: int = MAX_BYTES, read_only: bool = False
    ) -> None:
        """
        :param path: the file; empty for a journal in memory, which ends with the process.
        :param clock: Unix time in seconds, for the names of damaged files.
        :param max_bytes: beyond it the oldest records go. SQLite's write-ahead log beside it, some MiB, is not counted.
        :param read_only: for who only looks, perhaps while another process writes: the file is left as it is, damaged
            or not, and must be there.
        """
        self._path = path or _MEMORY
        self._read_only = read_only
        self._clock = clock
        self._max_bytes = max_bytes
        self._db: sqlite3.Connection | None = None

    def add(self, records: Sequence[Record]) -> None:
        """Append records, all or none; they are on the disk when this returns.

        A record whose serial is there already is left out.
        """
        with self._complaining("write"):
            try:
                self._add(records)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                self._add(records)

    def between(self, selection: Selection, limit: int = PAGE, after: ListenAddress | None = None) -> list[Record]:
        """Records in order of time, and of arrival within a second; at most about 4 MiB, so perhaps fewer than limit.

        :param after: the place of the last record of the page before; an empty answer is the end.
        """
        first = (selection.start, 0)
        place = max(after, first) if after else first
        arguments = (_text(selection.topic), *place, selection.end, limit)
        with self._complaining("read"):
            rows = self._connection().execute(_PREFIX if selection.prefix else _EXACT, arguments)
            return list(_page(rows, PAGE_OCTETS))

    def last_alive(self, topics: Iterable[str]) -> dict[str, int]:
        """Unix time in seconds of each topic's latest record; topics without one are left out."""
        with self._complaining("read"):
            db = self._connection()
            found = ((topic, db.execute(_LAST, (_text(topic),)).fetchone()[0]) for topic in topics)
            return {topic: timestamp for topic, timestamp in found if timestamp is not None}

    def drop(self, before: int, limit: int) -> int:
        """Drop records older than a Unix time in seconds, at most so many; gives how many went."""
        with self._complaining("write"):
            with self._transaction() as db:
                dropped = db.execute(_DROP_BEFORE, (before, limit)).rowcount
            self._give_back(db)
            return dropped

    def close(self) -> None:
        """Close the file, if it is open."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):  # What was committed is safe already; the next opening clears up.
                db.close()

    # Writing

    def _add(self, records: Sequence[Record]) -> None:
        rows = [_row(record) for record in records]
        with self._transaction() as db:
            self._make_room(db, sum(_OVERHEAD + len(row[3]) + len(row[4]) for row in rows))
            db.executemany(_INSERT, rows)

    def _make_room(self, db: sqlite3.Connection, octets: int) -> None:
        while self._used(db) + octets > self._max_bytes:
            if not db.execute(_DROP_OLDEST, (_ROOM_STEP,)).rowcount:
                return

    def _used(self, db: sqlite3.Connection) -> int:
        return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")

    def _give_back(self, db: sqlite3.Connection) -> None:
        """Free pages are used again; only a file above its limit, because that was lowered, gets smaller."""
        if _pragma(db, "page_count") * _pragma(db, "page_size") > self._max_bytes:
            db.executescript("PRAGMA incremental_vacuum(1000)")  # execute() would stop after the first page.

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    # The file

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                if self._read_only or not _is_damage(error):
                    raise
                self._set_aside(error)
                self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        # The thread of a pool of one may be replaced by another.
        name = f"{Path(self._path).absolute().as_uri()}?mode=ro" if self._read_only else self._path
        db = sqlite3.connect(name, timeout=BUSY, isolation_level=None, check_same_thread=False, uri=self._read_only)
        try:
            if self._read_only:
                self._recognise(db)
            else:
                self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # Takes effect in a new file only, before anything else.
        db.execute("PRAGMA journal_mode = WAL")  # Whoever reads does not hold up the writer.
        db.execute("PRAGMA synchronous = FULL")  # A commit is on the disk: the queue is acknowledged after it.
        db.execute("PRAGMA journal_size_limit = 4194304")
        if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            damage = sqlite3.DatabaseError(verdict)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
        self._recognise(db)
        db.execute(f"PRAGMA application_id = {_ID}")  # Before the tables: whoever is killed in between finds his own.
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA user_version = {_VERSION}")

    def _recognise(self, db: sqlite3.Connection) -> None:
        is_new = not self._read_only and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not is_new and _pragma(db, "application_id") != _ID:
            raise JournalError(f"{self._path} is another program's database: name another file for the journal")
        if _pragma(db, "user_version") > _VERSION:
            raise JournalError(f"{self._path} was written by a later version: use that, or name another file")

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Move the damaged file out of the way, with what SQLite keeps beside it."""
        self.close()
        aside = f"{self._path}.damaged-{int(self._clock())}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(self._path + suffix).rename(aside + suffix)
        log.error("journal.damaged", file=self._path, error=str(error), moved_to=aside)
        path = Path(self._path)
        damaged = {each.name.split("-wal")[0].split("-shm")[0] for each in path.parent.glob(path.name + ".damaged-*")}
        for name in sorted(damaged)[:-DAMAGED_KEPT]:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _complaining(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is_damage(error) and not self._read_only:
                self._set_aside(error)
            elif _code(error) not in _PASSING:
                self.close()  # Whatever happened to the file, the next call looks at it anew.
            raise JournalError(f"cannot {doing} {self._path}: {error}{_advice(error)}") from error
        except OSError as error:
            raise JournalError(f"cannot {doing} {self._path}: {error.strerror or error}") from error


def _is_damage(error: sqlite3.Error) -> bool:
    return _code(error) in _DAMAGED


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _advice(error: sqlite3.Error) -> str:
    advice = {
        sqlite3.SQLITE_BUSY: ": another process holds it",
        sqlite3.SQLITE_FULL: ": make room on that disk",
        sqlite3.SQLITE_CANTOPEN: ": its folder must exist and be writable for this user",
        sqlite3.SQLITE_READONLY: ": the file and its folder must be writable for this user",
    }
    return advice.get(_code(error), "")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _row(record: Record) -> tuple[str, int, str, str, bytes]:
    return _text(record.topic), record.timestamp, _text(record.serial), json.dumps(record.headers), record.body


def _text(text: str) -> str:
    """SQLite's text is UTF-8: a topic with half a character in it must not fail a whole batch."""
    return text.encode("utf-8", "backslashreplace").decode()


def _page(rows: Iterable[tuple[str, bytes, str, int, str, int]], octets: int) -> Iterator[Record]:
    for topic, body, headers, timestamp, serial, number in rows:
        pairs = tuple((name, value) for name, value in json.loads(headers))
        yield Record(topic, body, pairs, timestamp, serial, number)
        octets -= len(body) + len(headers)
        if octets <= 0:
            return


# Records as CSV (RFC 4180), for spreadsheets and scripts.
#
# The columns are ``time`` (UTC, ISO 8601), ``timestamp`` (Unix, s), ``topic``, ``body``, ``headers`` (JSON, a list of
# pairs) and ``serial``. Bodies are written octet by octet as they were: a reader that wants them all back opens the
# file as UTF-8 with ``errors="surrogateescape"`` and ``newline=""``.

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
