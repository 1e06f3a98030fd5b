"""The clients that are connected now, counted by walking through the servers and the hub; nothing is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest

from fanout.http.pending import PendingRequest
from fanout.hub.hub import Hub
from fanout.hub.subscriber import Subscriber
from fanout.stomp_server.server import ServedConnection

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
        """How many times somebody listens to a topic."""
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
