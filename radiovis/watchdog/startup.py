"""The state of topics from before our start, so that a restart does not overwrite a living slide.

Nothing has to be stored for it: the nodes store each topic's last message in memcached, and the journal contains all
messages. A memcached that was restarted has lost its values. Until it has run for ``FB_FALLBACK_TIME`` it does not know
about topics that were alive before, and are not stale yet.
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
"""Topics asked for in one request: the answers contain complete messages."""


class StartupState:
    """Asks memcached and the journal, if there are any."""

    def __init__(
        self,
        memcached: Memcached | None,
        journal: Journal | None,
        settings: WatchdogSettings,
        clock: Callable[[], float],
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param memcached: the nodes' memcached; None if there is none.
        :param journal: the journal; None if there is none.
        :param settings: ``FB_FALLBACK_TIME`` is read.
        :param clock: a monotonic clock in seconds, for the times of the result.
        :param unix_time: seconds since 1970, the clock of the stored times.
        """
        self._memcached = memcached
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._unix_time = unix_time

    async def recall(self, topics: Collection[str]) -> dict[str, Liveness]:
        """When topics were last alive; topics without any message are left out.

        If a store does not answer, all topics may be alive: then they count as alive just now. So do topics that a
        memcached does not know if it was started a moment ago.
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
        log.warning("memory.unavailable", reason=reason, topics=len(topics), consequence="their defaults are delayed")
        return dict.fromkeys(topics, Liveness(self._unix_time()))
