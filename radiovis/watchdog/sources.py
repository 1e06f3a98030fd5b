"""The sources of log entries: the durable queue of a cluster, or the bus of a node without a broker.

:class:`QueueSource` is the first, :class:`TapSource` the second :class:`Source`. Both pass messages to a
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
"""Seconds that the log has at the end to store the messages passed to it."""
TAP_WAITING = 20_000
"""Messages of a node without a broker that may wait for its log, because there is no queue to leave them in. A single
publisher may have half of them (:class:`~fanout.cache.bounded_dict.SharedBudget`), a second of full load."""
TAP_OCTETS = 67_108_864
"""Octets of memory of these messages, 64 MiB; a single publisher may have half of them."""
JOURNAL_PREFETCH = 200
"""Prefetch for the journal, which writes some hundred messages at a time. If each has 256 KiB they take 50 MiB."""
REMOTE_PREFETCH = 20
"""Prefetch for a log on another server, which accepts one message at a time. It is so high that the watchdog never
waits for the broker's answer, and so low that few messages are sent again when the lead changes."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Keys:
    """Finds canonical topics. It asks the directory for each country once, because a client may name any country as
    often as it likes. Countries that the directory does not know are asked for again with the list of topics.
    """

    def __init__(self, resolver: TopicResolver) -> None:
        self._resolver = resolver
        self._asked: set[str] = set()

    async def of(self, topic: str) -> str:
        """The canonical form of a topic; the topic itself while its country is unknown."""
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
        """:param keys: finds canonical topics.
        :param entries: the log.
        :param clock: Unix time in seconds.
        """
        self._keys = keys
        self._entries = entries
        self._clock = clock

    def take(self, delivered: Delivered) -> Deferred[None]:
        """Log a message of a :class:`~fanout.bus.queues.DurableQueue`. The Deferred fires when the entry is safe."""
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
        """The time of publication. A message may have waited in the queue for days. Our nodes write it into the
        message; the time from devices may be wrong.
        """
        now = int(self._clock())
        return min(delivered.message.when, now) if own_serial(delivered.serial) else now


class Source(Protocol):
    """A source of log entries."""

    async def ensure(self) -> None:
        """Start to take messages, or continue.

        :raises BusError: messages cannot be received now.
        """

    def forget(self) -> None:
        """Drop the messages that the log refused: their connection is lost, or another watchdog leads and gets them."""

    def hear(self, message: Message) -> None:
        """A message was received over the bus."""

    @property
    def trouble(self) -> str:
        """Why the log of this machine refuses messages; empty while it accepts them."""

    @property
    def waiting(self) -> int:
        """How many messages are still to be logged."""

    @property
    def lost(self) -> int:
        """How many messages since the start will never be logged, because there was no room for them."""

    async def stop(self) -> None:
        """Take no more messages, and wait until the log has stored those that were passed to it."""


class QueueSource:
    """A :class:`Source` that takes messages from the durable queue, over the consuming connection of the bus.

    A policy of the broker may limit the queue. The broker then drops the oldest messages and does not report it. They
    are counted as gaps in the publishers' serials (:class:`~fanout.bus.duplicates.Seen`). Messages of devices have no
    serials, and messages dropped while no watchdog leads, or between two leaders, are not noticed either. So the count
    is a lower bound, and 0 is only certain if ``waiting`` was never close to the policy's limit.
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
        :param reactor: Twisted's reactor.
        :param bus: the bus whose connections are used.
        :param names: the queue.
        :param take: passes a message to the log.
        :param limits: the limits of a message.
        :param remote: whether the log is on another server. Its outages belong to its own state and are not trouble of
            this machine.
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
        """Consume the queue, and ask the broker for its length."""
        connection = self._bus.connection
        if connection is None:
            raise BusError(self._bus.state().reason)
        if not self._queue.consuming:
            self._lost_before = self.lost
            self._seen = Seen()  # Another watchdog may have taken messages; these are not lost.
            self._connection = connection
            await self._queue.consume(connection.hearing)
        self._length = await self._queue.length()

    def forget(self) -> None:
        """Give up the messages in progress: the broker delivers them again to the leader."""
        for taken in [*self._in_hand] if self._remote else ():
            taken.cancel()
        self._queue.forget()

    def hear(self, message: Message) -> None:
        """Do nothing: the message is also delivered through the durable queue."""

    def _took(self, delivered: Delivered) -> Deferred[None]:
        if self._connection is not self._bus.connection:
            return defer.fail(BusError("its connection is lost; the message is delivered again"))
        self._seen.is_new(delivered.serial)
        if self._remote and delivered.again and own_serial(delivered.serial):
            return defer.succeed(None)  # A journal recognises all copies; PlugIt does not.
        taken = self._take(delivered)
        self._in_hand.add(taken)
        return taken.addBoth(self._out_of_hand, taken)

    def _out_of_hand(self, outcome: T, taken: Deferred[None]) -> T:
        self._in_hand.discard(taken)
        return outcome

    @property
    def trouble(self) -> str:
        """The last error of the log."""
        return self._queue.trouble if self._queue.waiting and not self._remote else ""

    @property
    def waiting(self) -> int:
        """Messages in the queue, as the broker last reported, and in progress; 0 if another watchdog takes them."""
        return self._length + self._queue.waiting if self._queue.consuming else 0

    @property
    def lost(self) -> int:
        """How many messages the broker dropped, as far as the publishers' numbers show it."""
        return self._lost_before + self._seen.missed

    async def stop(self) -> None:
        """Stop. Messages that were not safe in time stay with the broker."""
        try:
            await self._queue.stop()
        except BusError as error:
            log.info("queue.lost_at_stop", reason=str(error))


class TapSource:
    """A :class:`Source` in a node without a broker: everything that its bus carries.

    Publishers share the room for messages that wait for a slow disk: one that fills it loses only its own entries.
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
        """Log a message. If there is no room for it, it is lost, which is logged."""
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
        """The log has stored a message. There is no broker to which it could be acknowledged."""
        self._messages.give_back(owner, 1)
        self._octets.give_back(owner, octets)

    async def ensure(self) -> None:
        """Do nothing: the node's bus always works."""

    def forget(self) -> None:
        """Do nothing: the node's bus is never lost."""

    @property
    def trouble(self) -> str:
        """The last error of the log."""
        return self._retry_buffer.trouble

    @property
    def waiting(self) -> int:
        """How many messages wait in memory."""
        return self._retry_buffer.waiting

    async def stop(self) -> None:
        """Wait for the log. Messages that it refuses are lost when the process ends."""
        try:
            await self._retry_buffer.idle().addTimeout(STOP_SECONDS, self._clock)
        except defer.TimeoutError:
            log.warning("log.unfinished_at_stop", waiting=self._retry_buffer.waiting)
        self._retry_buffer.forget()
