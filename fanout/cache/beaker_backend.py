"""Beaker over pymemcache: the backend ``fanout_memcached``, and :class:`SharedCache`, its use from the reactor.

Beaker's own ``ext:memcached`` cannot use pymemcache. This backend differs from it in five ways: values are JSON and not
pickles, keys are hashed, clearing a cache does not touch the keys of other programs (``ext:memcached`` empties the
whole server), no lock files are written, and a server that fails is not called again for a while.

A look-up takes two round trips (about 0.1 ms) and blocks. :class:`SharedCache` therefore makes the calls in the threads
of a :class:`~fanout.cache.memcached.Memcached`. Code that uses Beaker's ``Cache`` directly, as with the options
``{'cache.type': 'fanout_memcached', 'cache.url': 'host:port'}``, blocks the reactor for up to ``cache.timeout`` (0.05
s) per call while a server hangs, until the circuit breaker of that server opens.

When the package is installed, Beaker finds the backend through the entry point ``beaker.backends``. Call
:func:`register` where it is not installed.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import Any

from beaker.cache import Cache, clsmap
from beaker.container import NamespaceManager
from beaker.exceptions import MissingCacheParameter
from beaker.synchronization import null_synchronizer
from twisted.internet.defer import Deferred

from fanout.cache.memcached import Memcached, MemcachedServers, cache_key

NAME = "fanout_memcached"
TIMEOUT = 0.05
"""Time limit in seconds of a call that blocks the reactor: a quarter of the limit of a call in a thread."""


def register() -> None:
    """Make ``fanout_memcached`` known to Beaker. It may be called several times."""
    try:
        clsmap[NAME]  # Loads the entry points first: Beaker logs an error if the name is taken before.
    except KeyError:
        clsmap._clsmap[NAME] = MemcachedNamespace  # noqa: SLF001 - Beaker has no other way without an entry point.


class MemcachedNamespace(NamespaceManager):  # type: ignore[misc]
    """One Beaker namespace in memcached.

    Each entry carries the *generation* of the namespace. Clearing the namespace sets a new generation; entries of
    another generation count as missing.
    """

    def __init__(
        self,
        namespace: str,
        url: str | None = None,
        timeout: float | str = TIMEOUT,
        servers: MemcachedServers | None = None,
        **_: object,
    ) -> None:
        """
        :param namespace: the first part of every key in memcached.
        :param url: the memcached servers, ``host[:port]``, several separated by commas.
        :param timeout: seconds for connecting, and for each read.
        :param servers: connections that exist already, instead of ``url`` and ``timeout``.
        :raises MissingCacheParameter: neither ``url`` nor ``servers`` is given.
        :raises ValueError: ``url`` is not a list of servers.
        """
        super().__init__(namespace)
        if servers is None and not url:
            raise MissingCacheParameter(f"{NAME} needs cache.url, the memcached servers as host:port")
        self._servers = servers or MemcachedServers(url or "", timeout=float(timeout))
        self._generation_key = cache_key(namespace, "beaker", "generation")

    def get_creation_lock(self, key: bytes) -> null_synchronizer:
        return null_synchronizer()

    def __getitem__(self, key: bytes) -> list[object]:
        name = self.memcached_key(key)
        found = self._servers.get_many([self._generation_key, name])
        entry = _decoded(found.get(name, b""))
        generation = found.get(self._generation_key, b"").decode("ascii", "replace")
        if entry is None or not generation or entry[0] != generation:
            raise KeyError(key)
        return entry[1:]

    def __contains__(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __setitem__(self, key: bytes, value: object) -> None:
        self.set_value(key, value)

    def set_value(self, key: bytes, value: object, expiretime: float | None = None) -> None:
        """Store an entry of Beaker: the time of storing, its expiry, and the value.

        :param expiretime: seconds for which memcached keeps it; None for as long as there is room.
        :raises TypeError: the value cannot be written as JSON. Tuples are read back as lists.
        """
        entry = json.dumps([self._generation(), *value]).encode()  # type: ignore[misc]
        # Rounded up, because Beaker itself compares the exact time.
        self._servers.set(self.memcached_key(key), entry, int(expiretime) + 1 if expiretime else 0)

    def __delitem__(self, key: bytes) -> None:
        self._servers.delete(self.memcached_key(key))

    def do_remove(self) -> None:
        """Empty this namespace for every process that uses it. The keys of other namespaces are not changed."""
        self._servers.set(self._generation_key, _new_generation(), 0)

    def keys(self) -> list[bytes]:
        """Not supported: memcached cannot list keys."""
        raise NotImplementedError("memcached cannot list the keys of a cache")

    def _generation(self) -> str:
        known = self._servers.get(self._generation_key)
        if known is None and self._servers.add(self._generation_key, made := _new_generation(), 0):
            known = made
        # Still None: another process was faster, or the server is down. Only this one entry is not stored.
        return known.decode("ascii", "replace") if known else ""

    def memcached_key(self, key: bytes) -> str:
        """The key in memcached of a Beaker key."""
        return cache_key(self.namespace, key.decode("ascii", "backslashreplace"))


class SharedCache:
    """A Beaker cache in memcached that several processes share, for use from the reactor.

    Calls are made in the threads of ``memcached``, with its time-outs and its pause after a failure. A call never fails
    because a server is down: a value to be read is then missing, and a value to be stored is dropped.
    """

    def __init__(self, memcached: Memcached, namespace: str) -> None:
        """:param namespace: the first part of every key in memcached, such as the name of the application."""
        register()
        self._memcached = memcached
        self._cache = Cache(namespace, type=NAME, servers=memcached.servers)

    def get(self, key: str) -> Deferred[Any]:
        """The value of a key, or None. Another program may have written the value, so the caller must check it."""
        return self._memcached.call((self.memcached_key(key),), None, self._get, key)

    def put(self, key: str, value: object, seconds: float) -> Deferred[None]:
        """Store a value that can be written as JSON.

        :param seconds: how long it is kept, above 0.
        """
        return self._memcached.call((self.memcached_key(key),), None, self._put, key, value, seconds)

    def memcached_key(self, key: str) -> str:
        """The key in memcached of an ASCII key."""
        name: str = self._cache.namespace.memcached_key(key.encode("ascii"))
        return name

    def _get(self, key: str) -> object:
        with suppress(KeyError):
            return self._cache.get(key)
        return None

    def _put(self, key: str, value: object, seconds: float) -> None:
        self._cache.put(key, value, expiretime=seconds)


def _new_generation() -> bytes:
    return uuid.uuid4().hex.encode()


def _decoded(entry: bytes) -> list[object] | None:
    """The entry as it was stored; None for any other value, which another program may have written."""
    try:
        decoded = json.loads(entry)
    except (ValueError, RecursionError):
        return None
    match decoded:
        case [str(), int() | float(), int() | float() | None, _]:
            return decoded  # type: ignore[no-any-return]
    return None
