"""What is known of topics from before our start, so that a restart overwrites no living slide.

Nothing has to be stored for it: the nodes keep each topic's last message in memcached, and the journal has them all.
A memcached that was restarted has lost them. Until it has run for ``FB_FALLBACK_TIME`` it has not heard of topics that
were alive before, and whose time is not over yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace

import structlog

from fanout.cache.memcached import Memcached
from fanout.journal.journal import Journal, JournalError
from radiovis.last_slides import recall_many
from radiovis.settings import WatchdogSettings
from radiovis.watchdog.default_messages import is_default
from radiovis.watchdog.topic_deadlines import Liveness

log = structlog.get_logger(__name__)

AT_ONCE = 500
"""Topics asked for in one go: the answers hold whole messages."""


class StartupState:
    """Asks memcached and the journal, as far as there are any."""

    def __init__(
        self,
        memcached: Memcached | None,
        journal: Journal | None,
        settings: WatchdogSettings,
        clock: Callable[[], float],
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param settings: ``FB_FALLBACK_TIME`` is read.
        :param clock: seconds, monotonic; times of life are told by it.
        :param unix_time: seconds since 1970, by which they were kept.
        """
        self._memcached = memcached
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._unix_time = unix_time

    async def recall(self, topics: Collection[str]) -> dict[str, Liveness]:
        """When topics were last alive; without topics that were never heard.

        A memory that does not answer may well have heard of all of them: then they count as alive just now. So do those
        of which a memcached has not heard that was started a moment ago.
        """
        found: dict[str, Liveness] = {}
        now, kept_by = self._clock(), self._unix_time()
        wanted = list(topics)
        for first in range(0, len(wanted), AT_ONCE):
            found |= await self._recall_some(wanted[first : first + AT_ONCE])
        return {topic: replace(life, when=now - (kept_by - life.when)) for topic, life in found.items()}

    async def _recall_some(self, topics: list[str]) -> dict[str, Liveness]:
        found: dict[str, Liveness] = {}
        if self._journal is not None:
            try:
                found = {topic: Liveness(when) for topic, when in (await self._journal.last_alive(topics)).items()}
            except JournalError as error:
                return self._all_alive(topics, str(error))
        if self._memcached is None:
            return found
        messages = await recall_many(self._memcached, topics)
        for topic, message in messages.items():
            if topic not in found or found[topic].when <= message.when:
                found[topic] = Liveness(message.when, is_default(message))
        if found.keys() >= set(topics):
            return found
        uptime = await self._memcached.uptime()
        if self._memcached.down:
            return self._all_alive(topics, f"memcached does not answer: {', '.join(self._memcached.down)}") | found
        if uptime < self._settings.FB_FALLBACK_TIME:
            return self._all_alive(topics, f"memcached was started {uptime} s ago") | found
        return found

    def _all_alive(self, topics: list[str], reason: str) -> dict[str, Liveness]:
        log.warning("memory.unavailable", reason=reason, topics=len(topics), consequence="their defaults wait")
        return dict.fromkeys(topics, Liveness(self._unix_time()))
