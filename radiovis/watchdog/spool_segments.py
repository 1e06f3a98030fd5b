"""The numbered files of a spool, ``00000001.spool`` and so on. Every method raises OSError when the disk refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import structlog

from radiovis.watchdog.spool_cursor import ListenAddress
from radiovis.watchdog.spool_line import unsealed

_SUFFIX = ".spool"
_CHUNK = 2**20  # octets counted through at a time

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A record in the spool.

    :ivar record: its octets; None if the disk does not give them back as they were written.
    :ivar end: the place behind it.
    """

    record: bytes | None
    end: ListenAddress


class Segments:
    """The files in one folder, each by its number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def found(self) -> dict[int, int]:
        """The octets of each file, by its number. What a crash left half-written at the end of the last is cut off."""
        sizes = {int(path.stem): path.stat().st_size for path in self._folder.glob("*" + _SUFFIX)}
        if sizes:
            last = max(sizes)
            sizes[last] = _cut(self._path(last))
        return sizes

    def append(self, number: int) -> FileIO:
        """Open a file for records to be added, or make it."""
        file = self._path(number).open("ab", buffering=0)
        try:
            self._keep_names()
        except OSError:
            file.close()
            raise
        return file

    def _keep_names(self) -> None:
        """A power failure might take the name of a new file away."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def truncate(self, number: int, octets: int) -> None:
        """Keep only the beginning of a file."""
        os.truncate(self._path(number), octets)

    def remove(self, number: int) -> None:
        """Delete a file, if it is there."""
        self._path(number).unlink(missing_ok=True)

    def count(self, place: ListenAddress) -> int:
        """The records of a file from a place on."""
        with self._path(place.segment).open("rb") as file:
            file.seek(place.offset)
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))

    def whole(self, number: int) -> Iterator[bytes]:
        """The records of a file that are as they were written, from the oldest on."""
        with self._path(number).open("rb") as file:
            yield from (record for record in map(unsealed, file) if record is not None)

    def records(self, place: ListenAddress, stop: int) -> Iterator[Spooled]:
        """The records of a file from a place on, up to an offset."""
        with self._path(place.segment).open("rb") as file:
            file.seek(place.offset)
            offset = place.offset
            while offset < stop and (line := file.readline()):
                offset += len(line)
                yield Spooled(unsealed(line), ListenAddress(place.segment, offset))
        if offset < stop:  # The file is shorter than it was: what is missing will not come back.
            yield Spooled(None, ListenAddress(place.segment, stop))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}{_SUFFIX}"


def _cut(path: Path) -> int:
    """Cut what stands behind the last whole record of a file, as a crash may leave it; gives the octets that stay."""
    offset = good = 0
    with path.open("r+b") as file:
        for line in file:
            offset += len(line)
            if unsealed(line) is not None:
                good = offset
        if good < offset:
            log.warning("spool.cut", file=str(path), octets=offset - good)
            file.truncate(good)
            os.fsync(file.fileno())
    return good
