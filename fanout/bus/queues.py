"""Named queues that keep messages while they have no reader: two kinds of readers, and a writer.

- :class:`DurableQueue` reads a queue bound to the exchange. A message is acknowledged when its consumer has stored it.
- :class:`WorkQueue` reads a queue whose messages stay with the broker until they are done, which may take days.
- :class:`ConfirmedChannel` publishes to any queue, and reports the result of each publish.

All of them use the connections of a bus (:class:`~fanout.bus.interface.BrokerBus`), and start again on the next
connection when one is lost. The messages are stored by the broker, which delivers unacknowledged ones again.
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
"""The exchange through which others write to a work queue, with the queue's name as the routing key. It exists on every
broker."""
NOT_DURABLE = "inequivalent arg 'durable'"
"""Part of a refusal of RabbitMQ. A refusal names the first property that differs, and durability is compared first."""
IN_USE = "in exclusive use"
"""Part of a refusal of RabbitMQ: the queue has another consumer."""
READ_SECONDS = 600.0
"""Seconds after which a work queue is read again from the start. RabbitMQ closes a channel that has not acknowledged
for 30 minutes."""
MAX_OCTETS = 64 * 2**20
"""Octets that a work queue may hold without a reader; further messages are refused. The value is the same in all
versions: RabbitMQ refuses to declare an existing queue with other arguments."""
MAX_UNANSWERED = 1_000
"""How many publishes of one channel may be unanswered; a broker that works answers within milliseconds."""


# Reading


@dataclass(slots=True)
class QueueCounters:
    """What was received since the start: all deliveries, and how many of them are not messages."""

    delivered: int = 0
    malformed: int = 0


class _QueueReader:
    """Reads a queue over one channel at a time. Deliveries that are not messages are dropped, because otherwise they
    would be delivered again for ever.

    :ivar counters: what was received since the start.
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
        """Start to consume.

        :param exclusive: whether this consumer must be the queue's only one; the broker then refuses every other
            consumer.
        :return: the consumer's tag.
        """
        channel.raw.add_on_cancel_callback(lambda _frame: channel.close())  # The queue was deleted.
        self._channel = channel
        answer = await channel.ask(
            "basic_consume", queue=self._name, on_message_callback=self._on_message, exclusive=exclusive
        )
        return str(answer.method.consumer_tag)

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if self._channel is None or channel is not self._channel.raw:
            return  # The channel is being closed; the message is delivered again.
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
    """A message from a durable queue.

    :ivar serial: the same in both copies of a message that is delivered twice; empty if the publisher gave none.
    :ivar again: whether this is a copy of a message that the broker had confirmed before, sent again for consumers
        whose queues ended with their connections. A durable queue received the first copy.
    """

    message: Message
    serial: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class QueueNames:
    """The name of a queue, and how long the queue exists. It is durable, because RabbitMQ 4 refuses transient queues
    that are not exclusive.

    :ivar name: the queue's name.
    :ivar exchange: the fan-out exchange to which it is bound.
    :ivar auto_delete: whether the broker deletes it together with its last consumer.
    """

    name: str
    exchange: str
    auto_delete: bool = False


class DurableQueue(_QueueReader):
    """Consumes a queue bound to the exchange, and acknowledges each message when its consumer has stored it.

    Messages that are not acknowledged when the connection ends are delivered again over the next one. A delivery that
    is not a message is logged and acknowledged.

    The queue has one consumer at a time. A consumer that was frozen, or cannot reach the broker any more, holds
    messages until the broker notices that; with a second consumer, later messages would be stored before them.
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
        :param names: the queue.
        :param take: called with each message; its Deferred fires when the message is stored. If it fails the message is
            offered again later.
        :param prefetch: how many messages the broker may send before we acknowledge earlier ones.
        :param limits: the limits of a message.
        """
        super().__init__(clock, names.name, limits)
        self._names = names
        self._prefetch = prefetch
        self._buffer = RetryBuffer(clock, take)
        self._tag = ""
        self._found = 0

    @property
    def consuming(self) -> bool:
        """Whether the queue is consumed."""
        return self._is_open

    @property
    def trouble(self) -> str:
        """The reason why messages are refused at the moment; empty while they are accepted."""
        return self._buffer.trouble

    @property
    def waiting(self) -> int:
        """How many messages were received and are not acknowledged yet."""
        return self._buffer.waiting

    async def consume(self, connection: BrokerConnection) -> None:
        """Start to consume on an open connection. After the end of the connection, call this with the next one.

        :raises BusError: the queue cannot be used. The text says why, and what to do.
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
                f"queue {self._name!r} has another consumer: a fallback.py that the broker still considers alive "
                "(it ends by itself), or another program"
            ) from refusal

    async def length(self) -> int:
        """How many messages are waiting on the broker, without those that were received and are not acknowledged yet.

        :raises BusError: the queue is not consumed, or the connection is lost.
        """
        channel = self._channel
        if channel is None:
            raise BusError("the queue is not consumed")
        declared = await channel.ask("queue_declare", queue=self._name, passive=True)
        return int(declared.method.message_count)

    def forget(self) -> None:
        """Drop the refused messages: the broker delivers them again, to this consumer or to another one."""
        self._buffer.forget()

    async def stop(self) -> None:
        """Stop consuming, and wait until the received messages are stored and acknowledged, for up to 5 s."""
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
                return await self._declare_ours(connection, passive=True)  # An operator has created it.
        await self._remove(connection)
        return await self._declare_ours(connection)

    async def _declare_ours(self, connection: BrokerConnection, passive: bool = False) -> AmqpChannel:
        """:param passive: whether to use the existing queue, whatever its arguments are."""
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
        """Delete the queue of the first version, which has our name and is not durable, if it is empty and unused."""
        name = self._name
        channel = await AmqpChannel.open(connection)
        try:
            await channel.ask("queue_delete", queue=name, if_unused=True, if_empty=True)
        except Refusal as refusal:
            raise BusError(
                f"queue {name!r} on the broker is not durable, as the original server's was, and is in use or "
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
    """A message from a work queue.

    :ivar ticket: the argument of :meth:`WorkQueue.done`.
    """

    message: Message
    ticket: int


class WorkQueue(_QueueReader):
    """Reads a queue completely, and leaves each message with the broker until it is done. It has one reader at a time.

    Messages that were read and are not done are delivered again when the reader, or its machine, is gone. Other
    processes may write to the queue only while the reader has room: only then :data:`WORK_EXCHANGE` is bound to it.
    Messages that free room may always be written, through the broker's default exchange.
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
        :param name: the queue's name.
        :param take: called with each message, in the order in which they were written. Must not raise.
        :param forget: called when all messages passed to ``take`` will be passed to it again, with other tickets.
        :param limits: the limits of a message.
        """
        super().__init__(clock, name, limits)
        self._take = take
        self._forget = forget
        self._connection: BrokerConnection | None = None
        self._read_at = 0.0
        self._room: bool | None = None

    @property
    def reading(self) -> bool:
        """Whether the queue is consumed."""
        return self._is_open

    async def ensure(self, connection: BrokerConnection, *, room: bool) -> None:
        """Start to read, or continue.

        :param room: whether other processes may write messages that take room.
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
        """Let the broker drop the message. Messages that were read over an earlier connection are delivered again in
        any case.
        """
        if self._channel is not None and self._channel.is_open:
            self._channel.raw.basic_ack(ticket)

    def close(self) -> None:
        """Stop reading. Messages that are not done stay with the broker."""
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
    """Publishes on a channel of its own, and reports the result of each publish. No message is sent twice."""

    def __init__(self, channel: AmqpChannel) -> None:
        """Call :meth:`open` instead."""
        self._channel = channel
        self._last_tag = 0
        self._unanswered: dict[int, Deferred[None]] = {}
        self._returned: set[int] = set()

    @classmethod
    async def open(cls, connection: BrokerConnection) -> ConfirmedChannel:
        """Open a channel on this connection.

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
        """Whether the channel is open."""
        return self._channel.is_open

    def publish(self, exchange: str, key: str, properties: BasicProperties, body: bytes) -> Deferred[None]:
        """Publish a message. The Deferred fires when the broker has stored it safely, on disk if message and queue
        require that.

        :param properties: the message's properties; their ``correlation_id`` is overwritten.
        :return: fails with :class:`Unroutable` if no queue gets the message, and with :class:`BusError` if the broker
            refuses it or the connection is lost. After a loss nobody knows whether the broker has the message.
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
        """The broker found no queue for a message. The confirm of this message follows."""
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
