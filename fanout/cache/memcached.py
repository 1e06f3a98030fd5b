"""memcached for the reactor: the calls of :class:`~fanout.cache.servers.MemcachedServers`, made in threads."""

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

from fanout.cache.servers import RETRY, TIMEOUT, MemcachedServers

__all__ = ["Memcached", "cache_key"]

READABLE_CHARS = 100
"""Characters of a key that are for people. With the hash a key stays far below memcached's limit of 250 bytes."""
THREADS = 2
"""Two, so that a server that hangs does not delay the keys of the other servers."""
MAX_WAITING = 1000
"""Calls that are not answered yet. Each takes a few kilobytes. If there are more, memcached does not keep up; further
calls are then skipped, which a cache permits."""

T = TypeVar("T")


def cache_key(*parts: str) -> str:
    """A memcached key for whatever the parts name: always legal, and readable in a dump.

    memcached refuses keys with spaces, control characters or more than 250 bytes (its ``protocol.txt``, "Keys"). Some
    client libraries drop their connection over such a key.

    :param parts: what the key is about, the application first: ``cache_key("app", "topics", "all")``. Different parts
        give different keys, even if their joined text is the same.
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts))[:READABLE_CHARS]
    return f"{readable}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


class Memcached:
    """A shared dictionary that never blocks the reactor, and never fails because a server is down.

    While a server is down its values are missing, and values to be stored are dropped. An outage is logged once
    (``memcached.down``, later ``memcached.up``). Values are bytes; structured values are JSON and never pickles: a
    program that can write to memcached must not be able to run code here. Make keys with :func:`cache_key`.

    :ivar servers: the blocking calls. Use them in a thread only, through :meth:`call`.
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
        :param retry: seconds without a call to a server that failed.
        :param threads: how many calls are made at once.
        :param max_waiting: calls that are not answered yet; further ones are treated as if the servers were down.
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
        """As :attr:`fanout.cache.servers.MemcachedServers.counts`, with ``overflow``: refused, as too many waited."""
        return self.servers.counts + Counter(overflow=self._overflow)

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value, or None."""
        return self.call((key,), None, self.servers.get, key)

    def get_many(self, keys: Collection[str]) -> Deferred[dict[str, bytes]]:
        """The values of those keys that have one."""
        return self.call(keys, {}, self.servers.get_many, list(keys))

    def set(self, key: str, value: bytes, expire: int) -> Deferred[bool]:
        """Store a value; fires with whether the server took it.

        :param expire: seconds it is kept; 0 for as long as there is room.
        """
        return self.call((key,), False, self.servers.set, key, value, expire)

    def set_many(self, items: Mapping[str, bytes], expire: int) -> Deferred[list[str]]:
        """Store several values; fires with the keys the servers did not take."""
        return self.call(items, list(items), self.servers.set_many, dict(items), expire)

    def add(self, key: str, value: bytes, expire: int) -> Deferred[bool]:
        """Store a value unless there is one. Of many callers on many hosts one gets True, so it works as a lease."""
        return self.call((key,), False, self.servers.add, key, value, expire)

    def delete(self, key: str) -> Deferred[None]:
        """Remove a value."""
        return self.call((key,), None, self.servers.delete, key)

    def stop(self) -> Deferred[None]:
        """End the threads; fires when they have ended. Calls that wait, and later ones, find nothing."""
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

        :param keys: the keys the call is about. If all their servers are down, the call is not made.
        :param missing: the result if the call is not made.
        """
        if self._stopped or self.servers.resting(keys):
            return succeed(missing)  # Saves the way to a thread and back (80 µs) during an outage.
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
