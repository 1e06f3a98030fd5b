"""Figures about the traffic of a node, for pages and metrics.

:class:`ClientCounts` counts the connected clients in the servers and the hub when it is asked; it stores nothing.
:class:`Rates` stores how much happened in each of the last intervals, for charts. :class:`ReactorLag` measures the
delay of the reactor: every client notices when something keeps the reactor busy.
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
    """A client that reads more slowly than messages are sent to it.

    :ivar address: its IP address.
    :ivar protocol: its protocol.
    :ivar waiting: messages and answers that wait for it here. How many the kernel holds is not known.
    :ivar octets: the octets of these.
    :ivar dropped: messages dropped since it connected.
    :ivar blocked: whether its connection accepts nothing at this moment.
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
        :param hub: the hub of the node.
        :param connections: STOMP clients, over TCP or WebSocket.
        :param pending: polls and event streams.
        :param sockets: WebSockets; those without STOMP are players.
        """
        self._hub = hub
        self._connections = connections
        self._pending = pending
        self._sockets = sockets

    def clients(self) -> dict[tuple[str, str], int]:
        """How many clients there are of each protocol and version. The version is empty if the protocol has none, or
        before CONNECT.
        """
        counts: Counter[tuple[str, str]] = Counter((each.protocol, each.version) for each in self._connections)
        counts.update((each.protocol, "") for each in self._pending)
        stomp = sum(count for (protocol, _), count in counts.items() if protocol == _STOMP_WEBSOCKET)
        if len(self._sockets) > stomp:
            counts["player", ""] = len(self._sockets) - stomp
        return dict(counts)

    def total(self) -> int:
        """The number of clients."""
        return sum(self.clients().values())

    def subscriptions(self) -> int:
        """The number of subscriptions to topics."""
        return sum(len(cohort.members) for cohort in self._hub.cohorts())

    def of_topic(self, topic: str) -> dict[str, int]:
        """The number of subscribers of a topic, by protocol."""
        return dict(Counter(member.protocol for member in set(self._hub.listeners(topic))))

    def busiest(self, limit: int) -> list[tuple[str, int]]:
        """The topics with the most subscriptions, and the number of these."""
        counts: Counter[str] = Counter()
        for cohort in self._hub.cohorts():
            counts[cohort.topic] += len(cohort.members)
        return counts.most_common(limit)

    def services(self, service_of: Callable[[str], str]) -> dict[str, int]:
        """The number of clients that subscribe to any topic of a service, by service."""
        members: dict[str, set[Subscriber]] = {}
        for cohort in self._hub.cohorts():
            members.setdefault(service_of(cohort.topic), set()).update(cohort.members)
        return {service: len(found) for service, found in members.items()}

    def slowest(self, limit: int) -> list[Slow]:
        """The slowest clients: those with the most waiting or dropped messages. Clients without any of these are left
        out.
        """
        members = {member for cohort in self._hub.cohorts() for member in cohort.members}
        return nlargest(limit, _slow(members), key=lambda each: (each.octets, each.dropped))


def _slow(members: Iterable[Subscriber]) -> Iterator[Slow]:
    for member in members:
        outbox = member.outbox
        if outbox is not None and (len(outbox) or outbox.dropped):
            waiting = len(outbox)
            yield Slow(member.address, member.protocol, waiting, outbox.octets, outbox.dropped, outbox.blocked)


class Rates:
    """Reads counters regularly, and stores how much they grew per second. The number of stored values is limited."""

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
        :param counters: functions by name, whose values only grow.
        :param levels: functions by name, whose values go up and down, and are stored unchanged.
        :param interval: seconds between two calls of :meth:`sample`.
        :param kept: how many intervals are stored.
        """
        self.interval = interval
        self._clock = clock
        self._counters = dict(counters)
        self._levels = dict(levels)
        self._before: list[float] | None = None
        self._at = 0.0
        self._points: deque[tuple[float, list[float]]] = deque(maxlen=kept)

    def sample(self) -> None:
        """Read the counters. Must be called once per interval."""
        now, values = self._clock(), [read() for read in self._counters.values()]
        if self._before is not None and now > self._at:
            grown = [(value - before) / (now - self._at) for value, before in zip(values, self._before, strict=True)]
            self._points.append((now, grown + [read() for read in self._levels.values()]))
        self._before, self._at = values, now

    def report(self, since: float = 0.0) -> dict[str, Any]:
        """Columns of equal length, for charts: ``times`` (Unix time in seconds), and one for each counter and level.

        :param since: Unix time in seconds; earlier intervals are left out.
        """
        points = [point for point in self._points if point[0] > since]
        names = [*self._counters, *self._levels]
        columns = {name: [round(values[at], 3) for _, values in points] for at, name in enumerate(names)}
        return {"interval": self.interval, "times": [round(time, 3) for time, _ in points], **columns}


INTERVAL = 0.5
"""Seconds between two measurements. A publish to 5,000 clients takes a tenth of this time."""
KEPT = 120
"""Number of measurements of which the worst is reported. They cover a minute, so a scrape every 15 or 30 s misses no
delay."""


class ReactorLag:
    """Measures how much later than planned the reactor calls it.

    :ivar total: sum of the delays since the start, in seconds.
    """

    def __init__(self, clock: Callable[[], float], interval: float = INTERVAL, kept: int = KEPT) -> None:
        """
        :param clock: a monotonic clock in seconds.
        :param interval: seconds between two calls of :meth:`sample`.
        :param kept: how many calls :attr:`worst` covers.
        """
        self.total = 0.0
        self.interval = interval
        self._clock = clock
        self._due: float | None = None
        self._recent: deque[float] = deque(maxlen=kept)

    def sample(self) -> None:
        """Measure the delay. Must be called by the reactor once per interval."""
        now = self._clock()
        if self._due is not None:
            late = max(0.0, now - self._due)
            self.total += late
            self._recent.append(late)
        self._due = now + self.interval

    @property
    def worst(self) -> float:
        """The longest delay in the last minute, in seconds."""
        return max(self._recent, default=0.0)
