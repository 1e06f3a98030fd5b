"""How many connections a node takes, of everybody and of one address, and how fast, whatever they speak."""

from __future__ import annotations

from collections import Counter

from fanout.address import neighbourhood
from fanout.pace import Pace


class Gate:
    """Counts open connections. All listeners of a node share one, as they share its file descriptors.

    An address is one of IPv4, or a /64 of IPv6: that is what one client can have.

    :ivar connections: how many there may be: fewer than file descriptors, so that accepting never fails half-way.
    :ivar per_address: of one address: large, because thousands of phones may sit behind one carrier's NAT; 0: no limit.
    :ivar pace: how fast an address may open them; None for no limit.
    :ivar total: connections that are open.
    :ivar refused: those turned away, by what they were too many for.
    """

    def __init__(self, connections: int = 18_000, per_address: int = 10_000, pace: Pace | None = None) -> None:
        self.connections = connections
        self.per_address = per_address
        self.pace = pace
        self.refused: Counter[str] = Counter(connections=0, connections_per_address=0, pace=0)
        self._open: Counter[str] = Counter()
        self.total = 0

    def admit(self, address: str) -> bool:
        """Whether one more may come in; then it counts until :meth:`closed`."""
        neighbours = neighbourhood(address)
        if reason := self._reason_against(neighbours):
            self.refused[reason] += 1
            return False
        self.total += 1
        self._open[neighbours] += 1
        return True

    def _reason_against(self, neighbours: str) -> str:
        if self.total >= self.connections:
            return "connections"
        if 0 < self.per_address <= self._open[neighbours]:
            return "connections_per_address"
        return "" if self.pace is None or self.pace.allow(neighbours) else "pace"

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
