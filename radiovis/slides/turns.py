"""Whose turn it is to be fetched: so many slides side by side, and half of them at most from one host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from twisted.internet.defer import DeferredSemaphore


def share(whole: int) -> int:
    """What one host may have of something all of them need: one that hangs leaves the other half to the others."""
    return max(1, whole // 2)


def host_of(url: str) -> str:
    """The host an address names; empty where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Turns:
    """Turns, in the order they were asked for.

    :ivar hosts: those that have one, or wait for it.
    """

    def __init__(self, at_once: int) -> None:
        """:param at_once: slides side by side."""
        self.hosts: dict[str, DeferredSemaphore] = {}
        self._all = DeferredSemaphore(at_once)
        self._share = share(at_once)

    @asynccontextmanager
    async def of(self, host: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Who waits for one of the host's own takes none of the others'."""
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
