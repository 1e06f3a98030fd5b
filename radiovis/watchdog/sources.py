"""Where the entries of the log come from: the durable queue of a cluster, or the bus of a node by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from twisted.internet import defer
from twisted.internet.defer import Deferred

from fanout.bus.interface import BrokerBus, BusError
from fanout.bus.queues import Delivered, DurableQueue
from fanout.bus.retry_buffer import RetryBuffer
from fanout.hub.message import Message
from fanout.process.throttle import Throttle
from radiovis import topics
from radiovis.directory.interface import DirectoryError
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import Entry, Log

# The canonical topic of whatever comes over the bus.

log = structlog.get_logger(__name__)


class Keys:
    """Finds canonical topics, and asks for each country once: anybody may write of any, as often as he likes.

    What the directory did not know then it is asked for again with the list of topics.
    """

    def __init__(self, resolver: TopicResolver) -> None:
        self._resolver = resolver
        self._asked: set[str] = set()

    async def of(self, topic: str) -> str:
        """The canonical form; the topic as it is while its country is unknown."""
        country = topics.country_of(topic)
        if country is None or country in self._asked:
            return self._resolver.canonical_as_known(topic)
        try:
            key = await self._resolver.canonical(topic)
        except DirectoryError as error:
            log.warning("country.unknown", country=country, reason=str(error))
            key = topic
        self._asked.add(country)
        return key


STOP_SECONDS = 5.0
TAP_WAITING = 10_000
"""Messages of a node by itself that wait for its log. There is no queue to leave them in, and memory has an end."""


class Source(Protocol):
    """Where entries of the log come from."""

    async def ensure(self) -> None:
        """Begin to take messages, or go on.

        :raises BusError: they cannot be had now.
        :raises LogError: the log cannot keep any now.
        """

    def hear(self, message: Message) -> None:
        """A message came over the bus."""

    @property
    def trouble(self) -> str:
        """Why the log refuses what comes; empty while it does not."""

    async def stop(self) -> None:
        """Take no more, and wait until the log has what is in hand."""


async def _at_once() -> None:
    """Most logs can always be added to."""


class QueueSource:
    """A :class:`Source` that takes messages from the durable queue, over whatever connection the bus hears by."""

    def __init__(self, bus: BrokerBus, queue: DurableQueue, ready: Callable[[], Awaitable[None]] = _at_once) -> None:
        """:param ready: awaited before anything is taken; raises LogError as long as the log cannot keep it."""
        self._bus = bus
        self._queue = queue
        self._ready = ready

    async def ensure(self) -> None:
        """Consume the queue."""
        connection = self._bus.connection
        if connection is None:
            raise BusError(self._bus.state().reason)
        if not self._queue.consuming:
            await self._ready()
            await self._queue.consume(connection.hearing)

    def hear(self, message: Message) -> None:
        """It comes through the durable queue, too."""

    @property
    def trouble(self) -> str:
        """What the log said last."""
        return self._queue.trouble

    async def stop(self) -> None:
        """Give back to the broker what was not safe in time."""
        try:
            await self._queue.stop()
        except BusError as error:
            log.info("queue.lost_at_stop", reason=str(error))


class TapSource:
    """A :class:`Source` in a node by itself: everything its bus carries."""

    def __init__(self, clock: Any, take: Callable[[Delivered], Deferred[None]]) -> None:
        """:param clock: Twisted's reactor."""
        self._clock = clock
        self._handover = RetryBuffer(clock, take)
        self._throttle = Throttle(clock.seconds)

    def hear(self, message: Message) -> None:
        """Log it. What finds no room is lost, and that is logged."""
        if self._handover.waiting < TAP_WAITING:
            self._handover.offer(Delivered(message, ""), _nothing)
        elif self._throttle.allow("lost"):
            held_back = self._throttle.held_back("lost")
            log.error("log.lost", reason=self.trouble or "the disk is too slow", topic=message.topic, others=held_back)

    async def ensure(self) -> None:
        """The node's bus is always there."""

    @property
    def trouble(self) -> str:
        """What the log said last."""
        return self._handover.trouble

    async def stop(self) -> None:
        """Wait for the log; what it refuses is lost with the process."""
        try:
            await self._handover.idle().addTimeout(STOP_SECONDS, self._clock)
        except defer.TimeoutError:
            log.warning("log.unfinished_at_stop", waiting=self._handover.waiting)
        self._handover.forget()


def _nothing() -> None:
    """There is nobody to acknowledge it to."""


class LogTaker:
    """Turns what comes from the queue into entries of the log."""

    def __init__(self, keys: Keys, entries: Log, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._entries = entries
        self._clock = clock

    def take(self, delivered: Delivered) -> Deferred[None]:
        """For :class:`~fanout.bus.queues.DurableQueue`: fires when the entry is safe."""
        return Deferred.fromCoroutine(self._take(delivered))

    async def _take(self, delivered: Delivered) -> None:
        message = delivered.message
        own = (("message-id", message.message_id), ("when", str(message.when)))
        topic = await self._keys.of(message.topic)
        entry = Entry(topic, message.body, own + message.headers, int(self._clock()), delivered.serial)
        await self._entries.add(entry)
