"""How far the spool has been sent, remembered over restarts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from radiovis.watchdog.spool_line import sealed, unsealed


class ListenAddress(NamedTuple):
    """A place in the spool.

    :ivar segment: number of the file.
    :ivar offset: octets from its beginning.
    """

    segment: int
    offset: int


class Cursor:
    """A file of one line, always of the same length and written over in place.

    Not a new file renamed over the old one: that needs free space, and on a full disk the spool can only shrink by
    what the cursor says was sent. So few octets lie in one sector, which a disk writes whole or not at all; the sum in
    the line would tell.
    """

    def __init__(self, path: Path) -> None:
        """:raises OSError: it cannot be made or written."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.damaged = False
        self.place = self._read()

    def _read(self) -> ListenAddress | None:
        line = os.pread(self._file, 100, 0)
        record = unsealed(line)
        if record is None:
            self.damaged = bool(line)
            return None
        segment, offset = record.split()
        return ListenAddress(int(segment), int(offset))

    def write(self, place: ListenAddress) -> None:
        """Remember a place. It survives this process at once, and the machine after some seconds.

        An fsync here would cost as much as sending the entry does, and save only that, after a power failure, the
        last seconds' entries are sent again.

        :raises OSError: the disk refuses.
        """
        os.pwrite(self._file, sealed(b"%020d %020d" % place), 0)
        self.place = place

    def close(self) -> None:
        """Write it out and close it."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)
