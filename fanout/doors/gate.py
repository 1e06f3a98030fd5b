"""How many connections a node takes, of everybody and of one address, and how fast, whatever they speak."""

from __future__ import annotations

from collections import Counter

from fanout.address import neighbourhood
from fanout.pace import Pace


class Gate:
    """Counts open connections. All listeners of a node share one, as they share its file descriptors.

    An address is one of IPv4, or a /64 of IPv6: that is what one client can have.

    :ivar total: connections that are open.
    """

    def __init__(self, connections: int = 18_000, per_address: int = 10_000, pace: Pace | None = None) -> None:
        """
        :param connections: below the limit of file descriptors, so that accepting never fails half-way.
        :param per_address: large, because thousands of phones may sit behind one carrier's NAT; 0 for no limit.
        :param pace: how fast an address may open them; None for no limit.
        """
        self._connections = connections
        self._per_address = per_address
        self._pace = pace
        self._open: Counter[str] = Counter()
        self.total = 0

    def admit(self, address: str) -> bool:
        """Whether one more may come in; then it counts until :meth:`closed`."""
        neighbours = neighbourhood(address)
        if self.total >= self._connections or 0 < self._per_address <= self._open[neighbours]:
            return False
        if self._pace is not None and not self._pace.allow(neighbours):
            return False
        self.total += 1
        self._open[neighbours] += 1
        return True

    def closed(self, address: str) -> None:
        """An admitted connection is gone."""
        neighbours = neighbourhood(address)
        self.total -= 1
        self._open[neighbours] -= 1
        if self._open[neighbours] <= 0:
            del self._open[neighbours]

    def of(self, address: str) -> int:
        """How many connections of this address are open."""
        return self._open[neighbourhood(address)]
