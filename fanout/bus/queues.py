"""Queues with a name, which keep messages while they have no reader: two kinds of readers, and a writer.

- :class:`DurableQueue` reads a queue bound to the exchange. A message is acknowledged when the taker has stored it.
- :class:`WorkQueue` reads a queue whose messages stay with the broker until they are done, which may take days.
- :class:`ConfirmedChannel` publishes to any queue, and reports the result of each publish.

All of them use the connections of a bus (:class:`~fanout.bus.interface.BrokerBus`), and begin anew on the next
connection when one is lost. The broker is the store: what is not acknowledged is delivered again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pika.channel import Channel
from pika.spec import Basic, BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail

from fanout.bus.amqp_connection import ACCESS_REFUSED, PRECONDITION_FAILED, AmqpChannel, Refusal
from fanout.bus.amqp_message import AGAIN, DEFAULT_LIMITS, MalformedMessage, MessageLimits, from_amqp
from fanout.bus.consumer_retry import RetryBuffer
from fanout.bus.interface import BrokerConnection, BusError
from fanout.hub.message import Message
from fanout.process.logs import Throttle

log = structlog.get_logger()

STOP_SECONDS = 5.0
WORK_EXCHANGE = "amq.direct"
"""The exchange by which others write to a work queue, with its name as the key; it always exists on a broker."""
NOT_DURABLE = "inequivalent arg 'durable'"
"""In a refusal of RabbitMQ. It names the first property that differs, and compares durability first."""
IN_USE = "in exclusive use"
"""In a refusal of RabbitMQ: the queue has another consumer."""
READ_SECONDS = 600.0
"""After so long a work queue is read anew. RabbitMQ closes a channel that has not acknowledged for 30 minutes."""
MAX_OCTETS = 64 * 2**20
"""What a work queue may hold without a reader; further messages are refused. It is the same in all versions:
RabbitMQ refuses to declare a queue again with other arguments."""
MAX_UNANSWERED = 1_000
"""Publishes of one channel without an answer yet; a broker that answers takes milliseconds."""


# Reading


@dataclass(slots=True)
class QueueCounters:
    """What came since the start: deliveries, and those of them that are not messages."""

    delivered: int = 0
    malformed: int = 0


class _QueueReader:
    """Reads a queue over one channel at a time, and drops deliveries that are not messages: they would come for ever.

    :ivar counters: what came since the start.
    """

    _events = "queue"

    def __init__(self, clock: Any, name: str, limits: MessageLimits) -> None:
        self.counters = QueueCounters()
        self._clock = clock
        self._name = name
        self._limits = limits
        self._throttle = Throttle(clock.seconds)
        self._channel: AmqpChannel | None = None

    @property
    def _is_open(self) -> bool:
        return self._channel is not None and self._channel.is_open

    async def _consume(self, channel: AmqpChannel, *, exclusive: bool) -> str:
        """Begin to read; the consumer's tag.

        :param exclusive: whether the broker is to refuse it while the queue has another consumer, and the reverse.
        """
        channel.raw.add_on_cancel_callback(lambda _frame: channel.close())  # The queue was deleted.
        self._channel = channel
        answer = await channel.ask(
            "basic_consume", queue=self._name, on_message_callback=self._on_message, exclusive=exclusive
        )
        return str(answer.method.consumer_tag)

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if self._channel is None or channel is not self._channel.raw:
            return  # The channel is being closed: the message comes again.
        self.counters.delivered += 1
        tag = method.delivery_tag
        try:
            message = from_amqp(properties, body, int(time.time()), self._limits)
        except MalformedMessage as error:
            self.counters.malformed += 1
            self._warn("malformed", reason=str(error), total=self.counters.malformed)
            channel.basic_ack(tag)
            return
        self._received(channel, tag, message, properties)

    def _received(self, channel: Channel, tag: int, message: Message, properties: BasicProperties) -> None:
        raise NotImplementedError

    def _warn(self, event: str, **fields: Any) -> None:
        event = f"{self._events}.{event}"
        if self._throttle.allow(event):
            log.warning(event, queue=self._name, held_back=self._throttle.held_back(event), **fields)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message out of a durable queue.

    :ivar serial: the same in both copies of a message that comes twice; empty when the publisher gave none.
    :ivar again: whether it is a copy of a message that the broker had confirmed before, sent for receivers whose queues
        ended with their connections. A durable queue had the first one.
    """

    message: Message
    serial: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class QueueNames:
    """Which queue, and how long it lives; it is durable, as RabbitMQ 4 refuses transient queues that are not exclusive.

    :ivar name: its name.
    :ivar exchange: the fan-out exchange it is bound to.
    :ivar auto_delete: whether the broker deletes it together with its last consumer.
    """

    name: str
    exchange: str
    auto_delete: bool = False


class DurableQueue(_QueueReader):
    """Consumes a queue bound to the exchange, and acknowledges each message when the taker has stored it.

    What is not acknowledged when the connection ends comes again over the next one. A delivery that is not a message
    is logged and acknowledged.

    There is one consumer at a time. A reader that was frozen, or does not reach the broker any more, has messages in
    hand until the broker notices that; what another one took meanwhile would get before them.
    """

    def __init__(
        self,
        clock: Any,
        names: QueueNames,
        take: Callable[[Delivered], Deferred[None]],
        *,
        prefetch: int = 1000,
        limits: MessageLimits = DEFAULT_LIMITS,
    ) -> None:
        """
        :param clock: Twisted's reactor.
        :param take: fires when the message is stored; any failure means that it is to be offered again later.
        :param prefetch: how many messages the broker sends ahead of our acknowledgement.
        :param limits: of a message.
        """
        super().__init__(clock, names.name, limits)
        self._names = names
        self._prefetch = prefetch
        self._buffer = RetryBuffer(clock, take)
        self._tag = ""
        self._found = 0

    @property
    def consuming(self) -> bool:
        """Whether messages come from the broker."""
        return self._is_open

    @property
    def trouble(self) -> str:
        """Why the taker refuses messages; empty while it does not."""
        return self._buffer.trouble

    @property
    def waiting(self) -> int:
        """How many messages came and are not acknowledged yet."""
        return self._buffer.waiting

    async def consume(self, connection: BrokerConnection) -> None:
        """Begin, on a connection that is open; after its end call this with the next one.

        :raises BusError: the queue cannot be used. The text says why and what to do.
        """
        self._buffer.forget()
        channel = await self._declare(connection)
        await channel.ask("queue_bind", queue=self._name, exchange=self._names.exchange, routing_key="")
        await channel.ask("basic_qos", prefetch_count=self._prefetch)
        self._tag = await self._consume_alone(channel)
        log.info("queue.consuming", queue=self._name, messages=self._found)

    async def _consume_alone(self, channel: AmqpChannel) -> str:
        try:
            return await self._consume(channel, exclusive=True)
        except Refusal as refusal:
            if refusal.code != ACCESS_REFUSED or IN_USE not in str(refusal):
                raise
            raise BusError(
                f"queue {self._name!r} has another consumer: a fallback.py that the broker still takes for alive "
                "(it ends by itself), or another program"
            ) from refusal

    async def length(self) -> int:
        """How many messages wait on the broker, without those that came and are not acknowledged yet.

        :raises BusError: the queue is not consumed, or the connection is lost.
        """
        channel = self._channel
        if channel is None:
            raise BusError("the queue is not consumed")
        declared = await channel.ask("queue_declare", queue=self._name, passive=True)
        return int(declared.method.message_count)

    def forget(self) -> None:
        """Drop what the taker refused: the broker offers it again, to us or to another consumer."""
        self._buffer.forget()

    async def stop(self) -> None:
        """Take no more messages, and wait until those in hand are stored and acknowledged, up to 5 s."""
        channel = self._channel
        self._buffer.forget()
        if channel is None or not channel.is_open:
            return
        await channel.ask("basic_cancel", consumer_tag=self._tag)
        try:
            await self._buffer.idle().addTimeout(STOP_SECONDS, self._clock)
        except defer.TimeoutError:
            log.warning("queue.unacknowledged_at_stop", waiting=self.waiting)
        channel.close()

    async def _declare(self, connection: BrokerConnection) -> AmqpChannel:
        try:
            return await self._declare_ours(connection)
        except Refusal as refusal:
            if refusal.code != PRECONDITION_FAILED:
                raise
            if NOT_DURABLE not in str(refusal):
                return await self._declare_ours(connection, passive=True)  # An operator gave it arguments.
        await self._remove(connection)
        return await self._declare_ours(connection)

    async def _declare_ours(self, connection: BrokerConnection, passive: bool = False) -> AmqpChannel:
        """:param passive: use the queue that exists, whatever its arguments."""
        channel = await AmqpChannel.open(connection)
        declared = await channel.ask(
            "queue_declare",
            queue=self._name,
            passive=passive,
            durable=True,
            auto_delete=self._names.auto_delete,
        )
        self._found = declared.method.message_count
        return channel

    async def _remove(self, connection: BrokerConnection) -> None:
        """The queue of the first version has our name and is not durable. It is deleted if it is empty and unused."""
        name = self._name
        channel = await AmqpChannel.open(connection)
        try:
            await channel.ask("queue_delete", queue=name, if_unused=True, if_empty=True)
        except Refusal as refusal:
            raise BusError(
                f"queue {name!r} on the broker has other properties than ours, as the original's has, and is in use or "
                f"not empty: stop the old fallback.py, and delete the queue (rabbitmqctl delete_queue {name})"
            ) from refusal
        channel.close()
        log.info("queue.replaced", queue=name, reason="it was not durable")

    def _received(self, channel: Channel, tag: int, message: Message, properties: BasicProperties) -> None:
        serial = properties.correlation_id if isinstance(properties.correlation_id, str) else ""
        self._buffer.offer(Delivered(message, serial, properties.type == AGAIN), lambda: _acknowledge(channel, tag))


def _acknowledge(channel: Channel, tag: int) -> None:
    if channel.is_open:
        channel.basic_ack(tag)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A message out of a work queue. :ivar ticket: for :meth:`WorkQueue.done`."""

    message: Message
    ticket: int


class WorkQueue(_QueueReader):
    """Reads a queue completely, and leaves each message with the broker until it is done. One reader at a time.

    What was read and is not done comes again when the reader, or its machine, is gone. Others write to the queue only
    while the reader has room: :data:`WORK_EXCHANGE` leads to it then. What frees room may always be written, by the
    broker's default exchange.
    """

    _events = "kept_queue"

    def __init__(
        self,
        clock: Any,
        name: str,
        take: Callable[[WorkItem], None],
        forget: Callable[[], None],
        limits: MessageLimits = DEFAULT_LIMITS,
    ) -> None:
        """
        :param clock: Twisted's reactor.
        :param take: is given each message, in the order they were written. Must not raise.
        :param forget: called when all messages that were given will be given again, with other tickets.
        :param limits: of a message.
        """
        super().__init__(clock, name, limits)
        self._take = take
        self._forget = forget
        self._connection: BrokerConnection | None = None
        self._read_at = 0.0
        self._room: bool | None = None

    @property
    def reading(self) -> bool:
        """Whether messages come from the broker."""
        return self._is_open

    async def ensure(self, connection: BrokerConnection, *, room: bool) -> None:
        """Begin to read, or continue.

        :param room: whether others may write what takes room.
        :raises BusError: the queue cannot be used, or the connection is lost.
        """
        age = self._clock.seconds() - self._read_at
        if not self.reading or not 0 <= age < READ_SECONDS:
            await self._read(connection)
        if room != self._room and self._channel is not None:
            verb = "queue_bind" if room else "queue_unbind"
            await self._channel.ask(verb, queue=self._name, exchange=WORK_EXCHANGE, routing_key=self._name)
            self._room = room
            log.info("kept_queue.open" if room else "kept_queue.full", queue=self._name)

    def done(self, ticket: int) -> None:
        """The broker may drop the message. What was read over an earlier connection comes again anyway."""
        if self._channel is not None and self._channel.is_open:
            self._channel.raw.basic_ack(ticket)

    def close(self) -> None:
        """Stop reading; what is not done stays with the broker."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._forget()

    async def _read(self, connection: BrokerConnection) -> None:
        self.close()
        if connection is not self._connection:
            self._connection, self._room = connection, None  # Another reader may have changed the binding meanwhile.
        channel = await AmqpChannel.open(connection)
        arguments = {"x-max-length-bytes": MAX_OCTETS, "x-overflow": "reject-publish"}
        declared = await channel.ask("queue_declare", queue=self._name, durable=True, arguments=arguments)
        self._read_at = self._clock.seconds()
        await self._consume(channel, exclusive=False)
        log.debug("kept_queue.reading", queue=self._name, messages=declared.method.message_count)

    def _received(self, channel: Channel, tag: int, message: Message, properties: BasicProperties) -> None:
        self._take(WorkItem(message, tag))


# Writing


class Unroutable(BusError):
    """The broker has no queue for the message."""


class ConfirmedChannel:
    """Publishes on a channel of its own, and reports the result of each publish. Nothing is sent twice."""

    def __init__(self, channel: AmqpChannel) -> None:
        """Use :meth:`open`."""
        self._channel = channel
        self._last_tag = 0
        self._unanswered: dict[int, Deferred[None]] = {}
        self._returned: set[int] = set()

    @classmethod
    async def open(cls, connection: BrokerConnection) -> ConfirmedChannel:
        """Open one more channel of this connection.

        :raises BusError: the connection is lost, or the broker refuses.
        """
        channel = await AmqpChannel.open(connection)
        confirmed = cls(channel)
        channel.raw.add_on_return_callback(confirmed._on_return)
        channel.raw.add_on_close_callback(confirmed._on_close)
        await channel.ask("confirm_delivery", ack_nack_callback=confirmed._on_confirm)
        return confirmed

    @property
    def is_open(self) -> bool:
        """Whether it may be used."""
        return self._channel.is_open

    def publish(self, exchange: str, key: str, properties: BasicProperties, body: bytes) -> Deferred[None]:
        """Publish; fires when the broker has stored it safely, on its disk if message and queue ask for that.

        :param properties: their ``correlation_id`` is overwritten.
        :return: fails with :class:`Unroutable` if no queue would get it, with :class:`BusError` if the broker refuses
            or the connection is lost; in the last case it is unknown whether the broker has it.
        """
        if not self.is_open:
            return fail(BusError("the channel is closed"))
        if len(self._unanswered) >= MAX_UNANSWERED:
            return fail(BusError(f"the broker has not answered for {MAX_UNANSWERED} publishes"))
        self._last_tag += 1
        answered: Deferred[None] = Deferred()
        self._unanswered[self._last_tag] = answered
        properties.correlation_id = str(self._last_tag)
        self._channel.raw.basic_publish(exchange, key, body, properties, mandatory=True)
        return answered

    def _on_return(self, _channel: Any, _method: Any, properties: BasicProperties, _body: bytes) -> None:
        """Its confirm follows."""
        self._returned.add(int(properties.correlation_id))

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        last = method.delivery_tag
        tags = [tag for tag in self._unanswered if tag <= last] if method.multiple else [last]
        for tag in tags:
            answered = self._unanswered.pop(tag)
            if tag in self._returned:
                self._returned.remove(tag)
                answered.errback(Unroutable("no queue takes it"))
            elif isinstance(method, Basic.Ack):
                answered.callback(None)
            else:
                answered.errback(BusError("the broker refused it (basic.nack)"))

    def _on_close(self, _channel: Any, reason: Exception) -> None:
        unanswered, self._unanswered = self._unanswered, {}
        for answered in unanswered.values():
            answered.errback(BusError(f"the connection was lost before the broker had confirmed it: {reason}"))
