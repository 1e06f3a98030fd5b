"""The records of the journal: an append-only table in a SQLite file, queries by topic, publisher and time, and CSV.

Every call of :class:`Ledger` blocks. :class:`~fanout.journal.journal.Journal` makes the calls for the reactor.

**Shares.** When the file has reached its size limit, the owner with the most octets loses its oldest records. The table
``shares`` contains the octets of each owner; triggers keep it correct whenever the records change.

:func:`csv_rows` writes records as CSV (RFC 4180), for spreadsheets and scripts. The columns are ``time`` (UTC, ISO
8601), ``timestamp`` (Unix, s), ``topic``, ``body``, ``headers`` (JSON, a list of pairs), ``serial``, and those of the
publisher: ``owner``, ``login``, ``address``, ``interface``. The octets of a body are written unchanged: to get them
back, open the file as UTF-8 with ``errors="surrogateescape"`` and ``newline=""``.
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

from fanout.hub.message import Origin
from fanout.journal.sqlite import Layout, SqliteFile, checksum, pragma
from fanout.journal.sqlite_pages import Value

Place = tuple[int, int]
"""The position of a record in the journal: its timestamp and its number."""


@dataclass(frozen=True, slots=True)
class Record:
    """A published message.

    :ivar topic: the topic, which the journal does not interpret.
    :ivar body: octets.
    :ivar headers: names and values in their order.
    :ivar timestamp: Unix time in whole seconds at which the message arrived.
    :ivar serial: different for different messages, the same in copies of one; empty if there is none.
    :ivar number: rises with the order of arrival; the journal sets it.
    :ivar origin: its publisher; None if it is not known.
    """

    topic: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int
    serial: str = ""
    number: int = 0
    origin: Origin | None = None

    @property
    def owner(self) -> str:
        """The account to which the record is charged. Without a known publisher each topic is an account of its own."""
        return self.topic if self.origin is None else self.origin.owner

    @property
    def place(self) -> Place:
        """The position after which the next page continues."""
        return self.timestamp, self.number


MAX_BYTES = 256 * 2**20
PAGE = 1000
"""How many records one answer has at most."""
PAGE_OCTETS = 4 * 2**20
"""How many octets one answer has at most: a thousand bodies of 1 MiB would take too much memory."""
_ID = 0x46414E4A  # "FANJ"
_OVERHEAD = 250  # Octets that a record takes besides its own, mostly for the indexes.
_ROOM_STEP = 100  # Records dropped at a time to make room,
_ROOM_OCTETS = 2**20  # and octets of them, so that an owner loses little more than needed.

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
_CHECKSUMS = "ALTER TABLE records ADD COLUMN checksum INTEGER"  # Records before version 2 have none.
_ORIGINS = f"""
ALTER TABLE records ADD COLUMN owner TEXT NOT NULL DEFAULT '';      -- '' = written before version 3
ALTER TABLE records ADD COLUMN login TEXT NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN address TEXT NOT NULL DEFAULT '';    -- '' = unknown, or dropped
ALTER TABLE records ADD COLUMN interface TEXT NOT NULL DEFAULT '';
CREATE INDEX records_by_owner ON records (owner, timestamp, number);
CREATE TABLE shares (owner TEXT PRIMARY KEY, octets INTEGER NOT NULL, records INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO shares
    SELECT owner, sum({_OVERHEAD} + length(headers) + length(body)), count(*) FROM records GROUP BY owner;
CREATE TRIGGER share_grows AFTER INSERT ON records BEGIN
    INSERT OR IGNORE INTO shares VALUES (new.owner, 0, 0);
    UPDATE shares SET octets = octets + {_OVERHEAD} + length(new.headers) + length(new.body), records = records + 1
        WHERE owner = new.owner;
END;
CREATE TRIGGER share_shrinks AFTER DELETE ON records BEGIN
    UPDATE shares SET octets = octets - {_OVERHEAD} - length(old.headers) - length(old.body), records = records - 1
        WHERE owner = old.owner;
    DELETE FROM shares WHERE owner = old.owner AND records <= 0;
END;
"""  # noqa: S608  (our own numbers)
_WITH_ORIGINS = 3  # version
_ORIGIN_COLUMNS = ("owner", "login", "address", "interface")
_COLUMNS = ("number", "topic", "timestamp", "serial", "headers", "body", "checksum", *_ORIGIN_COLUMNS)
_INSERT = f"""
INSERT INTO records ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (serial) WHERE serial <> '' DO NOTHING
"""  # noqa: S608  (our own names)
_EVENTS = ("journal.damaged", "journal.migrated", "journal.check_unfinished")
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM records"
_FOUND = "topic, body, headers, timestamp, serial, number"
_SELECT = """
SELECT {columns} FROM records INDEXED BY {index}
WHERE {conditions} AND (timestamp, number) > (:timestamp, :number) AND timestamp < :end
{order}
"""
_OLDEST_FIRST = "ORDER BY timestamp, number LIMIT :limit"
_BEFORE_THE_LAST = "ORDER BY timestamp DESC, number DESC LIMIT 1 OFFSET :limit"
_LAST = "SELECT max(timestamp) FROM records WHERE topic = ?"
# The order of arrival counts, because a clock may be set back. The index contains topics and numbers, so no record is
# read.
_LATEST = "SELECT max(number) FROM records INDEXED BY records_by_topic GROUP BY topic ORDER BY 1 DESC LIMIT ?"
_BY_NUMBER = f"SELECT {', '.join(_COLUMNS)} FROM records WHERE number = ?"  # noqa: S608  (our own names)
_DROP_BEFORE = "DELETE FROM records WHERE number IN (SELECT number FROM records WHERE timestamp < ? LIMIT ?)"
_HEAVIEST = "SELECT owner, octets, records FROM shares ORDER BY octets DESC LIMIT 1"
_DROP_OLDEST = """
DELETE FROM records WHERE number IN
    (SELECT number FROM records INDEXED BY records_by_owner WHERE owner = ? ORDER BY timestamp, number LIMIT ?)
"""
_WITH_ADDRESS = "SELECT timestamp, number FROM records WHERE (timestamp, number) > (?, ?) AND timestamp < ? "
_WITH_ADDRESS += "ORDER BY timestamp, number LIMIT ?"
_DROP_ADDRESS = f"""
UPDATE records SET address = '', checksum = checksum_of({", ".join(_COLUMNS).replace("address", "''")})
WHERE number = ? AND address <> ''
"""  # noqa: S608  (our own names)


class JournalError(Exception):
    """The journal's file could not be read or written. The text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects records.

    :ivar topic: a topic, or the beginning of one; an empty prefix means every topic.
    :ivar start: Unix time in seconds of the earliest record.
    :ivar end: Unix time in seconds; records at this time and later are left out.
    :ivar prefix: whether ``topic`` is only the beginning of a topic.
    :ivar owner: owner of the records; None for every owner. Records from before version 3 have none.
    :ivar login: login of the publisher; None for every login.
    """

    topic: str
    start: int
    end: int
    prefix: bool = False
    owner: str | None = None
    login: str | None = None

    def arguments(self, after: Place | None, limit: int) -> dict[str, object]:
        """The values of the query's parameters."""
        first = (self.start, 0)
        timestamp, number = max(after, first) if after else first
        names = {"topic": _text(self.topic), "owner": self.owner, "login": self.login}
        return {**names, "timestamp": timestamp, "number": number, "end": self.end, "limit": limit}

    def query(self, columns: str, order: str = _OLDEST_FIRST) -> str:
        """The SQL query for the given columns of the records, in this order."""
        conditions = ["substr(topic, 1, length(:topic)) = :topic" if self.prefix else "topic = :topic"]
        conditions += [f"{name} = :{name}" for name in ("owner", "login") if getattr(self, name) is not None]
        index = "records_by_time" if self.prefix else "records_by_topic"
        index = index if self.owner is None else "records_by_owner"
        return _SELECT.format(columns=columns, index=index, conditions=" AND ".join(conditions), order=order)


class Ledger:
    """The file of records. Every method raises :class:`JournalError`. Use it from one thread at a time.

    A damaged file is renamed, and a new file gets every record that could be read.

    :ivar max_bytes: the size limit in octets; it may be changed at any time.
    :ivar displaced: how many records were dropped since the start because the file had reached its size limit.
    """

    def __init__(
        self, path: str, clock: Callable[[], float] | None, *, max_bytes: int = MAX_BYTES, read_only: bool = False
    ) -> None:
        """
        :param path: the file; empty for a journal in memory, which ends with the process.
        :param clock: Unix time in seconds, for the names of damaged files. Without it, a damaged file is not touched
            and every call fails; use this in a process that does not own the file.
        :param max_bytes: the size limit in octets. Above it the owner with the most octets loses its oldest records.
            SQLite's write-ahead log is not counted.
        :param read_only: whether the file must exist and is never changed, even if it is damaged. Another process may
            write it.
        """
        layout = Layout(_ID, (SCHEMA, _CHECKSUMS, _ORIGINS), *_EVENTS, "records", _COLUMNS, _is_row)
        self._file = SqliteFile(path, layout, self._error, unix_time=clock, read_only=read_only)
        self.max_bytes = max_bytes
        self.displaced = 0

    def add(self, records: Sequence[Record]) -> None:
        """Append records, all or none. They are on the disk when this returns.

        A record whose serial is already stored is left out.
        """
        rows = [(_row(record), _origin_row(record)) for record in records]
        octets = sum(_OVERHEAD + len(row[3]) + len(row[4]) for row, _ in rows)

        def insert(db: sqlite3.Connection) -> None:
            last = db.execute(_LAST_NUMBER).fetchone()[0]
            self._make_room(db, octets)
            numbered = (((number, *row), origin) for number, (row, origin) in enumerate(rows, last + 1))
            db.executemany(_INSERT, ((*row, checksum(row, origin), *origin) for row, origin in numbered))

        self._file.write(insert)

    def between(self, selection: Selection, limit: int = PAGE, after: Place | None = None) -> list[Record]:
        """Records in the order of time, and of arrival within a second.

        :param selection: which records.
        :param limit: how many at most; fewer if they take more than :data:`PAGE_OCTETS`.
        :param after: the position of the last record of the previous page. An empty page is the end.
        """
        arguments = selection.arguments(after, limit)

        def ask(db: sqlite3.Connection) -> list[Record]:
            if pragma(db, "user_version") >= _WITH_ORIGINS:
                query = selection.query(f"{_FOUND}, {', '.join(_ORIGIN_COLUMNS)}")
            elif selection.owner is None and selection.login is None:
                query = selection.query(f"{_FOUND}, '', '', '', ''")  # A file that is only read is not migrated.
            else:
                return []
            return list(_page(db.execute(query, arguments), PAGE_OCTETS))

        return self._file.run(ask)

    def place_before_last(self, selection: Selection, count: int) -> Place | None:
        """Where :meth:`between` has to begin to give the last ``count`` records; None if there are no more of them."""
        query = selection.query("timestamp, number", _BEFORE_THE_LAST)

        def ask(db: sqlite3.Connection) -> Place | None:
            has_owners = pragma(db, "user_version") >= _WITH_ORIGINS
            if not has_owners and (selection.owner is not None or selection.login is not None):
                return None  # No record is found at all.
            found: Place | None = db.execute(query, selection.arguments(None, count)).fetchone()
            return found

        return self._file.run(ask)

    def latest(self, limit: int, octets: int) -> list[Record]:
        """The last record of each topic, in the order of arrival. This does not wait for the check of the file.

        :param limit: how many at most; topics with the latest records are preferred.
        :param octets: how many octets of bodies and headers at most; the same topics are preferred.
        """

        def ask(db: sqlite3.Connection) -> list[Record]:
            numbers = db.execute(_LATEST, (limit,)).fetchall()
            rows = (row for number in numbers for row in db.execute(_BY_NUMBER, number))
            return list(_page(map(self._whole, rows), octets))[::-1]

        return self._file.read_at_once(ask)

    def _whole(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        self._file.require_whole(row)
        number, topic, timestamp, serial, headers, body, _, *origin = row
        return topic, body, headers, timestamp, serial, number, *origin

    def last_alive(self, topics: Iterable[str]) -> dict[str, int]:
        """Unix time in seconds of the latest record of each topic; topics without a record are left out."""

        def ask(db: sqlite3.Connection) -> dict[str, int]:
            found = ((topic, db.execute(_LAST, (_text(topic),)).fetchone()[0]) for topic in topics)
            return {topic: timestamp for topic, timestamp in found if timestamp is not None}

        return self._file.run(ask)

    def drop(self, before: int, limit: int) -> int:
        """Drop at most ``limit`` records older than a Unix time in seconds. Returns how many were dropped."""
        dropped = self._file.write(lambda db: db.execute(_DROP_BEFORE, (before, limit)).rowcount)
        self._file.run(self._give_back, "write")
        return dropped

    def drop_selected(self, selection: Selection, limit: int) -> int:
        """Drop at most ``limit`` records of a selection. Returns how many. Their octets in the file are overwritten."""
        delete = f"DELETE FROM records WHERE number IN ({selection.query('number')})"  # noqa: S608  (our own names)

        def drop(db: sqlite3.Connection) -> int:
            return db.execute(delete, selection.arguments(None, limit)).rowcount

        self._file.run(lambda db: db.execute("PRAGMA secure_delete = ON").fetchall(), "write")
        return self._file.write(drop)

    def clear_log(self) -> None:
        """Remove dropped records from SQLite's write-ahead log as well, as far as no reader uses it."""
        self._file.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), "write")

    def drop_addresses(self, before: int, after: Place, limit: int) -> Place | None:
        """Drop the addresses of at most ``limit`` records older than a Unix time in seconds.

        :param after: the position after which to continue.
        :return: the position after which the next call continues; None if there are no more records.
        """

        def drop(db: sqlite3.Connection) -> Place | None:
            db.create_function("checksum_of", len(_COLUMNS), _checksum_of, deterministic=True)
            places: list[Place] = db.execute(_WITH_ADDRESS, (*after, before, limit)).fetchall()
            db.executemany(_DROP_ADDRESS, [(number,) for _, number in places])
            return places[-1] if places else None

        return self._file.write(drop)

    def owners(self) -> int:
        """How many owners have records."""
        return self._file.run(lambda db: int(db.execute("SELECT count(*) FROM shares").fetchone()[0]))

    def close(self) -> None:
        """Close the file, if it is open."""
        self._file.close()

    def _make_room(self, db: sqlite3.Connection, octets: int) -> None:
        while self._used(db) + octets > self.max_bytes:
            heaviest = db.execute(_HEAVIEST).fetchone()
            if heaviest is None:
                return
            owner, used, records = heaviest
            count = max(1, min(_ROOM_STEP, _ROOM_OCTETS * records // max(1, used)))
            dropped = db.execute(_DROP_OLDEST, (owner, count)).rowcount
            if not dropped:
                return
            self.displaced += dropped

    def _used(self, db: sqlite3.Connection) -> int:
        return (pragma(db, "page_count") - pragma(db, "freelist_count")) * pragma(db, "page_size")

    def _give_back(self, db: sqlite3.Connection) -> None:
        """Make the file smaller if it is above its limit, because the limit was lowered. Otherwise SQLite reuses free
        pages.
        """
        if pragma(db, "page_count") * pragma(db, "page_size") > self.max_bytes:
            db.executescript("PRAGMA incremental_vacuum(1000)")  # execute() would stop after the first page.

    def _error(self, doing: str, reason: str) -> JournalError:
        return JournalError(f"cannot {doing} {self._file.path}: {reason}")


def _row(record: Record) -> tuple[str, int, str, str, bytes]:
    return _text(record.topic), record.timestamp, _text(record.serial), json.dumps(record.headers), record.body


def _origin_row(record: Record) -> tuple[str, str, str, str]:
    _, login, address, interface = record.origin or Origin("", "", "", "")
    return _text(record.owner), _text(login), _text(address), _text(interface)


def _checksum_of(*row: Value) -> int:
    """An SQL function: the checksum of the values of :data:`_COLUMNS`, whatever the value of the old checksum is."""
    at = _COLUMNS.index("checksum")
    return checksum(row[:at], row[at + 1 :])


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
    """Text that SQLite accepts, which is UTF-8: a topic with an invalid character must not fail a whole batch."""
    return text.encode("utf-8", "backslashreplace").decode()


def _page(rows: Iterable[tuple[Any, ...]], octets: int) -> Iterator[Record]:
    for topic, body, headers, timestamp, serial, number, *origin in rows:
        pairs = tuple((name, value) for name, value in json.loads(headers))
        _, login, _, interface = origin
        published_by = Origin(*origin) if login or interface else None
        yield Record(topic, body, pairs, timestamp, serial, number, published_by)
        octets -= len(body) + len(headers)
        if octets <= 0:
            return


COLUMNS = ("time", "timestamp", "topic", "body", "headers", "serial", *_ORIGIN_COLUMNS)
HEADER = (",".join(COLUMNS) + "\r\n").encode()


def csv_rows(records: Iterable[Record]) -> bytes:
    """The records as CSV rows, without the header."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(_csv_row(record) for record in records)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _csv_row(record: Record) -> tuple[str | int, ...]:
    time = datetime.fromtimestamp(record.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = record.body.decode("utf-8", "surrogateescape")
    origin = record.origin or ("", "", "", "")
    return time, record.timestamp, record.topic, body, json.dumps(record.headers), record.serial, *origin
