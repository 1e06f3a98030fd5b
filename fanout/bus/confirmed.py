"""Publishes the broker has confirmed a short while ago. No sockets and no clock.

A confirm means that the broker has a message, not that everybody was given it: the nodes' queues are transient, so what
still lay in them when a broker crashed is lost. Its publisher therefore keeps it for a while, and offers it again over
the next connection; who has seen it drops the copy (:mod:`fanout.bus.serial`).
"""

from __future__ import annotations

from collections import deque

from fanout.bus.unconfirmed import Publish


class Confirmed:
    """The last few confirmed publishes.

    :param seconds: how long each is kept; 0 keeps none.
    :param max_count: how many at most; beyond it the oldest go.
    :param max_bytes: how many octets at most, likewise.
    """

    def __init__(self, seconds: float, max_count: int, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: deque[tuple[float, Publish]] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, publish: Publish, now: float) -> None:
        """The broker has just confirmed this one."""
        self._kept.append((now, publish))
        self._bytes += publish.size
        self._trim(now)

    def take(self, now: float) -> list[Publish]:
        """Those confirmed not too long ago, which are forgotten here; in the order of their confirms."""
        self._trim(now)
        taken = [publish for _, publish in self._kept]
        self._kept.clear()
        self._bytes = 0
        return taken

    def _trim(self, now: float) -> None:
        while self._kept and (
            self._kept[0][0] <= now - self._seconds
            or len(self._kept) > self._max_count
            or self._bytes > self._max_bytes
        ):
            self._bytes -= self._kept.popleft()[1].size
