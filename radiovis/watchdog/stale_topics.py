"""Task 3 of the watchdog: the default text and image of topics that have become stale.

**Responsibility.** A station that sends nothing still has something to show: its default text and its default image,
which it registered in the directory. The watchdog publishes them like any other message, so radios, nodes, last slides
and the log need no special case. This file decides *that* a default is sent now, fetches it, and sends it. It does not
decide:

- which topics exist: :class:`~radiovis.watchdog.topic_listing.TopicListing`, task 1;
- when a topic was last alive: :class:`~radiovis.watchdog.broker_liveness.BrokerLiveness`, task 2;
- which topics are stale: :class:`~radiovis.watchdog.topic_deadlines.Staleness`, which also remembers when each is
  next due;
- what the message looks like: :mod:`~radiovis.watchdog.default_messages`.

**The life of a topic**, text and image each for itself:

.. code-block:: text

                              a message of the station is heard
                ┌───────────────────────────────────────────────────────────┐
                ▼                                                           │
    ┌──────────────────────┐  FB_FALLBACK_TIME over   ┌─────┐  sent  ┌────────────┐
    │ alive                │ ───────────────────────▶ │ due │ ─────▶ │ on default │
    └──────────────────────┘                          └─────┘ ◀───── └────────────┘
       ▲ listed, and heard                             ▲ ▲ │  FB_REPEAT over
       │ before our start                              │ └─┘ not sent: again after
    ┌──┴────┐   listed, and never heard of             │     FB_FALLBACK_CHECK, or later
    │ new   │ ─────────────────────────────────────────┘
    └───────┘

"On default" begins when the default comes back over the bus, not when it is handed to the bus: the watchdog hears its
own message like any other, and only what was heard counts. So a default that the broker lost is sent again by
itself, and standbys, which hear it too, know as much as the leader.

**Invariants.**

- *Only the leader sends*, and it asks the broker whether it still leads before each default. A process that was frozen
  for a minute, or is cut off from most of the broker's nodes, believes that it leads; the broker knows better. Defaults
  go over the connection by which it leads, so one that lost the lead cannot publish either.
- *A living topic never gets a default.* What is not known counts as alive: topics heard before a restart
  (:mod:`~radiovis.watchdog.startup`), time in which the bus was away, memories that do not answer.
- *Nothing due is forgotten.* Taking a topic as due makes it due again after ``FB_FALLBACK_CHECK``. A round may fail at
  any point, and the next one finds the rest.
- *One channel that fails does not hold up the others.* A channel whose default cannot be had goes behind all that are
  due. After :data:`AT_ONCE` failures the directory counts as down and is not asked again in this round.
- *The directory may be down.* The last answer for each channel is kept here and used then. A default that was never
  known is the only one that has to wait.
- *A round never blocks the reactor*: at most :data:`AT_ONCE` channels are handled side by side, and sockets have their
  turn between two batches.

**Why not a timer per topic** that sends the default when it expires? Ten thousand topics that become stale together, as
after an outage of a studio, would be ten thousand questions to the directory at once, and as many claims of the lead. A
round bounds the questions, has few claims under way at a time, and can stop half-way. It costs at most
``FB_FALLBACK_CHECK`` of delay, which the original had as well.

**Why a memory of our own here**, beside the directory's caches? Those keep an answer for a limited time, as it decides
rights. A default that is a day old is better than none, however long the directory is away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any, TypeVar

import structlog
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Leader
from fanout.hub.message import Message
from radiovis import topics
from radiovis.directory.interface import Channel, Default, Directory, DirectoryError
from radiovis.preflight.message_check import Preflight
from radiovis.settings import WatchdogSettings
from radiovis.watchdog.default_messages import KINDS, default_message
from radiovis.watchdog.topic_deadlines import Staleness
from radiovis.watchdog.topic_listing import TopicListing

log = structlog.get_logger(__name__)

T = TypeVar("T")

AT_ONCE = 20
"""Channels whose defaults are asked for and sent side by side: gentle with the directory, and with the reactor."""


class StaleTopics:
    """Sends the defaults.

    :ivar settings: may be replaced at any time.
    """

    def __init__(
        self,
        staleness: Staleness,
        listing: TopicListing,
        directory: Directory,
        bus: Bus,
        leader: Leader,
        clock: Any,
        settings: WatchdogSettings,
        preflight: Preflight | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param clock: Twisted's reactor.
        :param settings: ``FB_FALLBACK_CHECK``, ``FB_FALLBACK_TIME`` and ``FB_CHANNEL_CACHE`` are read.
        :param preflight: looks at what is sent, and warns; None to send without a look.
        """
        self.settings = settings
        self._staleness = staleness
        self._listing = listing
        self._directory = directory
        self._bus = bus
        self._leader = leader
        self._clock = clock
        self._unix_time = unix_time
        self._preflight = preflight
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
        due = self._staleness.due(now, again=now + self.settings.FB_FALLBACK_CHECK)
        if due and await self._leader.claim():  # For the directory, which is not asked in vain.
            await self._show_all(due)

    async def _show_all(self, due: list[str]) -> None:
        channels: dict[str, set[str]] = {}
        for topic in due:
            channels.setdefault(topics.channel_of(topic), set()).add(topic.rpartition("/")[2])
        self._failures, self._directory_error = 0, ""
        shown = 0
        for batch in _batches(channels):
            shown += sum(await self._show_batch([(prefix, channels[prefix]) for prefix in batch]))
            await deferLater(self._clock, 0)  # Nothing above has to wait for a socket, and radios must have their turn.
        if shown:
            log.info("defaults.sent", topics=shown)
        if self._directory_error:
            raise DirectoryError(self._directory_error)

    async def _show_batch(self, batch: list[tuple[str, set[str]]]) -> list[int]:
        return await _all([Deferred.fromCoroutine(self._show(prefix, kinds)) for prefix, kinds in batch])

    async def _show(self, prefix: str, kinds: set[str]) -> int:
        """Send what is due on one channel, text before image; returns how many were sent."""
        channel = self._listing.channels.get(prefix)
        if channel is None:
            return 0
        asked = self._failures < AT_ONCE
        try:
            default = await self._default(channel.id)
        except DirectoryError as error:
            self._directory_error = str(error)
            if asked:  # Behind the others: it must not keep them from being asked for.
                self._put_off(prefix, kinds, 2 * self.settings.FB_FALLBACK_CHECK)
            return 0
        messages = self._messages(channel, default, kinds)
        settings = self.settings
        self._put_off(prefix, kinds - messages.keys(), min(settings.FB_FALLBACK_TIME, settings.FB_CHANNEL_CACHE))
        await _all([Deferred.fromCoroutine(self._publish(message)) for message in messages.values()])
        return len(messages)

    def _messages(self, channel: Channel, default: Default | None, kinds: set[str]) -> dict[str, Message]:
        """By kind; a kind for which the station has given no default is left out."""
        if default is None:
            return {}
        now = self._unix_time()
        made = {kind: default_message(channel.topic, kind, default, now) for kind in KINDS if kind in kinds}
        return {kind: message for kind, message in made.items() if message is not None}

    async def _publish(self, message: Message) -> None:
        """Nothing may come between the claim and the publish: both are of the same connection then."""
        if not await self._leader.claim():
            raise BusError("the lead was lost while defaults were sent")
        published = self._bus.publish(message)
        if self._preflight is not None:
            self._preflight.check([message])
        await published

    def _put_off(self, prefix: str, kinds: Collection[str], seconds: float) -> None:
        for kind in kinds:
            self._staleness.later(prefix + kind, self._clock.seconds() + seconds)

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
