"""Beaker over pymemcache, which Beaker's own ``ext:memcached`` cannot use: ``{'cache.type': 'fanout_memcached'}``.

It differs from ``ext:memcached`` in what hurt there: values are JSON instead of pickles, keys are hashed, clearing a
cache leaves everybody else's keys alone (``ext:memcached`` empties the whole server), no lock files are written, and
a server that is down or hangs is left alone for a while. It is called in the reactor's thread and blocks for two
round trips (some 0.1 ms) per look-up, so its time-out is short; ``memory`` is the better choice unless processes
must share the cache.

The settings, beside Beaker's own: ``cache.url`` is ``host[:port]``, several with commas; ``cache.timeout`` is in
seconds (0.05). Installed, Beaker finds it through the entry point ``beaker.backends``; call :func:`register` where
the package is not installed.
"""

from __future__ import annotations

import json
import uuid

from beaker.cache import clsmap
from beaker.container import NamespaceManager
from beaker.exceptions import MissingCacheParameter
from beaker.synchronization import null_synchronizer

from fanout.cache.memcached import cache_key
from fanout.cache.servers import Servers

NAME = "fanout_memcached"
TIMEOUT = 0.05
"""Seconds. A quarter of the usual, because the reactor waits."""


def register() -> None:
    """Make ``fanout_memcached`` known to Beaker. May be called again."""
    try:
        clsmap[NAME]  # Reads the entry points, which Beaker would complain about if the name were taken before.
    except KeyError:
        clsmap._clsmap[NAME] = MemcachedNamespace  # noqa: SLF001 - Beaker has no other way without an entry point.


class MemcachedNamespace(NamespaceManager):  # type: ignore[misc]
    """One Beaker namespace in memcached.

    Each entry carries the namespace's *generation*; clearing the namespace sets a new one, and what carries another is
    missing from then on.
    """

    def __init__(self, namespace: str, url: str | None = None, timeout: float | str = TIMEOUT, **_: object) -> None:
        """
        :param url: the memcached servers, ``host[:port]``, several with commas.
        :raises MissingCacheParameter: without an url.
        :raises ValueError: for an url that makes no sense.
        """
        super().__init__(namespace)
        if not url:
            raise MissingCacheParameter(f"{NAME} needs cache.url, the memcached servers as host:port")
        self._servers = Servers(url, timeout=float(timeout))
        self._generation_key = cache_key("beaker", namespace, "generation")

    def get_creation_lock(self, key: bytes) -> null_synchronizer:
        return null_synchronizer()

    def __getitem__(self, key: bytes) -> list[object]:
        place = self._place(key)
        found = self._servers.get_many([self._generation_key, place])
        entry = _decoded(found.get(place, b""))
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
        """Store what Beaker made of a value: the time, its expiry, and the value, which must have a form in JSON.

        :raises TypeError: when it has none. Tuples come back as lists.
        """
        entry = json.dumps([self._generation(), *value]).encode()  # type: ignore[misc]
        # Rounded up: Beaker compares the exact time itself.
        self._servers.set(self._place(key), entry, int(expiretime) + 1 if expiretime else 0)

    def __delitem__(self, key: bytes) -> None:
        self._servers.delete(self._place(key))

    def do_remove(self) -> None:
        """Empty this namespace, for every process that uses it, and nothing else."""
        self._servers.set(self._generation_key, _new_generation(), 0)

    def keys(self) -> list[bytes]:
        """memcached cannot list keys."""
        raise NotImplementedError("memcached cannot list the keys of a cache")

    def _generation(self) -> str:
        known = self._servers.get(self._generation_key)
        if known is None and self._servers.add(self._generation_key, made := _new_generation(), 0):
            known = made
        # None still: another process was first in between, or the server is down. The entry is then lost, no more.
        return known.decode("ascii", "replace") if known else ""

    def _place(self, key: bytes) -> str:
        return cache_key("beaker", self.namespace, key.decode("ascii", "backslashreplace"))


def _new_generation() -> bytes:
    return uuid.uuid4().hex.encode()


def _decoded(entry: bytes) -> list[object] | None:
    """The entry as it was stored; None for anything else: others may write to memcached, too."""
    try:
        decoded = json.loads(entry)
    except (ValueError, RecursionError):
        return None
    match decoded:
        case [str(), int() | float(), int() | float() | None, _]:
            return decoded  # type: ignore[no-any-return]
    return None
