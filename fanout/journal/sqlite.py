"""One SQLite file, and the thread that uses it: opening, transactions, damage, and errors with advice.

Several parts store data in a file of their own, and share this module. Every call of :class:`SqliteFile` blocks;
:class:`FileThread` makes the calls for the reactor. :class:`Batches` is the group commit: items that arrive within a
few milliseconds share one write to the disk.

A file is opened by the first call, and opened again by the next call after a failure, so that a full disk or a missing
folder needs no restart. Commits are on the disk when they return (``synchronous = FULL``), and readers do not delay the
writer (``journal_mode = WAL``). The application id in the file's header protects the files of other programs.

**Versions.** ``user_version`` in the header is the number of scripts of :class:`Layout` that were run to make the
tables. When an older file is opened the missing scripts are run in one transaction. A newer file is refused and not
changed.

**Damage.** Opening a file checks the definitions of the tables. The first use checks the rest: SQLite's
``integrity_check``, and the checksum of every row. SQLite itself has no checksums and would return a body with a
flipped bit. A damaged file is replaced by a new one with every row that can be read, and is kept under another name for
inspection. SQL cannot read beyond a damaged inner page, and needs the file's header. Therefore
:mod:`fanout.journal.sqlite_pages` reads the pages themselves.
"""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any, Generic, TypeVar
from zlib import crc32

import structlog
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from fanout.journal.sqlite_pages import SqlitePages, Value, pages_of

BUSY = 5.0
"""Seconds to wait for another process that writes to the same file, such as a backup."""
DAMAGED_KEPT = 3
"""How many damaged files are kept for inspection. They must not fill a failing disk."""
LOG_BYTES = 4 * 2**20
"""Size in octets to which SQLite truncates the write-ahead log of the file."""
CHECK_SECONDS = 30.0
"""Time limit in seconds of the check after a file was opened. If this is too short for a file, its rest is not checked,
which is logged; most damage in it is found when it is read."""

_MEMORY = ":memory:"
_SALVAGED = ".salvaged"  # the new file, until it is complete
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)
_ADVICE = {
    sqlite3.SQLITE_BUSY: ": another process has locked it",
    sqlite3.SQLITE_FULL: ": make room on that disk",
    sqlite3.SQLITE_CANTOPEN: ": its folder must exist and be writable for this user",
    sqlite3.SQLITE_READONLY: ": the file and its folder must be writable for this user",
}
_SIDE_FILES = ("", "-wal", "-shm")
PRIVATE = 0o600
"""Permissions of the files, which contain addresses of clients and logins. SQLite gives its side files the same
ones."""

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """The content of a file: one table of rows, its indexes, and tables without row ids that triggers derive from it.

    :ivar application_id: four bytes in the file's header; a database with another id is not touched.
    :ivar scripts: SQL, one script for each version: the first one makes the tables, each further one changes the tables
        of the previous version.
    :ivar damaged: the log event for a file that was damaged and replaced.
    :ivar migrated: the log event for a file that was migrated to the current version.
    :ivar check_unfinished: the log event for a file that could not be checked in time.
    :ivar table: the name of the table.
    :ivar columns: its columns in order. The first is the row's number. ``checksum`` is the :func:`checksum` of the
        other columns; rows from before version 2 do not have it. The columns after it are texts, which are empty in
        older rows.
    :ivar is_row: whether values, those before the checksum, may be a row from before version 2.
    """

    application_id: int
    scripts: tuple[str, ...]
    damaged: str
    migrated: str
    check_unfinished: str
    table: str
    columns: tuple[str, ...]
    is_row: Callable[[Sequence[Value]], bool]

    @property
    def version(self) -> int:
        """The current version of the tables; a file with a higher version is not touched."""
        return len(self.scripts)

    def definitions(self, version: int) -> set[tuple[str, ...]]:
        """The tables and indexes of a file of the given version."""
        with closing(sqlite3.connect(_MEMORY)) as db:
            for script in self.scripts[:version]:
                db.executescript(script)
            return _definitions(db)

    def is_whole(self, row: Sequence[Value]) -> bool:
        """Whether the values of a row are those that were written."""
        at = self.checksum_at
        values, found, later = row[:at], row[at], row[at + 1 :]
        if found is None:
            return self.is_row(values) and not any(later)
        return found == checksum(values, later)

    @property
    def checksum_at(self) -> int:
        """The index of the checksum among the columns."""
        return self.columns.index("checksum")


def checksum(row: Sequence[Value], later: Sequence[Value] = ()) -> int:
    """CRC-32 of the values of a row. The last value, the body, must be octets; otherwise the result is -1.

    :param later: the values after the checksum. If all of them are empty the checksum is that of a row without them.
    """
    *values, body = row
    if not isinstance(body, bytes):
        return -1
    found = crc32(body, crc32("\0".join(map(str, values)).encode()))
    return crc32("\0".join(map(str, later)).encode(), found) if any(later) else found


def _definitions(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Every table and index, without the comments and spaces of its SQL."""
    rows = db.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")
    return {(*names, re.sub(r"--[^\n]*|\s+", "", sql)) for *names, sql in rows}


class _Unusable(sqlite3.DatabaseError):
    """The file is intact, but not one of ours."""


class SqliteFile:
    """A file in one layout. Use it from one thread at a time.

    When a call fails, it raises the result of ``error``, which is called with the operation (``read`` or ``write``) and
    the reason.
    """

    def __init__(
        self,
        path: str,
        layout: Layout,
        error: Callable[[str, str], Exception],
        *,
        unix_time: Callable[[], float] | None = None,
        read_only: bool = False,
    ) -> None:
        """
        :param path: the file; empty for one in memory, which ends with the process.
        :param layout: the content of the file.
        :param error: makes the exception to raise.
        :param unix_time: a clock in seconds, for the names of damaged files. A damaged file is renamed, and a new one
            gets the readable rows. Without a clock the damaged file stays, and every call fails.
        :param read_only: whether the file must exist and is never changed, even if it is damaged. Another process may
            write it.
        """
        self.path = path or _MEMORY
        self._layout = layout
        self._error = error
        self._unix_time = None if read_only else unix_time
        self._read_only = read_only
        self._db: sqlite3.Connection | None = None
        self._is_checked = False

    def run(self, work: Callable[[sqlite3.Connection], T], doing: str = "read") -> T:
        """Call ``work`` with the connection, outside a transaction. Returns its result.

        :param doing: the operation, for the error.
        """
        with self._errors(doing):
            return work(self._connection())

    def read_at_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Like :meth:`run`, but before the file is checked, because the check takes a while.

        :param work: uses :meth:`require_whole`. If the file turns out to be damaged, it is replaced and ``work`` is
            called once more.
        """
        with self._errors("read"):
            return self._and_again(lambda: work(self._unchecked()))

    def require_whole(self, row: Sequence[Value]) -> None:
        """Used by the work of :meth:`read_at_once`: raises an error of SQLite if a row does not have the values that
        were written.
        """
        if not self._layout.is_whole(row):
            raise _damage(f"the checksum of row {row[0]!r} is wrong")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` in a transaction, which is on the disk when this returns. Returns its result.

        If the file turns out to be damaged, it is replaced and ``work`` is called once more.
        """
        with self._errors("write"):
            return self._and_again(lambda: _transaction(self._connection(), work))

    def _and_again(self, work: Callable[[], T]) -> T:
        """Call ``work``. If the file is damaged and could be replaced, call it once more."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if not self._is_replaceable(error):
                raise
            self._replace(error)
            return work()

    def close(self) -> None:
        """Close the file, if it is open."""
        db, self._db, self._is_checked = self._db, None, False
        if db is not None:
            with suppress(sqlite3.Error):  # Commits are safe; the next opening cleans up.
                db.close()

    # Opening

    def _connection(self) -> sqlite3.Connection:
        """The connection to a file that was checked since it was opened."""
        if not self._is_checked:
            self._and_again(self._checked)
        return self._unchecked()

    def _checked(self) -> None:
        db = self._unchecked()
        if not self._read_only:
            self._check(db)
        self._is_checked = True

    def _unchecked(self) -> sqlite3.Connection:
        if self._db is None:
            self._finish_replacing()
            self._db = self._and_again(self._open)
        return self._db

    def _open(self) -> sqlite3.Connection:
        name = f"{Path(self.path).absolute().as_uri()}?mode=ro" if self._read_only else self.path
        if not self._read_only and self.path != _MEMORY:
            with suppress(OSError):  # SQLite fails next, with an error that has advice.
                Path(self.path).touch(PRIVATE)
        # check_same_thread: a thread pool with one thread may replace that thread.
        db = sqlite3.connect(name, timeout=BUSY, isolation_level=None, check_same_thread=False, uri=self._read_only)
        db.text_factory = partial(str, encoding="utf-8", errors="replace")  # Damaged text is found by the checksum.
        try:
            if self._read_only:
                self._version(db)
            else:
                self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        with _statements_are_right():
            version = self._version(db)  # First, because the lines below change the file.
            self._make_private()
            if not version:
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            db.execute("PRAGMA secure_delete = FAST")  # Dropped rows are overwritten in pages that are in use.
        if version == self._layout.version:
            return
        if version:
            self._check(db, version)
        _transaction(db, partial(_migrate, layout=self._layout, version=version))
        if version:
            log.info(self._layout.migrated, file=self.path, found=version, now=self._layout.version)

    def _make_private(self) -> None:
        """Restrict the permissions: earlier versions made files that others could read. A file of another owner is not
        changed.
        """
        for suffix in _SIDE_FILES if self.path != _MEMORY else ():
            file = Path(self.path + suffix)
            with suppress(FileNotFoundError, PermissionError):
                found = stat.S_IMODE(file.stat().st_mode)
                if found & ~PRIVATE:
                    file.chmod(PRIVATE)
                    log.warning("journal.made_private", file=str(file), mode=f"{found:04o}")

    def _version(self, db: sqlite3.Connection) -> int:
        """The version of one of our files; 0 for a new file."""
        layout, found = self._layout, _definitions(db)
        version = pragma(db, "user_version")
        is_current = layout.definitions(layout.version) <= found
        if pragma(db, "application_id") != layout.application_id and (found or self._read_only):
            if is_current:
                raise _damage("the application id in its header is wrong")
            raise _Unusable("it is another program's database")
        if version > layout.version:
            raise _Unusable(
                f"its version is {version}, and this program knows up to {layout.version}: it was written by a later "
                "version of this program. Start the later version, or move the file away; see docs/production.md"
            )
        if version <= 0:  # A new file, or a flipped bit in the version.
            version = layout.version if is_current else 0
        if not layout.definitions(version) <= found:
            raise _damage("its tables do not match its version")
        return version

    def _check(self, db: sqlite3.Connection, version: int | None = None) -> None:
        """Look for damage, for a limited time.

        :raises sqlite3.DatabaseError: the file is damaged.
        """
        timer = Timer(CHECK_SECONDS, db.interrupt)
        timer.start()
        try:
            with _statements_are_right():
                self._look_for_damage(db, has_checksums=version is None)
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_INTERRUPT:
                raise
            log.warning(self._layout.check_unfinished, file=self.path, after_seconds=CHECK_SECONDS)
        finally:
            timer.cancel()
            timer.join()  # A late interrupt would end another statement.

    def _look_for_damage(self, db: sqlite3.Connection, *, has_checksums: bool) -> None:
        verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _damage(" ".join(verdict.split()))
        if not has_checksums:
            return
        layout = self._layout
        db.create_function("is_whole", len(layout.columns), lambda *row: layout.is_whole(row), deterministic=True)
        number, columns = layout.columns[0], ", ".join(layout.columns)
        query = f"SELECT {number} FROM {layout.table} WHERE NOT is_whole({columns}) LIMIT 1"  # noqa: S608  (our names)
        wrong = db.execute(query).fetchone()
        if wrong is not None:
            raise _damage(f"the checksum of row {wrong[0]} is wrong")

    # Failures

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _Unusable as error:
            raise self._error(doing, str(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise self._error(doing, self._recover(error)) from error

    def _recover(self, error: sqlite3.Error | OSError) -> str:
        """Make it possible for the next call to succeed. Returns the reason of the failure."""
        try:
            if isinstance(error, sqlite3.Error) and self._is_replaceable(error):
                self._replace(error)
            elif _code(error) not in _PASSING:
                self.close()  # The next call opens the file again.
        except (sqlite3.Error, OSError) as failure:
            error = failure
        if isinstance(error, OSError):
            return error.strerror or str(error)
        return f"{error}{_ADVICE.get(_code(error), '')}"

    def _is_replaceable(self, error: sqlite3.Error) -> bool:
        """Whether the file is damaged, and may be replaced."""
        return self._unix_time is not None and _code(error) in _DAMAGED

    def _replace(self, error: sqlite3.Error) -> None:
        """Make a new file with the rows that can be read, and rename the damaged one, which is kept.

        The new file gets its name when it is complete: a process that is killed meanwhile starts again from the
        beginning.
        """
        assert self._unix_time is not None
        self.close()
        if self.path == _MEMORY:
            return
        aside = f"{self.path}.damaged-{int(self._unix_time())}"
        counts = self._salvage()
        for suffix in _SIDE_FILES:
            with suppress(FileNotFoundError):
                Path(self.path + suffix).rename(aside + suffix)
        self._finish_replacing()
        log.error(self._layout.damaged, file=self.path, error=str(error), moved_to=aside, **counts)
        self._remove_oldest()

    def _salvage(self) -> dict[str, int]:
        """Write the rows that can be read to a new file. Returns counts for the log."""
        new = Path(self.path + _SALVAGED)
        new.unlink(missing_ok=True)
        new.touch(PRIVATE)
        try:
            with pages_of(self.path) as pages, closing(sqlite3.connect(new, isolation_level=None)) as db:
                kept = self._copy(pages, db)
                return {
                    "kept": kept,
                    "unreadable_rows": pages.unreadable_rows,
                    "unreadable_pages": pages.unreadable_pages,
                }
        except BaseException:
            new.unlink(missing_ok=True)  # If the disk is full, the damaged file stays in use until there is room.
            raise

    def _copy(self, pages: SqlitePages, db: sqlite3.Connection) -> int:
        layout = self._layout
        insert = f"INSERT OR IGNORE INTO {layout.table} VALUES ({', '.join('?' * len(layout.columns))})"  # noqa: S608
        rows = pages.rows(layout.checksum_at, len(layout.columns), layout.is_whole)
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = MEMORY")  # No side files: the new file is complete, or made again.
        _transaction(db, partial(_migrate, layout=layout, version=0))
        _transaction(db, lambda db: db.executemany(insert, rows))
        return int(db.execute(f"SELECT count(*) FROM {layout.table}").fetchone()[0])  # noqa: S608

    def _finish_replacing(self) -> None:
        """Give the new file its name, after the damaged one was renamed. Before that the new file may be incomplete."""
        new = Path(self.path + _SALVAGED)
        if self._unix_time is None or Path(self.path).exists() or not new.exists():
            return
        for suffix in ("-wal", "-shm"):  # SQLite would use those of the damaged file for the new one.
            Path(self.path + suffix).unlink(missing_ok=True)
        new.rename(self.path)

    def _remove_oldest(self) -> None:
        path = Path(self.path)
        damaged = {each.name.split("-wal")[0].split("-shm")[0] for each in path.parent.glob(path.name + ".damaged-*")}
        for name in sorted(damaged)[:-DAMAGED_KEPT]:
            for suffix in _SIDE_FILES:
                path.with_name(name + suffix).unlink(missing_ok=True)


def _transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def _migrate(db: sqlite3.Connection, layout: Layout, version: int) -> None:
    """Change the tables of a version to the current version, within a transaction. Version 0 is a new file."""
    db.execute(f"PRAGMA application_id = {layout.application_id}")
    for script in layout.scripts[version:]:
        for statement in _statements(script):  # executescript() would end the transaction.
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {layout.version}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; a trigger contains semicolons."""
    begun = ""
    for piece in script.split(";"):
        begun += piece + ";"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""


def _damage(reason: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


@contextmanager
def _statements_are_right() -> Iterator[None]:
    """Treat an error in SQL as damage: either the definitions of the tables are damaged, or text is not UTF-8."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if _code(error) not in (0, sqlite3.SQLITE_ERROR):
            raise
        raise _damage(str(error)) from error
    except UnicodeDecodeError as error:  # SQLite quotes a definition in its message.
        raise _damage("the tables' definitions cannot be read") from error


class FileThread:
    """Makes the blocking calls of one file in a separate thread, one after the other."""

    def __init__(self, reactor: Any, name: str) -> None:
        """:param name: name of the thread."""
        self._reactor = reactor
        self._pool = ThreadPool(0, 1, name=name)
        self._pool.start()

    def call(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Make a call after the earlier ones. The Deferred fires with its result."""
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    async def stop(self, close: Callable[[], None]) -> None:
        """Make the waiting calls, close the file, and end the thread."""
        await self.call(close)
        self._pool.stop()


def pragma(db: sqlite3.Connection, name: str) -> int:
    """The value of a pragma that is a number."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 for an error of the Python module itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


DELAY = 0.005
"""Seconds from the first item to the write: too short to notice, and the items of a burst share one fsync."""
BATCH_OCTETS = 4 * 2**20
"""Octets of one write; a larger item is written alone. More octets would gain nothing, because the fsync is then the
smaller part of the time."""
MAX_WAITING = 10_000
MAX_WAITING_OCTETS = 32 * 2**20
"""How many items, and how many octets, may wait while the disk is slow. Further items are refused, and their owner
keeps them."""


class BatchesFull(Exception):
    """Too many items wait, or the batches are stopped. The text says which."""


class Batches(Generic[T]):
    """Writes items in the order in which they arrive, many at a time, one batch after the other.

    A batch succeeds or fails as a whole. If a batch fails, the items that wait after it fail too: a caller that adds
    all of them again keeps their order, even if the disk has room again a moment later.
    """

    def __init__(
        self,
        clock: Any,
        write: Callable[[list[T]], Deferred[Any]],
        size: Callable[[T], int],
        *,
        delay: float = DELAY,
        batch_octets: int = BATCH_OCTETS,
        max_waiting: int = MAX_WAITING,
        max_waiting_octets: int = MAX_WAITING_OCTETS,
    ) -> None:
        """
        :param clock: the reactor, or a Clock.
        :param write: writes a batch, all or nothing; it is called again only after its Deferred has fired.
        :param size: returns the octets of an item.
        :param delay: seconds that the first item of a batch waits for others.
        :param batch_octets: octets of one batch.
        :param max_waiting: how many items may be accepted and not yet written.
        :param max_waiting_octets: how many octets these items may have.
        """
        self._clock = clock
        self._write = write
        self._size = size
        self._delay = delay
        self._batch_octets = batch_octets
        self._max_waiting = max_waiting
        self._max_waiting_octets = max_waiting_octets
        self._items: list[tuple[T, int, Deferred[None]]] = []
        self._writing: list[tuple[T, int, Deferred[None]]] = []
        self._octets = 0
        self._timer: Any = None
        self._idle: Deferred[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        """How many items were accepted and are not yet written."""
        return len(self._items) + len(self._writing)

    def add(self, item: T) -> Deferred[None]:
        """Write an item. The Deferred fires when it is written.

        It fails with the error of ``write``, or with :class:`BatchesFull`.
        """
        if self._stopped:
            return fail(BatchesFull("it is closed"))
        size = self._size(item)
        if len(self) >= self._max_waiting or (len(self) and self._octets + size > self._max_waiting_octets):
            return fail(BatchesFull(f"{len(self)} items of {self._octets} octets are already waiting for the disk"))
        written: Deferred[None] = Deferred()
        self._items.append((item, size, written))
        self._octets += size
        if self._timer is None and not self._writing:
            self._timer = self._clock.callLater(self._delay, self._next)
        return written

    def stop(self) -> Deferred[None]:
        """Write the waiting items without delay. The Deferred fires when that is done. Items added later are
        refused.
        """
        self._stopped = True
        if not len(self):
            return succeed(None)
        if self._timer is not None:
            self._timer.cancel()
            self._next()
        if not len(self):
            return succeed(None)
        self._idle = Deferred()
        return self._idle

    def _next(self) -> None:
        self._timer = None
        self._writing = self._take()
        maybeDeferred(self._write, [item for item, _, _ in self._writing]).addBoth(self._written)

    def _take(self) -> list[tuple[T, int, Deferred[None]]]:
        """The items of the next batch: as many as fit, and at least one."""
        octets = count = 0
        for _, size, _ in self._items:
            if count and octets + size > self._batch_octets:
                break
            octets += size
            count += 1
        batch, self._items = self._items[:count], self._items[count:]
        return batch

    def _schedule(self) -> None:
        """Schedule the next write. Only a full batch, or the last one, is written without delay: each write has to wake
        a thread, which would be costly in an endless stream.
        """
        if self._stopped or self._octets >= self._batch_octets:
            self._next()
        else:
            self._timer = self._clock.callLater(self._delay, self._next)

    def _written(self, outcome: object) -> None:
        batch, self._writing = self._writing, []
        if isinstance(outcome, Failure):
            batch, self._items = batch + self._items, []
        self._octets -= sum(size for _, size, _ in batch)
        if self._items:
            self._schedule()
        for _, _, written in batch:
            if isinstance(outcome, Failure):
                written.errback(outcome.value)
            else:
                written.callback(None)
        if self._idle is not None and not len(self):
            idle, self._idle = self._idle, None
            idle.callback(None)
