"""Task 3 of the watchdog: the default text and image of topics that have become stale.

**Responsibility.** A station that sends nothing still has something to show: its default text and its default image,
which it registered in the directory. The watchdog publishes them like any other message, so radios, nodes, retained
slides and the log need no special case. This file decides *that* a default is sent now, fetches it, and sends it. It
does not decide:

- which topics exist: :class:`~radiovis.watchdog.topic_listing.TopicListing`, task 1;
- when a topic was last alive: :class:`~radiovis.watchdog.broker_liveness.BrokerLiveness`, task 2;
- which topics are stale: :class:`~radiovis.watchdog.topic_deadlines.Staleness`, which also remembers when each is next
  due;
- what the message looks like: :mod:`~radiovis.watchdog.default_messages`.

**The life of a topic**, for text and image separately:

.. code-block:: text

                              a message of the station is received
                ┌───────────────────────────────────────────────────────────┐
                ▼                                                           │
    ┌──────────────────────┐  FB_FALLBACK_TIME over   ┌─────┐  sent  ┌────────────┐
    │ alive                │ ───────────────────────▶ │ due │ ─────▶ │ on default │
    └──────────────────────┘                          └─────┘ ◀───── └────────────┘
       ▲ listed, and known                             ▲ ▲ │  FB_REPEAT over
       │ before our start                              │ └─┘ not sent: again after
    ┌──┴────┐   listed, and unknown                    │     FB_FALLBACK_CHECK, or later
    │ new   │ ─────────────────────────────────────────┘
    └───────┘

"On default" begins when the default is received over the bus, not when it is passed to the bus: the watchdog receives
its own message like any other, and only received messages count. So a default that the broker lost is sent again, and
standbys, which receive it too, know as much as the leader.

**Invariants.**

- *Only the leader sends*, and it asks the broker before each default whether it still leads. A process that was frozen
  for a minute, or cannot reach most of the broker's nodes, believes that it leads; the broker knows better. Defaults
  are sent over the connection of the lead, so a process that lost the lead cannot publish either.
- *A living topic never gets a default.* A topic counts as alive if its state is not known: topics with messages from
  before a restart (:mod:`~radiovis.watchdog.startup`), time without a connection to the bus, and stores that do not
  answer.
- *No due topic is forgotten.* A topic that is taken as due becomes due again after ``FB_FALLBACK_CHECK``. A round may
  fail at any point, and the next one finds the rest.
- *One channel that fails does not delay the others.* A channel whose default is not available goes to the end of the
  due ones. After :data:`AT_ONCE` failures the directory counts as down and is not asked again in this round.
- *The directory may be down.* The last answer for each channel is stored here and used then. Only a default that was
  never known has to wait.
- *A round never blocks the reactor*: at most :data:`AT_ONCE` channels are handled concurrently, and sockets have their
  turn between two batches.

**Why not a timer per topic** that sends the default when it expires? If ten thousand topics become stale together, as
after an outage of a studio, there would be ten thousand requests to the directory at once, and as many claims of the
lead. A round limits the requests, has few claims at a time, and can stop half-way. It causes a delay of at most
``FB_FALLBACK_CHECK``, as in the original.

**Why are answers stored here**, in addition to the directory's caches? The caches keep an answer for a limited time,
because the directory decides about rights. A default that is a day old is better than none, however long the directory
is down.
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
"""Channels whose defaults are fetched and sent concurrently. The number limits the load on the directory and on the
reactor."""


class StaleTopics:
    """Sends the defaults of stale topics.

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
        :param staleness: knows the stale topics.
        :param listing: knows the listed channels.
        :param directory: has the defaults.
        :param bus: publishes them.
        :param leader: the election.
        :param clock: Twisted's reactor.
        :param settings: ``FB_FALLBACK_CHECK``, ``FB_FALLBACK_TIME`` and ``FB_CHANNEL_CACHE`` are read.
        :param preflight: checks the defaults, and warns; None to send them without a check.
        :param unix_time: seconds since 1970, for the messages.
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

        :raises BusError: the broker did not accept all defaults; the others are due again in the next round.
        :raises DirectoryError: the directory does not answer, and some of the defaults were never known.
        """
        if not self._leader.leading:
            return
        now = self._clock.seconds()
        due = self._staleness.due(now, again=now + self.settings.FB_FALLBACK_CHECK)
        if due and await self._leader.claim():  # First, because the directory need not be asked without a lead.
            await self._show_all(due)

    async def _show_all(self, due: list[str]) -> None:
        channels: dict[str, set[str]] = {}
        for topic in due:
            channels.setdefault(topics.channel_of(topic), set()).add(topic.rpartition("/")[2])
        self._failures, self._directory_error = 0, ""
        shown = 0
        for batch in _batches(channels):
            shown += sum(await self._show_batch([(prefix, channels[prefix]) for prefix in batch]))
            await deferLater(self._clock, 0)  # The code above may not wait for any socket.
        if shown:
            log.info("defaults.sent", topics=shown)
        if self._directory_error:
            raise DirectoryError(self._directory_error)

    async def _show_batch(self, batch: list[tuple[str, set[str]]]) -> list[int]:
        return await _all([Deferred.fromCoroutine(self._show(prefix, kinds)) for prefix, kinds in batch])

    async def _show(self, prefix: str, kinds: set[str]) -> int:
        """Send the due defaults of one channel, text before image. Returns how many were sent."""
        channel = self._listing.channels.get(prefix)
        if channel is None:
            return 0
        asked = self._failures < AT_ONCE
        try:
            default = await self._default(channel.id)
        except DirectoryError as error:
            self._directory_error = str(error)
            if asked:  # To the end, so that it does not block the others.
                self._put_off(prefix, kinds, 2 * self.settings.FB_FALLBACK_CHECK)
            return 0
        messages = self._messages(channel, default, kinds)
        settings = self.settings
        self._put_off(prefix, kinds - messages.keys(), min(settings.FB_FALLBACK_TIME, settings.FB_CHANNEL_CACHE))
        await _all([Deferred.fromCoroutine(self._publish(message)) for message in messages.values()])
        return len(messages)

    def _messages(self, channel: Channel, default: Default | None, kinds: set[str]) -> dict[str, Message]:
        """The messages by kind. A kind without a default of the station is left out."""
        if default is None:
            return {}
        now = self._unix_time()
        made = {kind: default_message(channel.topic, kind, default, now) for kind in KINDS if kind in kinds}
        return {kind: message for kind, message in made.items() if message is not None}

    async def _publish(self, message: Message) -> None:
        """Publish a default. There must be no wait between the claim and the publish, so that both use the same
        connection.
        """
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
        """The default from the directory, or its last known value. A directory that keeps failing is not asked again in
        this round.
        """
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
        raise  # not reached: the line above raises the first error


def _batches(channels: dict[str, set[str]]) -> Iterator[list[str]]:
    prefixes = iter(channels)
    while batch := list(islice(prefixes, AT_ONCE)):
        yield batch
