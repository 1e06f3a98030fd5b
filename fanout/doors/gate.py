"""How many connections a node takes, of everybody and of one address, whatever they speak."""

from __future__ import annotations

from collections import Counter


class Gate:
    """Counts open connections. All listeners of a node share one, as they share its file descriptors.

    :ivar total: connections that are open.
    """

    def __init__(self, connections: int = 18_000, per_address: int = 10_000) -> None:
        """
        :param connections: below the limit of file descriptors, so that accepting never fails half-way.
        :param per_address: large, because thousands of phones may sit behind one carrier's NAT; 0 for no limit.
        """
        self._connections = connections
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self.total = 0

    def admit(self, address: str) -> bool:
        """Whether one more may come in; then it counts until :meth:`closed`."""
        if self.total >= self._connections or 0 < self._per_address <= self._open[address]:
            return False
        self.total += 1
        self._open[address] += 1
        return True

    def closed(self, address: str) -> None:
        """An admitted connection is gone."""
        self.total -= 1
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]

    def of(self, address: str) -> int:
        """How many connections of this address are open."""
        return self._open[address]
