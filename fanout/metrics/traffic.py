"""Figures about the traffic of a node, for pages and metrics.

:class:`ClientCounts` counts the connected clients by walking through the servers and the hub; nothing is kept.
:class:`Rates` keeps how much happened in each of the last intervals: what a page draws over time.
:class:`ReactorLag` measures how late the reactor comes round: every client notices when something keeps it busy.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nlargest
from typing import Any

from fanout.http.pending_requests import PendingRequest
from fanout.hub.hub import Hub
from fanout.hub.subscriber import Subscriber
from fanout.stomp_server.stomp_server import ServedConnection

_STOMP_WEBSOCKET = "stomp-websocket"


@dataclass(frozen=True, slots=True)
class Slow:
    """A client that does not read as fast as it is sent.

    :ivar waiting: messages and answers that wait for it here; what the kernel holds is not known.
    :ivar octets: how many octets these are.
    :ivar dropped: messages it did not get, since it came.
    :ivar blocked: whether its connection takes nothing at this moment.
    """

    address: str
    protocol: str
    waiting: int
    octets: int
    dropped: int
    blocked: bool


class ClientCounts:
    """Counts the clients of a node."""

    def __init__(
        self,
        hub: Hub,
        connections: Collection[ServedConnection],
        pending: Collection[PendingRequest] = (),
        sockets: Collection[object] = (),
    ) -> None:
        """
        :param connections: STOMP clients, over TCP or WebSocket.
        :param pending: polls and event streams.
        :param sockets: WebSockets; those that carry no STOMP are players.
        """
        self._hub = hub
        self._connections = connections
        self._pending = pending
        self._sockets = sockets

    def clients(self) -> dict[tuple[str, str], int]:
        """How many there are of each protocol and version; the version is empty where there is none (yet)."""
        counts: Counter[tuple[str, str]] = Counter((each.protocol, each.version) for each in self._connections)
        counts.update((each.protocol, "") for each in self._pending)
        stomp = sum(count for (protocol, _), count in counts.items() if protocol == _STOMP_WEBSOCKET)
        if len(self._sockets) > stomp:
            counts["player", ""] = len(self._sockets) - stomp
        return dict(counts)

    def total(self) -> int:
        """How many there are."""
        return sum(self.clients().values())

    def subscriptions(self) -> int:
        """The number of subscriptions to topics."""
        return sum(len(cohort.members) for cohort in self._hub.cohorts())

    def of_topic(self, topic: str) -> dict[str, int]:
        """Protocol → how many clients listen to this topic."""
        return dict(Counter(member.protocol for member in set(self._hub.listeners(topic))))

    def busiest(self, limit: int) -> list[tuple[str, int]]:
        """The topics with most subscriptions, and how many."""
        counts: Counter[str] = Counter()
        for cohort in self._hub.cohorts():
            counts[cohort.topic] += len(cohort.members)
        return counts.most_common(limit)

    def services(self, service_of: Callable[[str], str]) -> dict[str, int]:
        """Service → how many clients listen to any of its topics."""
        members: dict[str, set[Subscriber]] = {}
        for cohort in self._hub.cohorts():
            members.setdefault(service_of(cohort.topic), set()).update(cohort.members)
        return {service: len(found) for service, found in members.items()}

    def slowest(self, limit: int) -> list[Slow]:
        """The clients for which most waits or was dropped; those for whom nothing was are not slow."""
        members = {member for cohort in self._hub.cohorts() for member in cohort.members}
        return nlargest(limit, _slow(members), key=lambda each: (each.octets, each.dropped))


def _slow(members: Iterable[Subscriber]) -> Iterator[Slow]:
    for member in members:
        outbox = member.outbox
        if outbox is not None and (len(outbox) or outbox.dropped):
            waiting = len(outbox)
            yield Slow(member.address, member.protocol, waiting, outbox.octets, outbox.dropped, outbox.blocked)


class Rates:
    """Reads counters again and again, and keeps what they grew by, per second. Bounded."""

    def __init__(
        self,
        clock: Callable[[], float],
        counters: Mapping[str, Callable[[], float]],
        levels: Mapping[str, Callable[[], float]],
        *,
        interval: float = 5.0,
        kept: int = 360,
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param counters: name → what only grows.
        :param levels: name → what goes up and down, and is kept as it is.
        :param interval: seconds between two calls of :meth:`look`.
        :param kept: how many intervals are remembered.
        """
        self.interval = interval
        self._clock = clock
        self._counters = dict(counters)
        self._levels = dict(levels)
        self._before: list[float] | None = None
        self._at = 0.0
        self._points: deque[tuple[float, list[float]]] = deque(maxlen=kept)

    def sample(self) -> None:
        """To be called once per interval."""
        now, values = self._clock(), [read() for read in self._counters.values()]
        if self._before is not None and now > self._at:
            grown = [(value - before) / (now - self._at) for value, before in zip(values, self._before, strict=True)]
            self._points.append((now, grown + [read() for read in self._levels.values()]))
        self._before, self._at = values, now

    def report(self, since: float = 0.0) -> dict[str, Any]:
        """Columns of equal length, as charts take them: ``times`` (Unix, s) and one for each counter and level.

        :param since: only what came later than this Unix time.
        """
        points = [point for point in self._points if point[0] > since]
        names = [*self._counters, *self._levels]
        columns = {name: [round(values[at], 3) for _, values in points] for at, name in enumerate(names)}
        return {"interval": self.interval, "times": [round(time, 3) for time, _ in points], **columns}


INTERVAL = 0.5
"""Seconds between two looks. A publish to 5,000 clients takes a tenth of that."""
KEPT = 120
"""Looks whose worst is told: a minute, so that no scrape every 15 or 30 s misses a stall."""


class ReactorLag:
    """Measures how much later than planned its calls come.

    :ivar total: seconds of lateness since the start.
    """

    def __init__(self, clock: Callable[[], float], interval: float = INTERVAL, kept: int = KEPT) -> None:
        """
        :param clock: seconds, monotonic.
        :param interval: seconds between two calls of :meth:`look`.
        :param kept: how many of them :attr:`worst` looks back.
        """
        self.total = 0.0
        self.interval = interval
        self._clock = clock
        self._due: float | None = None
        self._recent: deque[float] = deque(maxlen=kept)

    def sample(self) -> None:
        """To be called by the reactor, once per interval."""
        now = self._clock()
        if self._due is not None:
            late = max(0.0, now - self._due)
            self.total += late
            self._recent.append(late)
        self._due = now + self.interval

    @property
    def worst(self) -> float:
        """Seconds, of the calls of the last minute."""
        return max(self._recent, default=0.0)
