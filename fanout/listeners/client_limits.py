"""Limits of what clients may use, all together and per address, whatever protocol they speak.

* :class:`ConnectionLimit`: open connections. A full node closes a connection of the address that has the most.
* :class:`SubscriptionLimit`: subscriptions.
* :class:`InputMemory`: memory for incomplete input.
* :class:`FairTurns`: work in one turn of the reactor.

An address means one IPv4 address, or a /64 of IPv6, because one client can have that many. Each limit is fair: at the
limit, the addresses and clients that use the most are refused first.
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
"""Addresses whose rate is remembered. Beyond this number the least recent one is forgotten, and starts with a full
burst."""

# The constants of ports and connections are in this file, because a command that only reads the settings should start
# without Twisted's sockets.
PROXY_HEADER_SECONDS: float = 5
"""Seconds until a PROXY header must be complete. A proxy sends it with the first octets, so only a broken proxy takes
longer."""
ACCEPT_SLICE = 50
"""Connections accepted in one turn of the reactor, so that many new ones do not delay the connected clients. A slice
takes about 20 ms, including the CONNECT and SUBSCRIBE frames."""
KEEP_ALIVE_SECONDS = 60
"""Seconds of silence after which TCP probes a client. A client that has vanished is disconnected after twice that time.
Without probes Linux waits two hours. More frequent probes would use the battery of phones."""
INPUT_BYTES = 25_165_824
"""Octets of memory that the incomplete input of all clients may take: parts of frames and of request heads, and frames
that wait for a COMMIT, for an answer, or for their turn. 24 MiB hold 96 of the largest frames at the same moment;
publishers send complete frames of some hundred octets."""
TURN_FRAMES = 128
"""Frames that are handled in one turn of the reactor before the waiting octets of clients are written. Most frames take
20 to 100 µs, so a turn takes some 5 ms; the overhead of a turn is 0.1 ms."""
SLICE_FRAMES = 16
"""Frames of one client that are handled in a row while several clients have more frames than fit into a turn: about 1
ms."""
LINGER_SECONDS: float = 1
"""Seconds during which we still read from a client that we disconnect, so that a TCP reset does not discard the last
ERROR or Close frame on its way. One round trip is enough. The node waits for the same time when it shuts down."""


class SecuritySettings(SettingsGroup):
    """TLS and proxies."""

    retired: ClassVar[Mapping[str, str]] = {"PROXY_HEADER_SECONDS": constant(PROXY_HEADER_SECONDS, "s")}

    TLS_CERTIFICATE: str = setting(
        "",
        "PEM file with the certificate and its chain, read again when it changes; empty = no TLS.",
        why="Set it if clients connect with TLS to the node itself and not to a proxy in front of it.",
    )
    TLS_KEY: str = setting(
        "",
        "PEM file with the private key of TLS_CERTIFICATE, without a password; empty = in the same file.",
        why="Set it if your certificate tool writes the key to a separate file.",
    )
    STOMP_TLS_PORT: int = setting(
        61614,
        "Port at STOMP_IP for STOMP over TLS, open if there is a certificate; 0 = no such port.",
        why="Set it to 0 if the certificate is only for HTTPS, or change it for a second node on the machine.",
        ge=0,
        le=MAX_PORT,
    )
    HTTPS_PORT: int = setting(
        8443,
        "Port at HTTP_IP for HTTPS and wss://, open if there is a certificate; 0 = no such port.",
        why="Set it to 443 if browsers connect without a proxy in front.",
        ge=0,
        le=MAX_PORT,
    )
    PROXY_FROM: NetworkList = setting(
        "",
        "Networks of proxies that send a PROXY header (v1 or v2), with commas; hosts there can claim any address.",
        why="Set it if a load balancer is in front: limits and logs then use the clients' own addresses.",
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
        "Limit of the open connections of one node, of all protocols together.",
        "connections",
        why="Raise it with the limit of open files (LimitNOFILE) on a larger machine; lower it if memory is short.",
        ge=1,
        reload=True,
    )
    MAX_CONNECTIONS_PER_ADDRESS: int = setting(
        10_000,
        "Limit of the open connections of one address; 0 = no limit.",
        "connections",
        why="Lower it on a small network; thousands of listeners may be behind a mobile operator's NAT or a proxy.",
        ge=0,
        reload=True,
    )
    CONNECT_BURST: int = setting(
        10_000,
        "Connections that one address may open at once.",
        "connections",
        why="Raise it if more listeners share one NAT address: all reconnect together after an interruption.",
        ge=1,
        reload=True,
    )
    CONNECT_RATE: float = setting(
        1_000,
        "Connections per second that one address may open after CONNECT_BURST; 0 = no limit.",
        "1/s",
        why="Lower it if single addresses open too many connections; set 0 for a proxy without a PROXY header.",
        ge=0,
        reload=True,
    )


class SubscriptionSettings(SettingsGroup):
    """Subscriptions."""

    MAX_SUBSCRIPTIONS_PER_ADDRESS: int = setting(
        50_000,
        "Limit of the subscriptions of all clients of one address; 0 = no limit.",
        "subscriptions",
        why="Raise it if thousands of listeners share one NAT address; most clients need two.",
        ge=0,
        reload=True,
    )
    MAX_SUBSCRIPTIONS_TOTAL: int = setting(
        200_000,
        "Limit of the subscriptions of all clients of one node.",
        "subscriptions",
        why="Adapt it to the memory of the machine: each subscription takes about 1 KB.",
        ge=1,
        reload=True,
    )


_ROUNDING = 1e-6
"""Seconds. Sums and differences of clock times are not exact, and a full bucket must never refuse."""


class TokenBucket:
    """Limits the rate of each of many keys: a burst at first, then a number per second. Sans-IO.

    The bucket of a key is one number: the time at which it will be full again (GCRA).

    :param clock: a monotonic clock in seconds.
    :param burst: what a key may do at once if it has done nothing for a while.
    :param per_second: what it may do per second after that; 0 for no limit.
    """

    def __init__(self, clock: Callable[[], float], burst: int, per_second: float) -> None:
        self._clock = clock
        self._step = 1 / per_second if per_second > 0 else 0.0
        self._depth = burst * self._step
        self._full_at: BoundedDict[Hashable, float] = BoundedDict(_KEYS)

    def allow(self, key: Hashable) -> bool:
        """Whether the key may do one more now. If so, it counts as done."""
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
    """A connection that may be closed when the node is full."""

    @property
    def heard_at(self) -> float:
        """When the client last sent something, in seconds of :attr:`ConnectionLimit.clock`. For a station that has
        logged in it is the current time.
        """
        ...

    def close_for_others(self) -> None:
        """Close the connection after this call has returned, because an address with fewer connections needs the
        slot.
        """
        ...


_LOOKED_AT = 32
"""How many of the oldest connections of an address are compared, to close the most silent one.
Comparing 10,000 would take too long."""
_MOST_LEAVING = 100
"""Connections that may be closing because the node is full. They still have their file descriptors, for at most
LINGER_SECONDS, and the connections that replace them have some too."""


class ConnectionLimit:
    """Counts open connections. All listeners of a node share one limit, as they share the file descriptors of the
    process.

    While there is room no connection is closed, however silent it is. If the node is full, it accepts a client from an
    address that has fewer connections than another address, and closes a connection of the latter. So each address gets
    an equal share.

    :ivar total: how many connections are open.
    :ivar refused: how many connections were refused, by the limit that they exceeded.
    :ivar closed_for_others: how many connections were closed because the node was full.
    :ivar clock: a monotonic clock in seconds.
    """

    def __init__(self, settings: ConnectionSettings | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused: Counter[str] = Counter(connections=0, connections_per_address=0, pace=0)
        self.closed_for_others = 0
        self.total = 0
        self.clock = clock
        self._open: Counter[str] = Counter()
        self._admitted: dict[str, dict[AdmittedConnection, None]] = {}
        self._with: dict[int, dict[str, None]] = {}  # number of connections → the addresses with that number
        self._most = 0
        self._leaving: set[AdmittedConnection] = set()
        self._settings = settings or ConnectionSettings()
        self._bucket = self._new_bucket()

    @property
    def settings(self) -> ConnectionSettings:
        """The limits. Lower ones do not close open connections."""
        return self._settings

    @settings.setter
    def settings(self, settings: ConnectionSettings) -> None:
        before, self._settings = self._settings, settings
        if (before.CONNECT_BURST, before.CONNECT_RATE) != (settings.CONNECT_BURST, settings.CONNECT_RATE):
            self._bucket = self._new_bucket()  # the rates of all addresses are forgotten

    def _new_bucket(self) -> TokenBucket:
        return TokenBucket(self.clock, self._settings.CONNECT_BURST, self._settings.CONNECT_RATE)

    def admit(self, address: str, connection: AdmittedConnection | None = None) -> bool:
        """Whether one more connection may be opened. If so, it counts until :meth:`closed`.

        :param address: the client's IP address.
        :param connection: the connection; without it, it cannot be closed for others.
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
        """Close a connection of the address with the most, unless the new client's address has as many."""
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
        """An admitted connection is closed.

        :param connection: as for :meth:`admit`.
        """
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
        """Change the number of connections of an address by one. So the largest number of any address changes by at
        most one, too.
        """
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
    """Counts subscriptions, which take most of a node's memory. An address means one IPv4 address, or a /64 of IPv6.

    :ivar settings: the limits. Lower ones do not end subscriptions.
    :ivar total: how many subscriptions there are.
    :ivar refused: how many subscriptions were refused, by the limit that they exceeded.
    """

    def __init__(self, settings: SubscriptionSettings | None = None) -> None:
        self.settings = settings or SubscriptionSettings()
        self.refused: Counter[str] = Counter(subscriptions=0, subscriptions_per_address=0)
        self._held: Counter[str] = Counter()
        self.total = 0

    def take(self, address: str, number: int = 1) -> bool:
        """Whether this address may have this number of further subscriptions, all or none. If so, they count until
        :meth:`give_back`.
        """
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
        """This number of subscriptions has ended."""
        neighbours = neighbourhood(address)
        self.total -= number
        self._held[neighbours] -= number
        if self._held[neighbours] <= 0:
            del self._held[neighbours]


class InputHolder(Protocol):
    """A connection whose client has sent incomplete input."""

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    def give_up(self) -> None:
        """Free the input now, and close the connection afterwards: all clients together use too much, and this one the
        most.
        """
        ...


_RELIEVED = 0.875
"""Part of the limit to which the total is reduced when it is exceeded. Sorting takes long, so it should not happen each
time."""


class InputMemory:
    """The memory that the incomplete input of all clients takes.

    :ivar total: octets that it takes.
    :ivar refused: how many clients were disconnected because of the limit.
    """

    def __init__(self, most: int = INPUT_BYTES) -> None:
        """:param most: the limit in octets."""
        self.total = 0
        self.refused = 0
        self._most = most
        self._held: dict[str, dict[InputHolder, int]] = {}
        self._sums: Counter[str] = Counter()

    def hold(self, holder: InputHolder, octets: int) -> None:
        """Set how much one client holds. May call :meth:`InputHolder.give_up` of this client or of others."""
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
        """Disconnect clients until there is some room: each time the client with the most input, of the address with
        the most.
        """
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
    """A client that has sent more frames than are handled in one turn of the reactor."""

    @property
    def address(self) -> str:
        """The client's IP address."""
        ...

    def work(self, most: int) -> None:
        """Handle at most this number of frames, and report to :meth:`FairTurns.spend` how many they were. If there are
        more, call :meth:`FairTurns.wait`.
        """
        ...


class FairTurns:
    """Divides each turn of the reactor among the clients that send many frames, so that they do not delay the others.

    The frames of a client are handled as soon as they arrive, as long as the turn has frames left. The remaining frames
    wait, and their connection is not read meanwhile. In the next turns each address has its turn, and within an address
    one client after another, with a slice of frames each. A client that is the only one waiting has the whole turn.

    :ivar waiting: how many clients wait for their turn.
    :ivar waits: how often a client had to wait for its turn.
    """

    def __init__(
        self,
        at_end_of_turn: Callable[[Callable[[], None]], object],
        failed: Callable[[Worker, Exception], None],
    ) -> None:
        """
        :param at_end_of_turn: calls its argument when all input of this turn of the reactor was processed.
        :param failed: called with a client whose work raised, and the exception.
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
        """How many frames of one client may be handled now."""
        left = max(0, self._left)  # A COMMIT counts as several frames.
        return min(left, SLICE_FRAMES) if self.waiting else left

    def spend(self, frames: int) -> None:
        """Count frames that were handled."""
        self._left -= frames
        if self._left < TURN_FRAMES // 2:  # A turn with few frames needs no end.
            self._come()

    def wait(self, worker: Worker) -> None:
        """A client has more frames. It waits for one client of each other address, and for all waiting clients of its
        own address.
        """
        self.waiting += 1
        self.waits += 1
        self._queue.setdefault(neighbourhood(worker.address), deque()).append(worker)
        self._come()

    def _come(self) -> None:
        if not self._due:
            self._due = True
            self._at_end_of_turn(self._turn)

    def _turn(self) -> None:
        """Handle the frames of the waiting clients, then allow the same number for the frames that are read in this
        turn.
        """
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
        except Exception as error:  # noqa: BLE001 (a broken client is reported and does not stop the others)
            self._failed(worker, error)
