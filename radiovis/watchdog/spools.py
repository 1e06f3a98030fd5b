"""The spools of one folder, which several processes may share. Every call here blocks.

Each process has a spool of its own: the folder itself, or ``2``, ``3`` and so on within it, the first that no other
process holds. So nobody waits for another one, which may be frozen and hold its spool for long. What a process left
behind when it ended is sent by any other one of the folder, before its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from radiovis.watchdog.spool import MAX_BYTES, SEGMENT_BYTES, Spool, SpoolError, SpoolInUse
from radiovis.watchdog.spool_cursor import ListenAddress
from radiovis.watchdog.spool_segments import Spooled

MOST = 16
"""Spools in one folder. Two are usual; those of frozen processes count, and those left behind until they are sent."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Spools:
    """Our own spool, and those left behind that we send first.

    One thread may call :meth:`append` and :meth:`adopt` while another calls :meth:`read` and :meth:`advance`.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        """
        :param folder: made if it is not there, its parent is not.
        :param max_bytes: of each spool; see :class:`~radiovis.watchdog.spool.Spool`.
        :param segment_bytes: of one file of a spool.
        """
        self._folder = folder
        self._spools = [
            Spool(each, max_bytes=max_bytes, segment_bytes=segment_bytes)
            for each in (folder, *(folder / str(number) for number in range(2, MOST + 1)))
        ]
        self._own = self._reading = self._spools[0]
        self._adopted: list[Spool] = []
        self._broken: list[Spool] = []  # For the next process to try again.

    @property
    def waiting(self) -> int:
        """Records not yet sent, those we adopted included."""
        return self._own.waiting + sum(each.waiting for each in self._adopted)

    def open(self) -> None:
        """Take the first spool that is free.

        :raises SpoolError: other processes use all of them, or the disk refuses. May be called again.
        """
        for spool in self._spools:
            with suppress(SpoolInUse):
                spool.open()
                self._own = self._reading = spool
                return
        raise SpoolInUse(f"all {MOST} spools in {self._folder} are in use: end processes that are frozen")

    def adopt(self) -> list[bytes]:
        """Take what others have left behind, to be sent before our own; gives the last records of it."""
        others = [each for each in self._spools if each not in (self._own, *self._adopted, *self._broken)]
        return [record for each in others if each.folder.is_dir() for record in self._adopt(each)]

    def _adopt(self, spool: Spool) -> list[bytes]:
        try:
            spool.open()
            records = list(spool.recent()) if spool.waiting else []
        except SpoolInUse:
            return []
        except SpoolError as error:
            self._leave(spool, error)
            return []
        if not spool.waiting:
            spool.close()
            return []
        log.info("spool.adopted", folder=str(spool.folder), waiting=spool.waiting)
        self._adopted.append(spool)
        return records

    def _leave(self, spool: Spool, error: SpoolError) -> None:
        """Our own must not wait for it."""
        log.error("spool.left_alone", error=str(error))
        self._broken.append(spool)
        spool.close()

    def recent(self) -> list[bytes]:
        """The last records of our own, sent or not.

        :raises SpoolError: the disk refuses.
        """
        return list(self._own.recent())

    def append(self, records: Sequence[bytes]) -> None:
        """As :meth:`~radiovis.watchdog.spool.Spool.append`, to our own."""
        self._own.append(records)

    # Sending: the records of one call of read() are settled, or rewound, before the next call.

    def read(self, limit: int) -> list[Spooled]:
        """The next records, all of one spool; empty when there are none.

        :raises SpoolError: the disk does not give back our own.
        """
        while self._adopted:
            self._reading = self._adopted[0]
            if records := self._read_adopted(self._reading, limit):
                return records
            self._adopted.remove(self._reading)  # Not before it is closed: adopt() may look at any moment.
        self._reading = self._own
        return self._own.read(limit)

    def _read_adopted(self, spool: Spool, limit: int) -> list[Spooled]:
        try:
            if records := spool.read(limit):
                return records
        except SpoolError as error:
            self._leave(spool, error)
        spool.close()
        return []

    def rewind(self) -> None:
        """What was read and not sent is read again."""
        self._reading.rewind()

    def advance(self, place: ListenAddress) -> None:
        """As :meth:`~radiovis.watchdog.spool.Spool.advance`, of what was read last."""
        self._reading.advance(place)

    def set_aside(self, record: bytes) -> bool:
        """As :meth:`~radiovis.watchdog.spool.Spool.set_aside`, where the record was read."""
        return self._reading.set_aside(record)

    def close(self) -> None:
        """Let go of all."""
        for spool in (self._own, *self._adopted):
            spool.close()
        self._adopted.clear()
