"""How many subscriptions a node holds, of everybody and of one address: they are what its memory goes to."""

from __future__ import annotations

from collections import Counter

from fanout.address import neighbourhood


class Quota:
    """Counts what is held. An address is one of IPv4, or a /64 of IPv6.

    :ivar total: how many are held.
    """

    def __init__(self, total: int = 200_000, per_address: int = 50_000) -> None:
        """:param per_address: 0 for no limit."""
        self._most = total
        self._per_address = per_address
        self._held: Counter[str] = Counter()
        self.total = 0

    def take(self, address: str) -> bool:
        """Whether this address may have one more; then it counts until :meth:`give_back`."""
        neighbours = neighbourhood(address)
        if self.total >= self._most or 0 < self._per_address <= self._held[neighbours]:
            return False
        self.total += 1
        self._held[neighbours] += 1
        return True

    def give_back(self, address: str) -> None:
        """One of those taken is no longer held."""
        neighbours = neighbourhood(address)
        self.total -= 1
        self._held[neighbours] -= 1
        if self._held[neighbours] <= 0:
            del self._held[neighbours]
