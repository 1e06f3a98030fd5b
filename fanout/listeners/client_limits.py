"""Limits on connections and subscriptions, of all clients together and of one address, whatever protocol they speak."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import ClassVar

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


class ConnectionLimit:
    """Counts open connections. All listeners of a node share one, as they share its file descriptors.

    An address is one of IPv4, or a /64 of IPv6: that is what one client can have.

    :ivar total: connections that are open.
    :ivar refused: connections that were refused, by the limit that they exceeded.
    """

    def __init__(self, settings: ConnectionSettings | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """:param clock: seconds, monotonic."""
        self.refused: Counter[str] = Counter(connections=0, connections_per_address=0, pace=0)
        self.total = 0
        self._clock = clock
        self._open: Counter[str] = Counter()
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
        return TokenBucket(self._clock, self._settings.CONNECT_BURST, self._settings.CONNECT_RATE)

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
        if self.total >= self._settings.MAX_CONNECTIONS:
            return "connections"
        if 0 < self._settings.MAX_CONNECTIONS_PER_ADDRESS <= self._open[neighbours]:
            return "connections_per_address"
        return "" if self._bucket.allow(neighbours) else "pace"

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
