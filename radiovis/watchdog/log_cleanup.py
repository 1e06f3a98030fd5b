"""Task 4 of the watchdog: drop what the log has kept for long enough."""

from __future__ import annotations

import structlog

from radiovis.watchdog.leader import Leader
from radiovis.watchdog.log import Log

log = structlog.get_logger(__name__)


class LogCleanup:
    """Drops old entries. One watchdog does it for all."""

    def __init__(self, entries: Log, leader: Leader, max_age: int) -> None:
        """:param max_age: seconds an entry is kept."""
        self._entries = entries
        self._leader = leader
        self._max_age = max_age

    async def clean(self) -> None:
        """One round.

        :raises LogError: the log could not.
        """
        if not self._leader.leading:
            return
        dropped = await self._entries.cleanup(self._max_age)
        if dropped:
            log.info("log.cleaned", dropped=dropped, max_age=self._max_age)
