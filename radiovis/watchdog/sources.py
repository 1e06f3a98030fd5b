"""Where the entries of the log come from: the durable queue of a cluster, or the bus of a node without a broker.

:class:`QueueSource` is the first, :class:`TapSource` the second :class:`Source`. Both give messages to a
:class:`LogTaker`, which makes entries of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from twisted.internet import defer
from twisted.internet.defer import Deferred

from fanout.bus.amqp_message import DEFAULT_LIMITS, MessageLimits
from fanout.bus.consumer_retry import RetryBuffer
from fanout.bus.duplicates import Seen
from fanout.bus.interface import BrokerBus, BusError
from fanout.bus.queues import Delivered, DurableQueue, QueueNames
from fanout.cache.bounded_dict import SharedBudget
from fanout.hub.message import Message
from fanout.process.logs import Throttle
from radiovis import topics
from radiovis.directory.interface import DirectoryError
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.log import Entry, Log, own_serial

STOP_SECONDS = 5.0
"""Seconds the log has at the end, for what it was given."""
TAP_WAITING = 20_000
"""Messages of a node without a broker that wait for its log. There is no queue to leave them in. A publisher by itself
has half of them (:class:`~fanout.cache.bounded_dict.SharedBudget`), and so a second of full load."""
TAP_OCTETS = 67_108_864
"""Octets of memory of these, 64 MiB; a publisher by itself has half of them."""
JOURNAL_PREFETCH = 200
"""Messages taken ahead for the journal, which writes some hundred at a time: of 256 KiB each they are 50 MiB."""
REMOTE_PREFETCH = 20
"""Messages taken ahead for a log that is another server, which takes one at a time: enough that the broker's answer is
never waited for, and few to be sent again when the lead changes."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Keys:
    """Finds canonical topics, and asks for each country once: a client may name any country, as often as it likes.

    Countries the directory did not know then are asked for again with the list of topics.
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


class LogTaker:
    """Turns messages into entries of the log."""

    def __init__(self, keys: Keys, entries: Log, clock: Callable[[], float]) -> None:
        """:param clock: Unix time in seconds."""
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
        headers, timestamp = own + message.headers, self._timestamp(delivered)
        await self._entries.add(
            Entry(topic, message.body, headers, timestamp, delivered.serial, delivered.message.origin)
        )

    def _timestamp(self, delivered: Delivered) -> int:
        """A message may have waited in the queue for days. Our nodes say when it was published; devices may err."""
        now = int(self._clock())
        return min(delivered.message.when, now) if own_serial(delivered.serial) else now


class Source(Protocol):
    """Where entries of the log come from."""

    async def ensure(self) -> None:
        """Begin to take messages, or go on.

        :raises BusError: they cannot be had now.
        """

    def forget(self) -> None:
        """Drop what the log refused: the bus it came by is lost, or another watchdog leads and has it."""

    def hear(self, message: Message) -> None:
        """A message came over the bus."""

    @property
    def trouble(self) -> str:
        """Why the log of this machine refuses what comes; empty while it does not."""

    @property
    def waiting(self) -> int:
        """Messages that are to be logged and are not yet."""

    @property
    def lost(self) -> int:
        """Messages since the start that found no room to wait, so the log never gets them."""

    async def stop(self) -> None:
        """Take no more, and wait until the log has what it was given."""


class QueueSource:
    """A :class:`Source` that takes messages from the durable queue, over the connection by which the bus hears.

    The queue may be bounded by a policy of the broker, which then drops the oldest messages and reports nothing. They
    are counted as gaps in the publishers' serials (:class:`~fanout.bus.duplicates.Seen`). Messages of devices have no
    serials, and what is dropped while no watchdog leads, or between two leaders, is not seen by either: the count is a
    lower bound, and 0 is only sure if ``waiting`` never came near the policy's limit.
    """

    def __init__(
        self,
        reactor: Any,
        bus: BrokerBus,
        names: QueueNames,
        take: Callable[[Delivered], Deferred[None]],
        *,
        remote: bool = False,
        limits: MessageLimits = DEFAULT_LIMITS,
    ) -> None:
        """
        :param take: gives a message to the log.
        :param limits: of a message.
        :param remote: whether the log is another server. Its outages are its own state, not trouble of this machine.
        """
        prefetch = REMOTE_PREFETCH if remote else JOURNAL_PREFETCH
        self._bus = bus
        self._queue = DurableQueue(reactor, names, self._took, prefetch=prefetch, limits=limits)
        self._take = take
        self._remote = remote
        self._connection: object = None
        self._in_hand: set[Deferred[None]] = set()
        self._seen = Seen()
        self._lost_before = 0
        self._length = 0

    async def ensure(self) -> None:
        """Consume the queue, and ask the broker how long it is."""
        connection = self._bus.connection
        if connection is None:
            raise BusError(self._bus.state().reason)
        if not self._queue.consuming:
            self._lost_before = self.lost
            self._seen = Seen()  # Another watchdog may have taken messages since: they were not lost.
            self._connection = connection
            await self._queue.consume(connection.hearing)
        self._length = await self._queue.length()

    def forget(self) -> None:
        """Give up what is in hand: the broker offers it again to the watchdog that leads."""
        for taken in [*self._in_hand] if self._remote else ():
            taken.cancel()
        self._queue.forget()

    def hear(self, message: Message) -> None:
        """It comes through the durable queue, too."""

    def _took(self, delivered: Delivered) -> Deferred[None]:
        if self._connection is not self._bus.connection:
            return defer.fail(BusError("the connection it came by is lost, and it comes again"))
        self._seen.is_new(delivered.serial)
        if self._remote and delivered.again and own_serial(delivered.serial):
            return defer.succeed(None)  # A journal knows all copies; PlugIt none, and our memory ends with us.
        taken = self._take(delivered)
        self._in_hand.add(taken)
        return taken.addBoth(self._out_of_hand, taken)

    def _out_of_hand(self, outcome: T, taken: Deferred[None]) -> T:
        self._in_hand.discard(taken)
        return outcome

    @property
    def trouble(self) -> str:
        """What the log said last."""
        return self._queue.trouble if self._queue.waiting and not self._remote else ""

    @property
    def waiting(self) -> int:
        """Messages in the queue, as the broker said last, and in hand; 0 if another watchdog takes them."""
        return self._length + self._queue.waiting if self._queue.consuming else 0

    @property
    def lost(self) -> int:
        """Messages the broker dropped, as far as their publishers number them."""
        return self._lost_before + self._seen.missed

    async def stop(self) -> None:
        """Give back to the broker what was not safe in time."""
        try:
            await self._queue.stop()
        except BusError as error:
            log.info("queue.lost_at_stop", reason=str(error))


class TapSource:
    """A :class:`Source` in a node without a broker: everything its bus carries.

    What waits for a slow disk is shared between the publishers: one that fills it loses its own entries.
    """

    def __init__(self, clock: Any, take: Callable[[Delivered], Deferred[None]]) -> None:
        """:param clock: Twisted's reactor."""
        self.lost = 0
        self._clock = clock
        self._retry_buffer = RetryBuffer(clock, take)
        self._throttle = Throttle(clock.seconds)
        self._messages: SharedBudget[str] = SharedBudget(TAP_WAITING)
        self._octets: SharedBudget[str] = SharedBudget(TAP_OCTETS)

    def hear(self, message: Message) -> None:
        """Log it. A message that finds no room is lost, and that is logged."""
        owner, octets = message.topic if message.origin is None else message.origin.owner, message.weight
        if self._messages.take(owner, 1):
            if self._octets.take(owner, octets):
                self._retry_buffer.offer(Delivered(message, ""), partial(self._logged, owner, octets))
                return
            self._messages.give_back(owner, 1)
        self.lost += 1
        if self._throttle.allow("lost"):
            held_back = self._throttle.held_back("lost")
            log.error("log.lost", reason=self.trouble or "the disk is too slow", topic=message.topic, others=held_back)

    def _logged(self, owner: str, octets: int) -> None:
        """The log has a message. There is no broker to acknowledge it to."""
        self._messages.give_back(owner, 1)
        self._octets.give_back(owner, octets)

    async def ensure(self) -> None:
        """The node's bus is always there."""

    def forget(self) -> None:
        """The node's bus is never lost."""

    @property
    def trouble(self) -> str:
        """What the log said last."""
        return self._retry_buffer.trouble

    @property
    def waiting(self) -> int:
        """Messages in memory."""
        return self._retry_buffer.waiting

    async def stop(self) -> None:
        """Wait for the log; what it refuses is lost with the process."""
        try:
            await self._retry_buffer.idle().addTimeout(STOP_SECONDS, self._clock)
        except defer.TimeoutError:
            log.warning("log.unfinished_at_stop", waiting=self._retry_buffer.waiting)
        self._retry_buffer.forget()
