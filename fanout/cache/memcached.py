"""memcached for the reactor: what :class:`~fanout.cache.servers.Servers` does, in threads of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from fanout.cache.servers import RETRY, TIMEOUT, Servers

# The name under which something lies in memcached.

READABLE = 100
"""Characters of a key meant for people. With the hash it stays far below memcached's 250 bytes."""


def cache_key(*parts: str) -> str:
    """A key for whatever the parts name: legal for memcached however long or odd they are, and readable in a dump.

    memcached refuses keys with spaces, control characters or more than 250 bytes (its ``protocol.txt``, "Keys");
    the original dropped its connection over them (contract §2, fault 7).

    :param parts: what it is about, the application first: ``cache_key("radiovis", "gcc", "ch")``. Different parts
        give different keys, also when their joined text is the same.
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts))[:READABLE]
    return f"{readable}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


__all__ = ["Memcached", "cache_key"]

THREADS = 2
"""Two, so that a hanging server does not hold up the others' keys."""
MAX_WAITING = 1000
"""Calls at once. Each is a few kilobytes; more than this means memcached cannot keep up, and a cache may be skipped."""

T = TypeVar("T")


class Memcached:
    """A shared dictionary that never keeps the reactor waiting and never raises because a server is down.

    A value is then missing, and what is stored is dropped; an outage is logged once (``memcached.down``, later
    ``memcached.up``). Values are bytes, as JSON where they have a structure: whoever can write to memcached must not
    be able to run code here, so never pickle. Make keys with :func:`~fanout.cache.memcached.cache_key`.
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
        :param servers: ``host[:port]``, several with commas.
        :param timeout: seconds for connecting, and for each read.
        :param retry: seconds a failed server is left alone.
        :param threads: how many calls are made at once.
        :param max_waiting: calls not yet answered; further ones are treated as if the servers were down.
        :raises ValueError: for a list of servers that makes no sense.
        """
        self._reactor = reactor
        self._servers = Servers(servers, timeout=timeout, retry=retry, threads=threads)
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
        return self._servers.down

    @property
    def counts(self) -> Counter[str]:
        """As :attr:`fanout.cache.servers.Servers.counts`, and ``overflow``: calls refused because too many waited."""
        return self._servers.counts + Counter(overflow=self._overflow)

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value, or None."""
        return self._call((key,), None, self._servers.get, key)

    def get_many(self, keys: Collection[str]) -> Deferred[dict[str, bytes]]:
        """The values of those keys that have one."""
        return self._call(keys, {}, self._servers.get_many, list(keys))

    def set(self, key: str, value: bytes, expire: int) -> Deferred[bool]:
        """Store a value for this many seconds (0: as long as there is room); fires with whether it was taken."""
        return self._call((key,), False, self._servers.set, key, value, expire)

    def set_many(self, items: Mapping[str, bytes], expire: int) -> Deferred[list[str]]:
        """Store several values; fires with the keys that were not taken."""
        return self._call(items, list(items), self._servers.set_many, dict(items), expire)

    def add(self, key: str, value: bytes, expire: int) -> Deferred[bool]:
        """Store a value unless there is one; of many callers on many nodes one gets True, which makes it a lease."""
        return self._call((key,), False, self._servers.add, key, value, expire)

    def delete(self, key: str) -> Deferred[None]:
        """Forget a value."""
        return self._call((key,), None, self._servers.delete, key)

    def stop(self) -> Deferred[None]:
        """End the threads; fires when they have ended. Calls still waiting, and all later ones, find nothing."""
        self._stopped = True
        self._servers.rest()
        idle: Deferred[None] = Deferred()
        idle.addCallback(lambda _: self._end())
        if self._waiting:
            self._idle = idle
        else:
            idle.callback(None)
        return idle

    def _end(self) -> None:
        self._pool.stop()
        self._servers.close()

    def _call(self, keys: Collection[str], missing: T, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        if self._stopped or self._servers.resting(keys):
            return succeed(missing)  # Not even the way to a thread and back (80 µs) while they are down.
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
