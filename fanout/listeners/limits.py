"""How many connections a node takes, of everybody and of one address, and how fast, whatever they speak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable

from fanout.cache.bounded_dict import BoundedDict
from fanout.listeners.address import neighbourhood

# How fast each of many may go on: a burst at once, then so many a second. Sans-IO.

_KEYS = 20_000  # remembered; beyond it the one that came longest ago is forgotten, and starts anew


class TokenBucket:
    """A bucket of tokens for each key, kept as one number: the time at which the bucket will be full again (GCRA).

    :param clock: seconds, never going back.
    :param burst: what a key that was quiet may do at once.
    :param per_second: what it may do from then on; 0 for no limit.
    """

    def __init__(self, clock: Callable[[], float], burst: int, per_second: float) -> None:
        self._clock = clock
        self._step = 1 / per_second if per_second > 0 else 0.0
        self._depth = burst * self._step
        self._full_at: BoundedDict[Hashable, float] = BoundedDict(_KEYS)

    def allow(self, key: Hashable) -> bool:
        """Whether the key may do one more now; then it has done it."""
        if not self._step:
            return True
        now = self._clock()
        full_at = max(now, self._full_at.get(key, now)) + self._step
        if full_at - now > self._depth:
            return False
        self._full_at[key] = full_at
        return True

    def __len__(self) -> int:
        return len(self._full_at)


class ConnectionLimit:
    """Counts open connections. All listeners of a node share one, as they share its file descriptors.

    An address is one of IPv4, or a /64 of IPv6: that is what one client can have.

    :ivar connections: how many there may be: fewer than file descriptors, so that accepting never fails half-way.
    :ivar per_address: of one address: large, because thousands of phones may sit behind one carrier's NAT; 0: no limit.
    :ivar bucket: how fast an address may open them; None for no limit.
    :ivar total: connections that are open.
    :ivar refused: those turned away, by what they were too many for.
    """

    def __init__(self, connections: int = 18_000, per_address: int = 10_000, bucket: TokenBucket | None = None) -> None:
        self.connections = connections
        self.per_address = per_address
        self.bucket = bucket
        self.refused: Counter[str] = Counter(connections=0, connections_per_address=0, bucket=0)
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
        return "" if self.bucket is None or self.bucket.allow(neighbours) else "pace"

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


# How many subscriptions a node holds, of everybody and of one address: they are what its memory goes to.


class SubscriptionLimit:
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

    def take(self, address: str, number: int = 1) -> bool:
        """Whether this address may have so many more, all or none; then they count until :meth:`give_back`."""
        neighbours = neighbourhood(address)
        if self.total + number > self.most:
            self.refused["subscriptions"] += 1
            return False
        if 0 < self.per_address < self._held[neighbours] + number:
            self.refused["subscriptions_per_address"] += 1
            return False
        self.total += number
        self._held[neighbours] += number
        return True

    def give_back(self, address: str, number: int = 1) -> None:
        """So many of those taken are no longer held."""
        neighbours = neighbourhood(address)
        self.total -= number
        self._held[neighbours] -= number
        if self._held[neighbours] <= 0:
            del self._held[neighbours]
