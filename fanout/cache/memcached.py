"""memcached, as one shared dictionary for use from the reactor.

:class:`MemcachedServers` is one or more servers; its calls block. Each server has a circuit breaker
(:class:`MemcachedServer`): after a failure it is not called for a while, and its values count as missing.
:class:`Memcached` makes the same calls in threads and returns Deferreds.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import structlog
from pymemcache.client.base import PooledClient
from pymemcache.client.rendezvous import RendezvousHash
from pymemcache.exceptions import (
    MemcacheError,
    MemcacheIllegalInputError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from fanout.settings.field import HOSTS, SettingsGroup, constant, setting

DEFAULT_PORT = 11211
TIMEOUT = 0.2
"""Time limit in seconds of one answer. Clients wait for it. A healthy server on the same network answers within 0.01 s.
By default pymemcache waits for ever."""
RETRY = 1.0
"""Seconds after a failure during which a server is not called. With :data:`TIMEOUT`, a server that hangs takes at most
a fifth of a thread's time."""
LOG_SECONDS = 60.0
"""Seconds between two lines about outages of one server. One that fails again and again must not fill the log."""
MAX_VALUE = 1_000_000
"""Largest value in bytes; memcached refuses values of 1 MiB and more unless it is started with ``-I``."""
LONGEST_EXPIRE = 30 * 24 * 3600
"""Longest expiry in seconds. memcached reads a larger number as a date (``protocol.txt``, "Expiration times")."""


class MemcachedSettings(SettingsGroup):
    """memcached."""

    retired: ClassVar[Mapping[str, str]] = {"MEMCACHED_TIMEOUT": constant(TIMEOUT, "s")}

    MEMCACHED_HOST: str = setting(
        "127.0.0.1",
        "Servers that share retained messages between nodes: host[:port], with commas; empty = no memcached.",
        pattern=HOSTS,
        why="Change it if memcached runs on other machines. Set the same servers on all nodes.",
    )


Versioned = tuple[bytes, bytes]
"""A value, and its version. The version is the *cas unique* of memcached's protocol, which differs after each
change."""

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# MemcacheUnknownError and ValueError: the answer is not memcached's protocol.
_OUTAGE = (OSError, MemcacheUnexpectedCloseError, MemcacheUnknownError, ValueError)


def _get_many(keys: list[str], client: PooledClient) -> dict[str, bytes]:
    found: dict[str, bytes] = client.get_many(keys)
    return found


def _gets_many(keys: list[str], client: PooledClient) -> dict[str, Versioned]:
    found: dict[str, Versioned] = client.gets_many(keys)
    return found


def _uptime(client: PooledClient) -> int:
    return int(client.stats().get(b"uptime", 0))


def parse_servers(servers: str) -> tuple[tuple[str, int], ...]:
    """Parse ``host[:port]``, or several of these with commas between them. An IPv6 address with a port is in brackets.

    :raises ValueError: an entry is invalid. The text names it and says why.
    """
    return tuple(_parse_server(entry.strip()) for entry in servers.split(","))


def _parse_server(entry: str) -> tuple[str, int]:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", entry)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif entry.count(":") > 1:
        raise ValueError(f"memcached server {entry!r}: write an IPv6 address in brackets, as in [::1]:11211")
    else:
        host, colon, rest = entry.partition(":")
        port = rest if colon else None
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", host):
        raise ValueError(f"memcached server {entry!r}: {host!r} is not a host name or address")
    if port is None:
        return host, DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"memcached server {entry!r}: {port!r} is not a port number from 1 to 65535")
    return host, int(port)


class MemcachedServer:
    """One memcached server and its circuit breaker. Several threads may call it."""

    def __init__(
        self, host: str, port: int, *, timeout: float, retry: float, threads: int, clock: Callable[[], float]
    ) -> None:
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.counts: Counter[str] = Counter()
        self.down = False
        self._told = False
        self._told_at = float("-inf")
        self._client = PooledClient((host, port), connect_timeout=timeout, timeout=timeout, no_delay=True)
        self._retry = retry
        self._retry_at = float("-inf")
        self._threads = threads
        self._clock = clock
        self._lock = threading.Lock()

    @property
    def resting(self) -> bool:
        """Whether it failed a moment ago and must not be called yet."""
        return self._clock() < self._retry_at

    def call(self, work: Callable[[PooledClient], T], missing: T) -> T:
        """Call the client.

        :param missing: the result while the server is down, or if it refuses the call.
        :raises MemcacheIllegalInputError: memcached does not allow this key, which is a mistake of the caller.
        """
        if self.resting:
            self.count("skipped")
            return missing
        try:
            answer = self._try(work)
        except MemcacheIllegalInputError:
            raise
        except _OUTAGE as error:
            self._failed(error)
            return missing
        except MemcacheError:
            self.count("refused")  # The server is up, and refuses this one value.
            return missing
        self._worked()
        return answer

    def _try(self, work: Callable[[PooledClient], T]) -> T:
        """Try again if a connection is lost: a pooled connection may be older than a restart of the server. At last a
        new connection is used.
        """
        for _ in range(self._threads):
            try:
                return work(self._client)
            except ConnectionRefusedError:
                raise
            except (ConnectionError, MemcacheUnexpectedCloseError):
                self.count("reconnects")
        return work(self._client)

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.counts["failures"] += 1
            self._retry_at = max(self._retry_at, self._clock() + self._retry)
            failures, self.down = self.counts["failures"], True
            now = self._clock()
            tells = not self._told and now - self._told_at >= LOG_SECONDS
            if tells:
                self._told, self._told_at = True, now
        if tells:
            text = f"{type(error).__name__}: {error}"
            log.warning("memcached.down", server=self.name, error=text, failures=failures)

    def _worked(self) -> None:
        with self._lock:
            told, self._told = self._told, False
            self.down = False
            self.counts["calls"] += 1
        if told:
            log.info("memcached.up", server=self.name)

    def count(self, what: str) -> None:
        """Count an event, see :attr:`MemcachedServers.counts`."""
        with self._lock:
            self.counts[what] += 1

    def rest(self) -> None:
        """Make no further call, because the program ends."""
        with self._lock:
            self._retry_at = float("inf")

    def close(self) -> None:
        """Close the pooled connections. No thread may be using them."""
        self._client.close()


class MemcachedServers:
    """A dictionary of byte strings that is spread over the servers.

    A key is always stored on the same server. While that server is down the key is missing. A copy on another server
    would become stale there, and the old value would be visible again when the server returns.

    pymemcache's ``HashClient`` is not used, because it moves the keys of a dead server, hides failures if it is told
    not to raise them, and keeps its list of dead servers without a lock.
    """

    def __init__(
        self,
        servers: str,
        *,
        timeout: float = TIMEOUT,
        retry: float = RETRY,
        threads: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param servers: in the form that :func:`parse_servers` accepts.
        :param timeout: seconds for connecting, and for each read.
        :param retry: seconds after a failure during which a server is not called.
        :param threads: how many threads make calls at the same time, at most.
        :param clock: a monotonic clock in seconds; all these threads call it.
        :raises ValueError: ``servers`` is not a list of servers.
        """
        made = [
            MemcachedServer(host, port, timeout=timeout, retry=retry, threads=threads, clock=clock)
            for host, port in parse_servers(servers)
        ]
        self._servers = {server.name: server for server in made}
        self._ring = RendezvousHash(nodes=list(self._servers))

    @property
    def down(self) -> tuple[str, ...]:
        """The servers that failed when last tried."""
        return tuple(server.name for server in self._servers.values() if server.down)

    @property
    def counts(self) -> Counter[str]:
        """Counts since the start: answered ``calls``, ``failures``, ``skipped`` calls, ``refused`` values,
        ``reconnects``.
        """
        return sum((server.counts for server in self._servers.values()), Counter())

    def uptime(self) -> int:
        """Seconds since the last start of any server; 0 if one is down. Values stored before that may be missing."""
        return min(server.call(_uptime, 0) for server in self._servers.values())

    def resting(self, keys: Iterable[str]) -> bool:
        """Whether the servers of all these keys are down at the moment."""
        keys = list(keys)
        return bool(keys) and all(self._of(key).resting for key in keys)

    def get(self, key: str) -> bytes | None:
        """The value of a key; None if there is none or its server is down."""
        value: bytes | None = self._of(key).call(lambda client: client.get(key), None)
        return value

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of those keys that have one."""
        found: dict[str, bytes] = {}
        for server, group in self._split(keys):
            found |= server.call(partial(_get_many, group), dict[str, bytes]())
        return found

    def gets_many(self, keys: Iterable[str]) -> dict[str, Versioned]:
        """The values of those keys that have one, with the versions for :meth:`cas_many`."""
        found: dict[str, Versioned] = {}
        for server, group in self._split(keys):
            found |= server.call(partial(_gets_many, group), dict[str, Versioned]())
        return found

    def cas_many(self, items: Mapping[str, tuple[bytes, bytes | None]], expire: int) -> list[str]:
        """Store several values, except those that were changed since :meth:`gets_many`.

        :param items: each with the version that was found; None for a key that had no value.
        :param expire: seconds to keep them; 0 means as long as there is room.
        :return: the keys whose values were not stored.
        """
        return [key for key, item in items.items() if not self._store_unchanged(key, *item, expire)]

    def set(self, key: str, value: bytes, expire: int) -> bool:
        """Store a value. Returns whether the server accepted it.

        :param expire: seconds to keep it; 0 means as long as there is room.
        """
        return self._store("set", key, value, expire=expire)

    def add(self, key: str, value: bytes, expire: int) -> bool:
        """Store a value unless there is one. Only one of several callers gets True, so this works as a lease.

        :param expire: seconds to keep it; 0 means as long as there is room.
        :return: whether this call stored the value; False also while the server is down.
        """
        return self._store("add", key, value, expire=expire)

    def delete(self, key: str) -> None:
        """Remove the value of a key."""
        self._of(key).call(lambda client: client.delete(key, noreply=False), False)

    def rest(self) -> None:
        """Make no further call, because the program ends."""
        for server in self._servers.values():
            server.rest()

    def close(self) -> None:
        """Close the connections. No thread may be using them."""
        for server in self._servers.values():
            server.close()

    def _store_unchanged(self, key: str, value: bytes, version: bytes | None, expire: int) -> bool:
        if version is None:
            return self._store("add", key, value, expire=expire)
        return self._store("cas", key, value, version, expire=expire)

    def _store(self, how: str, key: str, value: bytes, *version: bytes, expire: int) -> bool:
        if not isinstance(value, bytes):
            raise TypeError(
                f"memcached stores bytes, and {key} is {type(value).__name__}: encode it, for example as JSON"
            )
        server = self._of(key)
        if len(value) > MAX_VALUE:
            server.count("refused")
            return False
        seconds = min(expire, LONGEST_EXPIRE)
        # With noreply pymemcache does not notice a server that is down or refuses the value.
        return server.call(
            lambda client: bool(getattr(client, how)(key, value, *version, seconds, noreply=False)), False
        )

    def _of(self, key: str) -> MemcachedServer:
        if len(self._servers) == 1:
            return next(iter(self._servers.values()))
        return self._servers[self._ring.get_node(key)]

    def _split(self, keys: Iterable[str]) -> Iterable[tuple[MemcachedServer, list[str]]]:
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for key in keys:
            groups[self._of(key).name].append(key)
        return [(self._servers[name], group) for name, group in groups.items()]


__all__ = ["Memcached", "cache_key"]

READABLE_CHARS = 100
"""How many characters of a key are readable text. Together with the hash a key is far shorter than memcached's limit of
250 bytes."""
THREADS = 2
"""How many threads make calls: two, so that a server that hangs does not delay the keys of the other servers."""
MAX_WAITING = 1000
"""How many calls may be unanswered. Each takes a few kilobytes. If there are more, memcached is too slow, and further
calls are skipped, which is acceptable for a cache."""


def cache_key(*parts: str) -> str:
    """A memcached key made of the given parts. It is always legal, and readable in a dump.

    memcached refuses keys with spaces, control characters or more than 250 bytes (its ``protocol.txt``, "Keys"). Some
    client libraries drop their connection when they get such a key.

    :param parts: what the key stands for, the application first: ``cache_key("app", "topics", "all")``. Different parts
        give different keys, even if their joined text is the same.
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts))[:READABLE_CHARS]
    return f"{readable}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


class Memcached:
    """A shared dictionary that never blocks the reactor, and never fails because a server is down.

    While a server is down its values are missing, and values to be stored are dropped. An outage is logged once
    (``memcached.down``, later ``memcached.up``). Values are bytes. Structured values are JSON and never pickles: a
    program that can write to memcached must not be able to run code in this process. Make keys with :func:`cache_key`.

    :ivar servers: the blocking calls. Use them only in a thread, through :meth:`call`.
    """

    def __init__(
        self,
        reactor: Any,
        servers: str,
        *,
        timeout: float = TIMEOUT,
        retry: float = RETRY,
        threads: int = THREADS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """
        :param servers: ``host[:port]``, several separated by commas.
        :param timeout: seconds for connecting, and for each read.
        :param retry: seconds after a failure during which a server is not called.
        :param threads: how many calls are made at the same time.
        :param max_waiting: how many calls may be unanswered; further ones are treated as if the servers were down.
        :raises ValueError: ``servers`` is not a list of servers.
        """
        self._reactor = reactor
        self.servers = MemcachedServers(servers, timeout=timeout, retry=retry, threads=threads)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._overflow = 0
        self._idle: Deferred[None] | None = None
        self._stopped = False
        self._pool = ThreadPool(0, threads, name="memcached")
        self._pool.start()

    @property
    def down(self) -> tuple[str, ...]:
        """The servers that failed when last tried, as ``host:port``."""
        return self.servers.down

    @property
    def counts(self) -> Counter[str]:
        """As :attr:`fanout.cache.memcached.MemcachedServers.counts`, and ``overflow``: calls skipped because too many
        waited.
        """
        return self.servers.counts + Counter(overflow=self._overflow)

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value of a key, or None."""
        return self.call((key,), None, self.servers.get, key)

    def get_many(self, keys: Collection[str]) -> Deferred[dict[str, bytes]]:
        """The values of those keys that have one."""
        return self.call(keys, {}, self.servers.get_many, list(keys))

    def gets_many(self, keys: Collection[str]) -> Deferred[dict[str, Versioned]]:
        """The values of those keys that have one, with their versions."""
        return self.call(keys, {}, self.servers.gets_many, list(keys))

    def cas_many(self, items: Mapping[str, tuple[bytes, bytes | None]], expire: int) -> Deferred[list[str]]:
        """Store several values, except those that were changed meanwhile. Fires with the keys whose values were not
        stored.

        :param items: each with the version that :meth:`gets_many` has found; None for a key that had no value.
        :param expire: seconds to keep them; 0 for as long as there is room.
        """
        return self.call(items, list(items), self.servers.cas_many, dict(items), expire)

    def set(self, key: str, value: bytes, expire: int) -> Deferred[bool]:
        """Store a value. Fires with whether the server accepted it.

        :param expire: seconds to keep it; 0 for as long as there is room.
        """
        return self.call((key,), False, self.servers.set, key, value, expire)

    def add(self, key: str, value: bytes, expire: int) -> Deferred[bool]:
        """Store a value unless there is one. Only one of many callers on many hosts gets True, so this works as a
        lease.
        """
        return self.call((key,), False, self.servers.add, key, value, expire)

    def uptime(self) -> Deferred[int]:
        """Seconds since the last start of any server; 0 if one is down."""
        return self.call((), 0, self.servers.uptime)

    def delete(self, key: str) -> Deferred[None]:
        """Remove the value of a key."""
        return self.call((key,), None, self.servers.delete, key)

    def stop(self) -> Deferred[None]:
        """End the threads; fires when they have ended. Waiting calls and later calls return no values."""
        self._stopped = True
        self.servers.rest()
        idle: Deferred[None] = Deferred()
        idle.addCallback(lambda _: self._end())
        if self._waiting:
            self._idle = idle
        else:
            idle.callback(None)
        return idle

    def _end(self) -> None:
        self._pool.stop()
        self.servers.close()

    def call(self, keys: Collection[str], missing: T, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Make a blocking call in a thread.

        :param keys: the keys that the call uses. If all their servers are down, the call is not made. Empty if the call
            uses all servers.
        :param missing: the result if the call is not made.
        :param work: the blocking call.
        """
        if self._stopped or self.servers.resting(keys):
            return succeed(missing)  # Saves 80 µs for a thread switch and back during an outage.
        if self._waiting >= self._max_waiting:
            self._overflow += 1
            return succeed(missing)
        self._waiting += 1
        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, work, *arguments)
        return answer.addBoth(self._answered)

    def _answered(self, answer: T) -> T:
        self._waiting -= 1
        if self._waiting == 0 and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)
        return answer
