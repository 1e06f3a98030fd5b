"""One or more memcached servers as one shared dictionary. The calls block: make them in worker threads.

Each server has a circuit breaker: after a failure it is not called for a while, and its values count as missing.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import structlog
from pymemcache.client.base import PooledClient
from pymemcache.client.rendezvous import RendezvousHash
from pymemcache.exceptions import (
    MemcacheError,
    MemcacheIllegalInputError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

DEFAULT_PORT = 11211
TIMEOUT = 0.2
"""Seconds. A healthy server on the same network answers within 0.01. pymemcache's default is to wait for ever."""
RETRY = 1.0
"""Seconds without a call after a failure. With :data:`TIMEOUT` a hanging server takes at most a fifth of a thread."""
MAX_VALUE = 1_000_000
"""Bytes of one value; memcached refuses 1 MiB and more unless started with ``-I``."""
LONGEST_EXPIRE = 30 * 24 * 3600
"""Seconds. memcached reads a larger number as a date (``protocol.txt``, "Expiration times")."""

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# MemcacheUnknownError and ValueError: the answer is not memcached's protocol.
_OUTAGE = (OSError, MemcacheUnexpectedCloseError, MemcacheUnknownError, ValueError)


def _get_many(keys: list[str], client: PooledClient) -> dict[str, bytes]:
    found: dict[str, bytes] = client.get_many(keys)
    return found


def parse_servers(servers: str) -> tuple[tuple[str, int], ...]:
    """The hosts and ports of ``host[:port]``, several with commas; an IPv6 address with a port in brackets.

    :raises ValueError: naming the entry that is wrong, and why.
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
        raise ValueError(f"memcached server {entry!r}: {host!r} is no host name or address")
    if port is None:
        return host, DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"memcached server {entry!r}: {port!r} is no port number from 1 to 65535")
    return host, int(port)


class MemcachedServer:
    """One memcached server and its circuit breaker. May be called by several threads."""

    def __init__(
        self, host: str, port: int, *, timeout: float, retry: float, threads: int, clock: Callable[[], float]
    ) -> None:
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.counts: Counter[str] = Counter()
        self.down = False
        self._client = PooledClient((host, port), connect_timeout=timeout, timeout=timeout, no_delay=True)
        self._retry = retry
        self._retry_at = float("-inf")
        self._threads = threads
        self._clock = clock
        self._lock = threading.Lock()

    @property
    def resting(self) -> bool:
        """Whether it failed a moment ago and is not called yet."""
        return self._clock() < self._retry_at

    def call(self, work: Callable[[PooledClient], T], missing: T) -> T:
        """Call the client.

        :param missing: the result while the server is down, or if it refuses the call.
        :raises MemcacheIllegalInputError: memcached cannot have this key, which is a mistake of the caller.
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
        """A pooled connection may be older than a restart of the server: try the next one, and at last a new one."""
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
            was_down, self.down = self.down, True
        if not was_down:
            log.warning("memcached.down", server=self.name, error=f"{type(error).__name__}: {error}")

    def _worked(self) -> None:
        with self._lock:
            was_down, self.down = self.down, False
            self.counts["calls"] += 1
        if was_down:
            log.info("memcached.up", server=self.name)

    def count(self, what: str) -> None:
        """Count an event, see :attr:`MemcachedServers.counts`."""
        with self._lock:
            self.counts[what] += 1

    def rest(self) -> None:
        """Make no further call: the program ends."""
        with self._lock:
            self._retry_at = float("inf")

    def close(self) -> None:
        """Close the pooled connections. No thread may be using them."""
        self._client.close()


class MemcachedServers:
    """A dictionary of byte strings that is spread over the servers.

    A key always lies on the same server. While that server is down the key is missing: a copy on another server would
    grow stale there, and the old value would be back once the server returns.

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
        :param servers: as :func:`parse_servers` takes them.
        :param timeout: seconds for connecting, and for each read.
        :param retry: seconds without a call after a failure.
        :param threads: how many threads call at once, at most.
        :param clock: a monotonic clock in seconds; it is called by all these threads.
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
        """Since the start: ``calls`` answered, ``failures``, ``skipped`` calls, ``refused`` values, ``reconnects``."""
        return sum((server.counts for server in self._servers.values()), Counter())

    def resting(self, keys: Iterable[str]) -> bool:
        """Whether the servers of all these keys are down at the moment."""
        return all(self._of(key).resting for key in keys)

    def get(self, key: str) -> bytes | None:
        """The value; None when there is none or its server is down."""
        value: bytes | None = self._of(key).call(lambda client: client.get(key), None)
        return value

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of those keys that have one."""
        found: dict[str, bytes] = {}
        for server, group in self._split(keys):
            found |= server.call(partial(_get_many, group), dict[str, bytes]())
        return found

    def set(self, key: str, value: bytes, expire: int) -> bool:
        """Store a value; whether the server took it.

        :param expire: seconds to keep it; 0 means as long as there is room.
        """
        return self.set_many({key: value}, expire) == []

    def set_many(self, items: Mapping[str, bytes], expire: int) -> list[str]:
        """Store several values; the keys that were not taken."""
        return [key for key, value in items.items() if not self._store("set", key, value, expire)]

    def add(self, key: str, value: bytes, expire: int) -> bool:
        """Store a value unless there is one; whether this call stored it. Of many callers one gets True: a lease.

        Also False while the server is down.
        """
        return self._store("add", key, value, expire)

    def delete(self, key: str) -> None:
        """Remove a value."""
        self._of(key).call(lambda client: client.delete(key, noreply=False), False)

    def rest(self) -> None:
        """Make no further call: the program ends."""
        for server in self._servers.values():
            server.rest()

    def close(self) -> None:
        """Close the connections. No thread may be using them."""
        for server in self._servers.values():
            server.close()

    def _store(self, how: str, key: str, value: bytes, expire: int) -> bool:
        if not isinstance(value, bytes):
            raise TypeError(
                f"memcached stores bytes, and {key} is {type(value).__name__}: encode it, as JSON if need be"
            )
        server = self._of(key)
        if len(value) > MAX_VALUE:
            server.count("refused")
            return False
        seconds = min(expire, LONGEST_EXPIRE)
        # With noreply pymemcache does not notice a server that is down or refuses the value.
        return server.call(lambda client: bool(getattr(client, how)(key, value, seconds, noreply=False)), False)

    def _of(self, key: str) -> MemcachedServer:
        if len(self._servers) == 1:
            return next(iter(self._servers.values()))
        return self._servers[self._ring.get_node(key)]

    def _split(self, keys: Iterable[str]) -> Iterable[tuple[MemcachedServer, list[str]]]:
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for key in keys:
            groups[self._of(key).name].append(key)
        return [(self._servers[name], group) for name, group in groups.items()]
