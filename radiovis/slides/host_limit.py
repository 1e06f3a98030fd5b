"""A limit on fetches at the same time. One host gets at most half of it: a host that hangs does not block others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from twisted.internet.defer import DeferredSemaphore


def share(whole: int) -> int:
    """How much of a common limit one host may use: half of it, and at least 1."""
    return max(1, whole // 2)


def host_of(url: str) -> str:
    """The host of a URL; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class HostLimit:
    """Slots for fetches, given in the order in which they are asked for.

    :ivar hosts: those that have a slot, or wait for one.
    """

    def __init__(self, limit: int) -> None:
        """:param limit: slots at the same time."""
        self.hosts: dict[str, DeferredSemaphore] = {}
        self._all = DeferredSemaphore(limit)
        self._share = share(limit)

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[None]:
        """Wait for a slot, and have it. While a fetch waits for its host's share, it takes no slot of other hosts."""
        own = self.hosts.setdefault(host, DeferredSemaphore(self._share))
        await own.acquire()
        try:
            await self._all.acquire()
            try:
                yield
            finally:
                self._all.release()
        finally:
            own.release()
            if own.tokens == own.limit and self.hosts.get(host) is own:
                del self.hosts[host]
