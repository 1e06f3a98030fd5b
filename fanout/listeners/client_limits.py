"""What clients may cost, all together and those of one address, whatever protocol they speak.

* :class:`ConnectionLimit`: open connections. A full node takes a place from the address that has the most.
* :class:`SubscriptionLimit`: subscriptions.
* :class:`InputMemory`: memory of what was sent and is not complete.
* :class:`FairTurns`: work in one turn of the reactor.

An address is one of IPv4, or a /64 of IPv6: that is what one client can have. Each limit is fair: at the limit, those
who use the most are refused first, by address and then by client.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import ClassVar, Protocol

from fanout.cache.bounded_dict import BoundedDict
from fanout.listeners.address import NetworkList, neighbourhood
from fanout.settings.field import MAX_PORT, SettingsGroup, constant, setting

_KEYS = 20_000
"""Addresses whose rate is remembered; beyond it the one that came longest ago is forgotten, and starts anew."""

# The constants of ports and connections are here, since a command that only reads the settings should start without
# Twisted's sockets.
PROXY_HEADER_SECONDS: float = 5
"""Seconds for a complete PROXY header. A proxy sends it with the first octets, so only a broken proxy needs longer."""
ACCEPT_SLICE = 50
"""Connections accepted in one turn of the reactor, so that many new ones do not delay the clients that are connected.
With their CONNECT and SUBSCRIBE a slice takes about 20 ms."""
KEEP_ALIVE_SECONDS = 60
"""Seconds of silence after which TCP probes a client; a client that has vanished is disconnected after twice that time.
Without it Linux waits two hours. More frequent probes would use the battery of phones."""
INPUT_BYTES = 33_554_432
"""Octets of memory that unfinished input of all clients may take: parts of frames and of request heads, and frames that
wait for a COMMIT, for an answer, or for their turn. 32 MiB are 128 of the largest frames at the same moment; publishers
send frames of some hundred octets, whole."""
TURN_FRAMES = 128
"""Frames that are worked on in one turn of the reactor before clients are given what waits for them. Most frames take
20 to 100 µs, so that is some 5 ms; a turn by itself costs 0.1 ms."""
SLICE_FRAMES = 16
"""Frames of one client in a row while several have more of them than fit into a turn: about 1 ms."""
LINGER_SECONDS: float = 1
"""Seconds in which we still read from a client that we disconnect, so that a TCP reset does not discard the last ERROR
or Close frame on its way. One round trip is enough; the node waits as long when it shuts down."""


class SecuritySettings(SettingsGroup):
    """TLS and proxies."""

    retired: ClassVar[Mapping[str, str]] = {"PROXY_HEADER_SECONDS": constant(PROXY_HEADER_SECONDS, "s")}

    TLS_CERTIFICATE: str = setting(
        "",
        "File with the certificate and its chain (PEM), read again when it changes; empty = no TLS.",
        why="Set it if clients connect with TLS to the node itself, not to a proxy in front of it.",
    )
    TLS_KEY: str = setting(
        "",
        "File with the private key of TLS_CERTIFICATE (PEM, without a password); empty = in the same file.",
        why="Set it if your certificate tool writes the key to a file of its own.",
    )
    STOMP_TLS_PORT: int = setting(
        61614,
        "The port at STOMP_IP for STOMP over TLS, open if there is a certificate; 0 = none.",
        why="Set it to 0 if the certificate is only for HTTPS, or change it for a second node on the machine.",
        ge=0,
        le=MAX_PORT,
    )
    HTTPS_PORT: int = setting(
        8443,
        "The port at HTTP_IP for HTTPS and wss://, open if there is a certificate; 0 = none.",
        why="Set it to 443 if browsers connect without a proxy in front.",
        ge=0,
        le=MAX_PORT,
    )
    PROXY_FROM: NetworkList = setting(
        "",
        "Networks of proxies that send a PROXY header (v1 or v2), with commas; hosts there can claim any address.",
        why="Set it if a load balancer is in front: limits and logs then count the clients' own addresses.",
    )


class ConnectionSettings(SettingsGroup):
    """Connections."""

    retired: ClassVar[Mapping[str, str]] = {
        "ACCEPT_SLICE": constant(ACCEPT_SLICE, "connections"),
        "TCP_KEEPALIVE_SECONDS": constant(KEEP_ALIVE_SECONDS, "s"),
        "LINGER_SECONDS": constant(LINGER_SECONDS, "s"),
    }

    MAX_CONNECTIONS: int = setting(
        18_000,
        "Most open connections of one node, of all protocols together.",
        "connections",
        why="Raise it with the limit of open files (LimitNOFILE) on a larger machine; lower it if memory is short.",
        ge=1,
        reload=True,
    )
    MAX_CONNECTIONS_PER_ADDRESS: int = setting(
        10_000,
        "Most open connections of one address; 0 = no limit.",
        "connections",
        why="Lower it on a small network; behind a mobile operator's NAT, or a proxy, are thousands of listeners.",
        ge=0,
        reload=True,
    )
    CONNECT_BURST: int = setting(
        10_000,
        "Connections that one address may open at once.",
        "connections",
        why="Raise it if more listeners share one NAT address: they all return together after an interruption.",
        ge=1,
        reload=True,
    )
    CONNECT_RATE: float = setting(
        1_000,
        "Connections a second that one address may open beyond CONNECT_BURST; 0 = no limit.",
        "1/s",
        why="Lower it if single addresses flood the node with connections; 0 for a proxy without a PROXY header.",
        ge=0,
        reload=True,
    )


class SubscriptionSettings(SettingsGroup):
    """Subscriptions."""

    MAX_SUBSCRIPTIONS_PER_ADDRESS: int = setting(
        50_000,
        "Most subscriptions of all clients of one address; 0 = no limit.",
        "subscriptions",
        why="Raise it if thousands of listeners share one NAT address; most clients need two.",
        ge=0,
        reload=True,
    )
    MAX_SUBSCRIPTIONS_TOTAL: int = setting(
        200_000,
        "Most subscriptions of all clients of one node.",
        "subscriptions",
        why="Adapt it to the machine's memory: each subscription takes about 1 KB.",
        ge=1,
        reload=True,
    )


_ROUNDING = 1e-6
"""Seconds. Sums and differences of clock times are not exact, and a bucket that is full must never refuse."""


class TokenBucket:
    """Limits the rate of each of many keys: a burst at once, then so many a second. Sans-IO.

    The bucket of a key is one number: the time at which it will be full again (GCRA).

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
        missing = max(0.0, self._full_at.get(key, now) - now) + self._step
        if missing > self._depth + _ROUNDING:
            return False
        self._full_at[key] = now + missing
        return True

    def __len__(self) -> int:
        return len(self._full_at)


class AdmittedConnection(Protocol):
    """A connection that may have to go when the node is full."""

    @property
    def heard_at(self) -> float:
        """When the client was last heard, on :attr:`ConnectionLimit.clock`; now if it is a station that logged in."""
        ...

    def close_for_others(self) -> None:
        """Close the connection, after this call: another address has fewer and needs the place."""
        ...


_LOOKED_AT = 32
"""Connections of an address, the oldest, of which the quietest is closed: to look at all of 10,000 takes too long."""
_MOST_LEAVING = 100
"""Connections that are closing because the node is full: they still have their file descriptors, for LINGER_SECONDS at
most, and so have those that came in their place."""


class ConnectionLimit:
    """Counts open connections. All listeners of a node share one, as they share its file descriptors.

    While there is room, nobody is closed, however silent. A full node takes one who comes from an address with fewer
    connections than another address has, and closes one of the latter; so each address gets an equal share.

    :ivar total: connections that are open.
    :ivar refused: connections that were refused, by the limit that they exceeded.
    :ivar closed_for_others: connections that were closed because the node was full.
    :ivar clock: seconds, monotonic.
    """

    def __init__(self, settings: ConnectionSettings | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused: Counter[str] = Counter(connections=0, connections_per_address=0, pace=0)
        self.closed_for_others = 0
        self.total = 0
        self.clock = clock
        self._open: Counter[str] = Counter()
        self._admitted: dict[str, dict[AdmittedConnection, None]] = {}
        self._with: dict[int, dict[str, None]] = {}  # number of connections → the addresses that have so many
        self._most = 0
        self._leaving: set[AdmittedConnection] = set()
        self._settings = settings or ConnectionSettings()
        self._bucket = self._new_bucket()

    @property
    def settings(self) -> ConnectionSettings:
        """The limits. Smaller ones end no connection that is open."""
        return self._settings

    @settings.setter
    def settings(self, settings: ConnectionSettings) -> None:
        before, self._settings = self._settings, settings
        if (before.CONNECT_BURST, before.CONNECT_RATE) != (settings.CONNECT_BURST, settings.CONNECT_RATE):
            self._bucket = self._new_bucket()  # how fast each address was until now is forgotten

    def _new_bucket(self) -> TokenBucket:
        return TokenBucket(self.clock, self._settings.CONNECT_BURST, self._settings.CONNECT_RATE)

    def admit(self, address: str, connection: AdmittedConnection | None = None) -> bool:
        """Whether one more may come in; then it counts until :meth:`closed`.

        :param connection: the connection; one that is not given is not closed for others.
        """
        neighbours = neighbourhood(address)
        if reason := self._reason_against(neighbours):
            self.refused[reason] += 1
            return False
        self.total += 1
        self._count(neighbours, 1)
        if connection is not None:
            self._admitted.setdefault(neighbours, {})[connection] = None
        return True

    def _reason_against(self, neighbours: str) -> str:
        if 0 < self._settings.MAX_CONNECTIONS_PER_ADDRESS <= self._open[neighbours]:
            return "connections_per_address"
        if not self._bucket.allow(neighbours):
            return "pace"
        full = self.total - len(self._leaving) >= self._settings.MAX_CONNECTIONS
        return "connections" if full and not self._make_room(neighbours) else ""

    def _make_room(self, neighbours: str) -> bool:
        """Close a connection of the address with the most, unless the one that comes has as many."""
        most = next(iter(self._with.get(self._most, ())), neighbours)
        if self._most <= self._open[neighbours] + 1 or len(self._leaving) >= _MOST_LEAVING:
            return False
        oldest = list(islice(self._admitted.get(most, ()), _LOOKED_AT))
        if not oldest:
            return False
        connection = min(oldest, key=lambda each: each.heard_at)
        self._forget(most, connection)
        self._leaving.add(connection)
        self._count(most, -1)
        self.closed_for_others += 1
        connection.close_for_others()
        return True

    def closed(self, address: str, connection: AdmittedConnection | None = None) -> None:
        """An admitted connection is gone. :param connection: as for :meth:`admit`."""
        neighbours = neighbourhood(address)
        self.total -= 1
        if connection in self._leaving:
            self._leaving.discard(connection)
            return
        self._count(neighbours, -1)
        if connection is not None:
            self._forget(neighbours, connection)

    def _forget(self, neighbours: str, connection: AdmittedConnection) -> None:
        admitted = self._admitted[neighbours]
        del admitted[connection]
        if not admitted:
            del self._admitted[neighbours]

    def _count(self, neighbours: str, change: int) -> None:
        """Connections of an address came or went, one at a time: so the most that one has changes by one, too."""
        before = self._open[neighbours]
        after = self._open[neighbours] = before + change
        if before:
            del self._with[before][neighbours]
        if after:
            self._with.setdefault(after, {})[neighbours] = None
        else:
            del self._open[neighbours]
        if after > self._most or (before == self._most and not self._with[before]):
            self._most = after
        if before and not self._with[before]:
            del self._with[before]

    def of(self, address: str) -> int:
        """How many connections of this address are open."""
        return self._open[neighbourhood(address)]


class SubscriptionLimit:
    """Counts subscriptions, on which most of a node's memory goes. An address is one of IPv4, or a /64 of IPv6.

    :ivar settings: the limits. Smaller ones end no subscription.
    :ivar total: how many there are.
    :ivar refused: subscriptions that were refused, by the limit that they exceeded.
    """

    def __init__(self, settings: SubscriptionSettings | None = None) -> None:
        self.settings = settings or SubscriptionSettings()
        self.refused: Counter[str] = Counter(subscriptions=0, subscriptions_per_address=0)
        self._held: Counter[str] = Counter()
        self.total = 0

    def take(self, address: str, number: int = 1) -> bool:
        """Whether this address may have so many more, all or none; then they count until :meth:`give_back`."""
        neighbours = neighbourhood(address)
        if self.total + number > self.settings.MAX_SUBSCRIPTIONS_TOTAL:
            self.refused["subscriptions"] += 1
            return False
        if 0 < self.settings.MAX_SUBSCRIPTIONS_PER_ADDRESS < self._held[neighbours] + number:
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


class InputHolder(Protocol):
    """A connection whose client has sent something that is not complete."""

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    def give_up(self) -> None:
        """All clients together hold too much, and this one most: free it now, and end the connection thereafter."""
        ...


_RELIEVED = 0.875
"""Of the limit: how much may still be held when the largest have given up. Sorting takes long, so it should not happen
each time."""


class InputMemory:
    """The memory of what all clients have sent and what is not complete.

    :ivar total: octets that it takes.
    :ivar refused: clients that had to give up.
    """

    def __init__(self, most: int = INPUT_BYTES) -> None:
        """:param most: octets."""
        self.total = 0
        self.refused = 0
        self._most = most
        self._held: dict[str, dict[InputHolder, int]] = {}
        self._sums: Counter[str] = Counter()

    def hold(self, holder: InputHolder, octets: int) -> None:
        """What one client holds has changed. May call :meth:`InputHolder.give_up`, of this one or others."""
        neighbours = neighbourhood(holder.address)
        held = self._held.setdefault(neighbours, {})
        change = octets - held.pop(holder, 0)
        self.total += change
        self._sums[neighbours] += change
        if octets:
            held[holder] = octets
        elif not held:
            del self._held[neighbours], self._sums[neighbours]
        if change > 0 and self.total > self._most:
            self._relieve()

    def _relieve(self) -> None:
        """Of the address that holds most, the client that holds most gives up; again, until there is some room."""
        heap = [(-octets, neighbours) for neighbours, octets in self._sums.items()]
        heapify(heap)
        by_size: dict[str, list[InputHolder]] = {}
        while self.total > self._most * _RELIEVED:
            _, neighbours = heappop(heap)
            holders = by_size.get(neighbours)
            if holders is None:
                held = self._held[neighbours]
                holders = by_size[neighbours] = sorted(held, key=held.__getitem__)
            holder = holders.pop()
            self.hold(holder, 0)
            self.refused += 1
            holder.give_up()
            if holders:
                heappush(heap, (-self._sums[neighbours], neighbours))


class Worker(Protocol):
    """A client that has sent more than is worked on in one turn of the reactor."""

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    def work(self, most: int) -> None:
        """Work on so many frames, and tell :meth:`FairTurns.spend` how many they were; if there are more,
        :meth:`FairTurns.wait`.
        """
        ...


class FairTurns:
    """Divides each turn of the reactor among the clients that send much, so that what others send is not held up.

    A client's frames are worked on as soon as they come, as long as the turn has frames left. What is left over waits;
    its connection is not read meanwhile. In the next turns each address has its turn, and of each address one client
    after another, with a slice of frames. A client that waits alone has the whole turn.

    :ivar waiting: clients that wait.
    :ivar waits: how often one had to wait.
    """

    def __init__(
        self,
        at_end_of_turn: Callable[[Callable[[], None]], object],
        failed: Callable[[Worker, Exception], None],
    ) -> None:
        """
        :param at_end_of_turn: calls its argument when all input of this turn of the reactor was processed.
        :param failed: is called with a client whose work raised, and the exception.
        """
        self.waiting = 0
        self.waits = 0
        self._at_end_of_turn = at_end_of_turn
        self._failed = failed
        self._left = TURN_FRAMES
        self._due = False
        self._queue: OrderedDict[str, deque[Worker]] = OrderedDict()

    @property
    def grant(self) -> int:
        """Frames of one client that may be worked on now."""
        left = max(0, self._left)  # A COMMIT spends more than one.
        return min(left, SLICE_FRAMES) if self.waiting else left

    def spend(self, frames: int) -> None:
        """So many were worked on."""
        self._left -= frames
        if self._left < TURN_FRAMES // 2:  # A turn with few frames needs no end.
            self._come()

    def wait(self, worker: Worker) -> None:
        """A client has more frames. It waits behind one of each other address, and all of its own that wait already."""
        self.waiting += 1
        self.waits += 1
        self._queue.setdefault(neighbourhood(worker.address), deque()).append(worker)
        self._come()

    def _come(self) -> None:
        if not self._due:
            self._due = True
            self._at_end_of_turn(self._turn)

    def _turn(self) -> None:
        """First come those that wait, and then, for as many frames again, those that are read in this turn."""
        self._due = False
        self._left = TURN_FRAMES
        while self.waiting and self._left > 0:
            self._work()
        self._left = TURN_FRAMES
        if self.waiting:
            self._come()

    def _work(self) -> None:
        neighbours, workers = self._queue.popitem(last=False)
        worker = workers.popleft()
        self.waiting -= 1
        if workers:
            self._queue[neighbours] = workers
        try:
            worker.work(self.grant)
        except Exception as error:  # noqa: BLE001  (one broken client is reported and stops no other)
            self._failed(worker, error)
