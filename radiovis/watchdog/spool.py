"""A queue of records on the disk, for one process at a time. Every call here blocks.

The folder holds the records in numbered files (:mod:`radiovis.watchdog.spool_segments`);
``cursor``, up to where they were sent; ``refused``, records nobody wants; and ``lock``, held by the process that uses
it. A file is deleted when all of it was sent and another has begun.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path

import structlog

from radiovis.watchdog.spool_cursor import Cursor, ListenAddress
from radiovis.watchdog.spool_line import sealed
from radiovis.watchdog.spool_segments import Segments, Spooled

MAX_BYTES = 256 * 2**20
SEGMENT_BYTES = 4 * 2**20
"""Octets after which the next file begins; so much is freed at a time."""
READ_OCTETS = 2**20
"""Octets read at once, if there are several records of them."""
REFUSED_BYTES = 16 * 2**20
"""Octets of refused records that are kept for somebody to look at."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SpoolError(Exception):
    """The spool cannot take or give a record. The text says which folder, why, and what to do."""


class SpoolInUse(SpoolError):
    """Another process holds the spool."""


class Spool:
    """The queue.

    One thread may call :meth:`append` while another calls :meth:`read` and :meth:`advance`.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        """
        :param folder: made if it is not there, its parent is not.
        :param max_bytes: of all files with records; beyond it nothing is taken.
        :param segment_bytes: after which the next file begins; a quarter of ``max_bytes`` if that is less.
        """
        self.folder = folder
        self._segments = Segments(folder)
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max_bytes // 4)
        self._lock = threading.Lock()  # For the four below, which both threads change.
        self._sizes: dict[int, int] = {}
        self._end = ListenAddress(1, 0)  # Behind the last record that is safe.
        self._waiting = 0
        self._torn = False  # Whether there may be octets behind the end.
        self._read_to = self._sent_to = ListenAddress(1, 0)
        self._files = ExitStack()
        self._tail: FileIO | None = None
        self._cursor: Cursor

    @property
    def waiting(self) -> int:
        """Records not yet sent."""
        return self._waiting

    @property
    def octets(self) -> int:
        """What its files take, those already sent of the oldest one included."""
        with self._lock:
            return sum(self._sizes.values())

    # Opening

    def open(self) -> None:
        """Take the folder, cut what a crash left half-written, and go on where it was.

        :raises SpoolInUse: another process uses it. May be called again.
        :raises SpoolError: the disk refuses. Likewise.
        """
        try:
            self._open()
        except OSError as error:
            self._files.close()
            raise SpoolError(f"the spool {self.folder} cannot be opened: {_reason(error)}") from error
        except SpoolError:
            self._files.close()
            raise

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._take_lock()
        self._cursor = Cursor(self.folder / "cursor")
        self._files.callback(self._cursor.close)
        self._sizes = self._segments.found()
        if self._sizes:
            last = max(self._sizes)
            self._end = ListenAddress(last, self._sizes[last])
        else:
            self._end = ListenAddress(self._cursor.place.segment + 1 if self._cursor.place else 1, 0)
        self._read_to = self._sent_to = self._start()
        self._cursor.write(self._read_to)  # The first time, while there is room.
        self._remove_sent(self._read_to)
        self._waiting = sum(self._counts_from(self._read_to))

    def _take_lock(self) -> None:
        lock = self._files.enter_context((self.folder / "lock").open("wb"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolInUse(f"the spool {self.folder} is used by another process") from None

    def _start(self) -> ListenAddress:
        """Where sending goes on: at the cursor, or without one at the beginning of what there is."""
        first = ListenAddress(min(self._sizes, default=self._end.segment), 0)
        place = self._cursor.place
        if place is None and (self._cursor.damaged or self._sizes):
            log.error("spool.cursor_lost", folder=str(self.folder), resent_from=first.segment)
        return min(max(place or first, first), self._end)

    def _counts_from(self, place: ListenAddress) -> Iterator[int]:
        for number in sorted(each for each in self._sizes if each >= place.segment):
            yield self._segments.count(place if number == place.segment else ListenAddress(number, 0))

    def recent(self) -> Iterator[bytes]:
        """The records of the last two files, sent or not, from the oldest on.

        :raises SpoolError: the disk refuses.
        """
        try:
            for number in sorted(self._sizes)[-2:]:
                yield from self._segments.whole(number)
        except OSError as error:
            raise SpoolError(f"the spool {self.folder} cannot be read: {_reason(error)}") from error

    # Appending

    def append(self, records: Sequence[bytes]) -> None:
        """Add records behind the last one, all or none; they are on the disk when this returns.

        :raises SpoolError: the spool or the disk is full, or the disk refuses.
        """
        lines = b"".join(map(sealed, records))
        if self.octets + len(lines) > self._max_bytes:
            raise SpoolError(f"the spool {self.folder} is full: {self.octets} octets of {self._max_bytes} wait")
        try:
            self._write(lines)
        except OSError as error:
            self._torn = True
            raise SpoolError(f"the spool {self.folder} cannot be written: {_reason(error)}") from error
        with self._lock:
            self._end = ListenAddress(self._end.segment, self._end.offset + len(lines))
            self._sizes[self._end.segment] = self._end.offset
            self._waiting += len(records)

    def _write(self, lines: bytes) -> None:
        if self._torn:
            self._mend()
        if self._end.offset >= self._segment_bytes:
            self._close_tail()
            self._begin(self._end.segment + 1)
        tail = self._tail or self._begin(self._end.segment)
        left = memoryview(lines)
        while left:
            left = left[tail.write(left) :]  # A disk with little room takes a part before it refuses.
        os.fsync(tail.fileno())

    def _mend(self) -> None:
        """Take back what a failed write left. Nobody was told that it is safe, so it comes again."""
        self._close_tail()
        if self._end.segment in self._sizes:
            self._segments.truncate(self._end.segment, self._end.offset)
        self._torn = False

    def _begin(self, number: int) -> FileIO:
        tail = self._tail = self._segments.append(number)
        if number != self._end.segment or number not in self._sizes:
            self._segments.truncate(number, 0)
            with self._lock:
                self._end = ListenAddress(number, 0)
                self._sizes[number] = 0
        return tail

    def _close_tail(self) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()

    # Sending

    def read(self, limit: int, octets: int = READ_OCTETS) -> list[Spooled]:
        """The next records in order, which are then taken for read; empty when there are none.

        :param octets: so many at most, unless the first record alone is larger.
        :raises SpoolError: the disk refuses.
        """
        begin = self._read_to
        try:
            return list(self._read(limit, octets))
        except OSError as error:
            self._read_to = begin
            raise SpoolError(f"the spool {self.folder} cannot be read: {_reason(error)}") from error

    def _read(self, limit: int, octets: int) -> Iterator[Spooled]:
        while limit > 0 and octets > 0:
            with self._lock:
                end = self._end
            number, offset = self._read_to
            stop = end.offset if number == end.segment else self._sizes.get(number, 0)
            if offset >= stop:
                if number >= end.segment:
                    return
                self._read_to = ListenAddress(number + 1, 0)
                continue
            for spooled in self._segments.records(self._read_to, stop):
                yield spooled
                octets -= spooled.end.offset - self._read_to.offset
                limit -= 1
                self._read_to = spooled.end
                if limit <= 0 or octets <= 0:
                    return

    def rewind(self) -> None:
        """What was read and not sent is read again."""
        self._read_to = self._sent_to

    def advance(self, place: ListenAddress) -> None:
        """The next record was sent, and ends here: it will not be given again, in no other process either.

        :raises SpoolError: the disk refuses to remember it; then a later process gives it again.
        """
        self._sent_to = place
        with self._lock:
            self._waiting -= 1
        try:
            self._cursor.write(place)
            self._remove_sent(place)
        except OSError as error:
            raise SpoolError(f"the spool {self.folder} cannot note what was sent: {_reason(error)}") from error

    def _remove_sent(self, place: ListenAddress) -> None:
        with self._lock:
            sent = [number for number in self._sizes if number < place.segment]
        for number in sent:
            self._segments.remove(number)
            with self._lock:
                del self._sizes[number]

    def set_aside(self, record: bytes) -> bool:
        """Keep a record in ``refused``; gives False if there is no room.

        :raises SpoolError: the disk refuses.
        """
        try:
            with (self.folder / "refused").open("ab") as file:
                if file.tell() + len(record) > REFUSED_BYTES:
                    return False
                file.write(record + b"\n")
        except OSError as error:
            raise SpoolError(f"{self.folder}/refused cannot be written: {_reason(error)}") from error
        return True

    def close(self) -> None:
        """Let go of the folder."""
        self._close_tail()
        with suppress(OSError):  # The cursor is as good as it was.
            self._files.close()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
