"""Task 3 of the watchdog: the default text and image of topics that have fallen silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import structlog
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Leader
from radiovis import topics
from radiovis.directory.interface import Default, Directory, DirectoryError
from radiovis.preflight.message_check import Preflight
from radiovis.watchdog.defaults import KINDS, default_message
from radiovis.watchdog.staleness import Staleness
from radiovis.watchdog.topic_listing import TopicListing

log = structlog.get_logger(__name__)

T = TypeVar("T")

AT_ONCE = 20
"""Channels whose defaults are asked for and sent side by side: gentle with the directory, and with the reactor."""


class StaleTopics:
    """Sends the defaults. Only the leader does, and only after the broker has said that it still leads."""

    def __init__(
        self,
        silence: Staleness,
        listing: TopicListing,
        directory: Directory,
        bus: Bus,
        leader: Leader,
        clock: Any,
        *,
        check: float,
        retry_policy: float,
        reload: float,
        preflight: Preflight | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param preflight: looks at what is sent, and warns; None for nobody.
        :param clock: Twisted's reactor.
        :param unix_time: seconds since 1970, by the machine's clock.
        :param check: seconds from one round to the next.
        :param retry_policy: seconds a topic may be silent.
        :param reload: seconds after which a topic whose station has given no default is looked at again.
        """
        self._silence = silence
        self._listing = listing
        self._directory = directory
        self._bus = bus
        self._leader = leader
        self._clock = clock
        self._unix_time = unix_time
        self._preflight = preflight
        self._check = check
        self._nothing_to_show = min(retry_policy, reload)
        self._good: dict[int, Default | None] = {}
        self._failures = 0
        self._directory_error = ""

    async def check(self) -> None:
        """One round.

        :raises BusError: the broker took not all defaults; the others are due again with the next round.
        :raises DirectoryError: it does not answer, and some of the defaults were never known.
        """
        if not self._leader.leading:
            return
        now = self._clock.seconds()
        due = self._silence.due(now, again=now + self._check)
        if due and await self._leader.claim():
            await self._show_all(due)

    async def _show_all(self, due: list[str]) -> None:
        channels: dict[str, set[str]] = {}
        for topic in due:
            channels.setdefault(topics.channel_of(topic), set()).add(topic.rpartition("/")[2])
        self._failures, self._directory_error = 0, ""
        shown = 0
        for batch in _batches(channels):
            if not self._leader.leading:
                raise BusError("the lead was lost while defaults were sent")
            shown += sum(await self._show_batch([(prefix, channels[prefix]) for prefix in batch]))
            await deferLater(self._clock, 0)  # Let radios have their turn: nothing above has to wait for a socket.
        if shown:
            log.info("defaults.sent", topics=shown)
        if self._directory_error:
            raise DirectoryError(self._directory_error)

    async def _show_batch(self, batch: list[tuple[str, set[str]]]) -> list[int]:
        return await _all([Deferred.fromCoroutine(self._show(prefix, kinds)) for prefix, kinds in batch])

    async def _show(self, prefix: str, kinds: set[str]) -> int:
        """Send what is due on one channel, text before image; how many that were."""
        channel = self._listing.channels.get(prefix)
        if channel is None:
            return 0
        asked = self._failures < AT_ONCE
        try:
            default = await self._default(channel.id)
        except DirectoryError as error:
            self._directory_error = str(error)
            for kind in kinds if asked else ():  # Behind the others: it must not keep them from being asked for.
                self._silence.later(prefix + kind, self._clock.seconds() + 2 * self._check)
            return 0
        sent = []
        for kind in KINDS:
            if kind in kinds:
                now = self._unix_time()
                message = default_message(channel.topic, kind, default, now) if default is not None else None
                if message is None:
                    self._silence.later(prefix + kind, self._clock.seconds() + self._nothing_to_show)
                else:
                    sent.append(self._bus.publish(message))
                    if self._preflight is not None:
                        self._preflight.check([message])
        await _all(sent)
        return len(sent)

    async def _default(self, channel: int) -> Default | None:
        """What the directory says, or said last. One that keeps failing is left alone for the rest of the round."""
        error = self._directory_error
        if self._failures < AT_ONCE:
            try:
                self._good[channel] = await self._directory.default(channel)
            except DirectoryError as failure:
                self._failures += 1
                error = str(failure)
        if channel not in self._good:
            raise DirectoryError(error)
        return self._good[channel]


async def _all(begun: list[Deferred[T]]) -> list[T]:
    try:
        return await gatherResults(begun, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
        raise  # not reached: the line above raises what went wrong first


def _batches(channels: dict[str, set[str]]) -> Iterator[list[str]]:
    prefixes = iter(channels)
    while batch := list(islice(prefixes, AT_ONCE)):
        yield batch
