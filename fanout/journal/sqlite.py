"""One SQLite file, and the thread that uses it: opening, transactions, damage, and errors with advice.

Several parts keep data in a file of their own. This module is what they share. Every call of :class:`SqliteFile`
blocks; :class:`FileThread` makes the calls for the reactor. :class:`Batches` is the group commit: items that come
within a few milliseconds share one write to the disk.

A file is opened by the first call, and opened again by the next call after a failure, so that a full disk or a missing
folder needs no restart. Commits are on the disk when they return (``synchronous = FULL``), and readers do not hold up
the writer (``journal_mode = WAL``). The application id in the file's header keeps a file of another program safe.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

BUSY = 5.0
"""Seconds to wait for another process that writes to the same file, such as a back-up."""
DAMAGED_KEPT = 3
"""Damaged files that are kept for inspection. A failing disk must not fill itself with them."""
LOG_BYTES = 4 * 2**20
"""To this size SQLite cuts its write-ahead log beside the file."""

_MEMORY = ":memory:"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)
_ADVICE = {
    sqlite3.SQLITE_BUSY: ": another process holds it",
    sqlite3.SQLITE_FULL: ": make room on that disk",
    sqlite3.SQLITE_CANTOPEN: ": its folder must exist and be writable for this user",
    sqlite3.SQLITE_READONLY: ": the file and its folder must be writable for this user",
}
_SIDE_FILES = ("", "-wal", "-shm")

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file contains.

    :ivar application_id: four bytes in the file's header; a database with another id is not touched.
    :ivar version: of the tables; a file with a higher one is not touched.
    :ivar schema: SQL statements that make the tables if they are missing.
    :ivar name: of the kind of file, in log events: ``<name>.damaged``.
    """

    application_id: int
    version: int
    schema: str
    name: str


class _Unusable(sqlite3.DatabaseError):
    """The file is intact, and is not ours."""


class SqliteFile:
    """A file in one layout. Use it from one thread at a time.

    Every call raises what ``error`` makes of the operation (``read`` or ``write``) and of the reason.
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
        :param error: makes the exception to raise.
        :param unix_time: seconds, for the names of damaged files. A damaged file is moved aside and a new one is begun;
            without a clock it stays, and every call fails.
        :param read_only: the file is not changed, even if it is damaged, and must exist. Another process may write it.
        """
        self.path = path or _MEMORY
        self._layout = layout
        self._damaged = f"{layout.name}.damaged"
        self._error = error
        self._unix_time = None if read_only else unix_time
        self._read_only = read_only
        self._db: sqlite3.Connection | None = None

    def run(self, work: Callable[[sqlite3.Connection], T], doing: str = "read") -> T:
        """Call ``work`` with the connection, outside a transaction; gives its result.

        :param doing: the operation, for the error.
        """
        with self._errors(doing):
            return work(self._connection())

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` in a transaction, which is on the disk when this returns; gives its result.

        If the file turns out to be damaged, a new one is begun and ``work`` is called once more.
        """
        with self._errors("write"):
            try:
                return self._transaction(work)
            except sqlite3.DatabaseError as error:
                if not self._is_replaceable(error):
                    raise
                self._set_aside(error)
                return self._transaction(work)

    def close(self) -> None:
        """Close the file, if it is open."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):  # What was committed is safe; the next opening clears up.
                db.close()

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return result

    # Opening

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                if not self._is_replaceable(error):
                    raise
                self._set_aside(error)
                self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        name = f"{Path(self.path).absolute().as_uri()}?mode=ro" if self._read_only else self.path
        # check_same_thread: a thread pool of one may replace its thread.
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
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            damage = sqlite3.DatabaseError(verdict)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
        self._recognise(db)
        # Before the tables: a process killed in between must recognise its file.
        db.execute(f"PRAGMA application_id = {self._layout.application_id}")
        db.executescript(self._layout.schema)
        db.execute(f"PRAGMA user_version = {self._layout.version}")

    def _recognise(self, db: sqlite3.Connection) -> None:
        is_new = not self._read_only and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not is_new and pragma(db, "application_id") != self._layout.application_id:
            raise _Unusable("it is another program's database")
        if pragma(db, "user_version") > self._layout.version:
            raise _Unusable("it was written by a later version of this program")

    # Failures

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _Unusable as error:
            raise self._error(doing, str(error)) from error
        except sqlite3.Error as error:
            if self._is_replaceable(error):
                self._set_aside(error)
            elif _code(error) not in _PASSING:
                self.close()  # The next call opens it again.
            raise self._error(doing, f"{error}{_ADVICE.get(_code(error), '')}") from error
        except OSError as error:
            raise self._error(doing, error.strerror or str(error)) from error

    def _is_replaceable(self, error: sqlite3.Error) -> bool:
        """Whether the file is damaged, and may be moved aside."""
        return self._unix_time is not None and _code(error) in _DAMAGED

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Rename the damaged file, and the files SQLite keeps beside it."""
        assert self._unix_time is not None
        self.close()
        aside = f"{self.path}.damaged-{int(self._unix_time())}"
        for suffix in _SIDE_FILES:
            with suppress(FileNotFoundError):
                Path(self.path + suffix).rename(aside + suffix)
        log.error(self._damaged, file=self.path, error=str(error), moved_to=aside)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        path = Path(self.path)
        damaged = {each.name.split("-wal")[0].split("-shm")[0] for each in path.parent.glob(path.name + ".damaged-*")}
        for name in sorted(damaged)[:-DAMAGED_KEPT]:
            for suffix in _SIDE_FILES:
                path.with_name(name + suffix).unlink(missing_ok=True)


class FileThread:
    """Makes the blocking calls of one file in a thread of their own, one after the other."""

    def __init__(self, reactor: Any, name: str) -> None:
        """:param name: of the thread."""
        self._reactor = reactor
        self._pool = ThreadPool(0, 1, name=name)
        self._pool.start()

    def call(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Make a call; fires with its result, after those of the calls made before."""
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    async def stop(self, close: Callable[[], None]) -> None:
        """Make the calls that wait, close the file, and end the thread."""
        await self.call(close)
        self._pool.stop()


def pragma(db: sqlite3.Connection, name: str) -> int:
    """The value of a pragma that is a number."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


DELAY = 0.005
"""Seconds from the first item to the write: too short to notice, and a burst shares one fsync."""
BATCH_OCTETS = 4 * 2**20
"""Octets of one write; a larger item is written alone. More gains nothing: the fsync is then the smaller part."""
MAX_WAITING = 10_000
MAX_WAITING_OCTETS = 32 * 2**20
"""Items, and octets of them, that wait while the disk is slow. Further ones are refused; their owner keeps them."""


class BatchesFull(Exception):
    """Too many items wait, or nothing is written any more. The text says which."""


class Batches(Generic[T]):
    """Writes items in the order they came, many at a time, one batch after the other.

    A batch succeeds or fails as a whole. Items that wait behind a batch that fails, fail too: a caller that adds all of
    them again keeps their order, even if the disk has room again a moment later.
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
        :param write: writes a batch, all or nothing; called again only after its Deferred has fired.
        :param size: gives the octets of an item.
        :param delay: seconds the first item of a batch waits for others.
        :param batch_octets: octets of one batch.
        :param max_waiting: items accepted and not yet written.
        :param max_waiting_octets: octets of them.
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
        """Items accepted and not yet written."""
        return len(self._items) + len(self._writing)

    def add(self, item: T) -> Deferred[None]:
        """Write an item; fires when it is written.

        Fails with the error of ``write``, or with :class:`BatchesFull`.
        """
        if self._stopped:
            return fail(BatchesFull("it is closed"))
        size = self._size(item)
        if len(self) >= self._max_waiting or (len(self) and self._octets + size > self._max_waiting_octets):
            return fail(BatchesFull(f"{len(self)} items of {self._octets} octets wait for the disk already"))
        written: Deferred[None] = Deferred()
        self._items.append((item, size, written))
        self._octets += size
        if self._timer is None and not self._writing:
            self._timer = self._clock.callLater(self._delay, self._next)
        return written

    def stop(self) -> Deferred[None]:
        """Write the items that wait, without delay; fires when that is done. Items added later are refused."""
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
        """Only a whole batch, or the last one, does not wait: each write costs a thread its waking, also in an endless
        stream.
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
