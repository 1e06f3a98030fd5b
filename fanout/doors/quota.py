"""How many subscriptions a node holds, of everybody and of one address: they are what its memory goes to."""

from __future__ import annotations

from collections import Counter

from fanout.address import neighbourhood


class Quota:
    """Counts what is held. An address is one of IPv4, or a /64 of IPv6.

    :ivar most: how many there may be.
    :ivar per_address: of one address; 0 for no limit.
    :ivar total: how many are held.
    :ivar refused: those that were too many, by what for.
    """

    def __init__(self, total: int = 200_000, per_address: int = 50_000) -> None:
        self.most = total
        self.per_address = per_address
        self.refused: Counter[str] = Counter(subscriptions=0, subscriptions_per_address=0)
        self._held: Counter[str] = Counter()
        self.total = 0

    def take(self, address: str) -> bool:
        """Whether this address may have one more; then it counts until :meth:`give_back`."""
        neighbours = neighbourhood(address)
        if self.total >= self.most:
            self.refused["subscriptions"] += 1
            return False
        if 0 < self.per_address <= self._held[neighbours]:
            self.refused["subscriptions_per_address"] += 1
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
