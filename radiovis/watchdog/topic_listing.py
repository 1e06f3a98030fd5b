"""Task 1 of the watchdog: the list of topics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import structlog

from radiovis.directory.interface import Channel, Directory
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.default_messages import KINDS
from radiovis.watchdog.topic_deadlines import Liveness, Staleness

log = structlog.get_logger(__name__)

Recall = Callable[[Collection[str]], Awaitable[Mapping[str, Liveness]]]
"""The last known messages of topics from before our start; unknown topics are left out."""


class TopicListing:
    """Reads the list of topics from the directory, and tells :class:`Staleness` which topics to watch.

    :ivar channels: the listed channels, by canonical prefix. An outage of the directory does not change them.
    """

    def __init__(
        self,
        directory: Directory,
        resolver: TopicResolver,
        staleness: Staleness,
        recall: Recall,
        clock: Callable[[], float],
    ) -> None:
        """:param directory: lists the topics.
        :param resolver: finds canonical topics.
        :param staleness: watches the topics.
        :param recall: returns the last known messages of new topics.
        :param clock: a clock in seconds.
        """
        self.channels: dict[str, Channel] = {}
        self._directory = directory
        self._resolver = resolver
        self._staleness = staleness
        self._recall = recall
        self._clock = clock
        self._warned: set[tuple[str, str]] = set()

    async def reload(self) -> None:
        """One round.

        :raises DirectoryError: the directory does not answer.
        """
        await self._resolver.refresh()
        listed = [channel for channel in await self._directory.topics() if channel.listed]
        channels = await self._by_prefix(listed)
        topics = [prefix + kind for prefix in channels for kind in KINDS]
        known = await self._recall([topic for topic in topics if topic not in self._staleness])
        if len(channels) != len(self.channels):
            log.info("topics.listed", channels=len(channels), before=len(self.channels))
        self.channels = channels
        self._staleness.watch(topics, known, self._clock())

    async def _by_prefix(self, listed: list[Channel]) -> dict[str, Channel]:
        channels: dict[str, Channel] = {}
        for channel in listed:
            topic = channel.topic
            if not topic.endswith("/"):
                self._warn("topics.no_trailing_slash", topic, advice="treated as if it had one")
                topic += "/"
            first = channels.setdefault(await self._resolver.canonical(topic), Channel(topic, channel.id))
            if first.id != channel.id or first.topic != topic:
                self._warn("topics.listed_twice", topic, id=channel.id, also=first.topic, used=first.id)
        return channels

    def _warn(self, event: str, topic: str, **fields: Any) -> None:
        """Log a warning once, and not with every reload."""
        if (event, topic) not in self._warned and len(self._warned) < 10_000:
            self._warned.add((event, topic))
            log.warning(event, topic=topic, **fields)
