"""A queue with a name, which keeps what is published while nobody listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pika.channel import Channel
from pika.spec import Basic, BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred

from fanout.bus.amqp_channel import AmqpChannel, Refusal
from fanout.bus.connection import AmqpConnection
from fanout.bus.handover import RetryBuffer
from fanout.bus.interface import BusError
from fanout.bus.message import DEFAULT_LIMITS, MalformedMessage, MessageLimits, from_amqp
from fanout.bus.rabbitmq import AGAIN
from fanout.hub.message import Message
from fanout.process.steady_time import unix_time
from fanout.process.throttle import Throttle

log = structlog.get_logger()

NOT_FOUND, PRECONDITION_FAILED = 404, 406  # AMQP 0-9-1, 1.2 "reply-code".
LOG_SECONDS = 60.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message out of the queue.

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
    :ivar auto_delete: whether it goes with its last consumer.
    """

    name: str
    exchange: str
    auto_delete: bool = False


@dataclass(slots=True)
class QueueCounters:
    """What came since the start: messages, those of them that are none, and those pika could not even decode."""

    delivered: int = 0
    malformed: int = 0
    unreadable: int = 0


class DurableQueue:
    """Consumes the queue, and acknowledges each message when it is safe with the taker.

    What is not acknowledged when the connection ends comes again with the next one. A message that is none is logged
    and acknowledged, as it would come for ever.
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
        :param take: fires when the message is safe; any failure means that it is to be offered again later.
        :param prefetch: how many messages the broker sends ahead of our acknowledgement.
        :param limits: of a message that comes from the broker.
        """
        self.counters = QueueCounters()
        self._clock = clock
        self._unix_time = unix_time(clock)
        self._names = names
        self._prefetch = prefetch
        self._limits = limits
        self._handover = RetryBuffer(clock, take)
        self._throttle = Throttle(clock.seconds, LOG_SECONDS)
        self._channel: AmqpChannel | None = None
        self._tag = ""
        self._last_delivery = 0

    @property
    def consuming(self) -> bool:
        """Whether messages come from the broker."""
        return self._channel is not None and self._channel.is_open

    @property
    def trouble(self) -> str:
        """Why the taker refuses what comes; empty while it does not."""
        return self._handover.trouble

    @property
    def waiting(self) -> int:
        """How many messages came and are not acknowledged yet."""
        return self._handover.waiting

    async def consume(self, connection: AmqpConnection) -> None:
        """Begin, on a connection that is open; after its end call this with the next one.

        :raises BusError: the queue cannot be used. The text says why and what to do.
        """
        self._handover.forget()
        channel = await self._declare(connection)
        names = self._names
        await channel.ask("queue_bind", queue=names.name, exchange=names.exchange, routing_key="")
        await channel.ask("basic_qos", prefetch_count=self._prefetch)
        self._last_delivery = 0
        channel.raw.add_on_cancel_callback(lambda _frame: channel.close())
        connection.unreadable = self._unreadable
        self._channel = channel
        answer = await channel.ask("basic_consume", queue=names.name, on_message_callback=self._on_message)
        self._tag = answer.method.consumer_tag
        log.info("queue.consuming", queue=names.name, messages=self._found)

    async def length(self) -> int:
        """How many messages wait on the broker, without those that came and are not acknowledged yet.

        :raises BusError: the queue is not consumed, or the connection is lost.
        """
        channel = self._channel
        if channel is None:
            raise BusError("the queue is not consumed")
        declared = await channel.ask("queue_declare", queue=self._names.name, passive=True)
        return int(declared.method.message_count)

    def forget(self) -> None:
        """Drop what the taker refused: the broker offers it again, to us or to another consumer."""
        self._handover.forget()

    async def stop(self) -> None:
        """Take no more messages, and wait for those in hand to be safe and acknowledged, up to 5 s."""
        channel = self._channel
        self._handover.forget()
        if channel is None or not channel.is_open:
            return
        await channel.ask("basic_cancel", consumer_tag=self._tag)
        try:
            await self._handover.idle().addTimeout(STOP_SECONDS, self._clock)
        except defer.TimeoutError:
            log.warning("queue.unacknowledged_at_stop", waiting=self.waiting)
        channel.close()

    async def _declare(self, connection: AmqpConnection) -> AmqpChannel:
        try:
            return await self._declare_ours(connection)
        except Refusal as refusal:
            if refusal.code != PRECONDITION_FAILED:
                raise
        await self._remove(connection)
        return await self._declare_ours(connection)

    async def _declare_ours(self, connection: AmqpConnection) -> AmqpChannel:
        channel = await AmqpChannel.open(connection)
        names = self._names
        declared = await channel.ask("queue_declare", queue=names.name, durable=True, auto_delete=names.auto_delete)
        self._found = declared.method.message_count
        return channel

    async def _remove(self, connection: AmqpConnection) -> None:
        """The original's queue has our name and is not durable (contract 1.6). It may go when nobody needs it."""
        name = self._names.name
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

    # What comes from the broker

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self.counters.delivered += 1
        tag = self._last_delivery = method.delivery_tag
        try:
            message = from_amqp(properties, body, int(self._unix_time()), self._limits)
        except MalformedMessage as error:
            self.counters.malformed += 1
            self._warn("queue.malformed", reason=str(error), total=self.counters.malformed)
            channel.basic_ack(tag)
            return
        serial = properties.correlation_id if isinstance(properties.correlation_id, str) else ""
        self._handover.offer(Delivered(message, serial, properties.type == AGAIN), lambda: _acknowledge(channel, tag))

    def _unreadable(self, number: int) -> None:
        """Pika cannot decode a message, and ends the connection. If it is ours, the broker must not send it again.

        :param number: the channel it came on, which delivers in order: it is the one after the last.
        """
        channel = self._channel
        if channel is None or not channel.is_open or channel.raw.channel_number != number:
            return
        self.counters.unreadable += 1
        self._warn("queue.unreadable", advice="dropped: its headers are not what AMQP allows")
        channel.raw.basic_reject(self._last_delivery + 1, requeue=False)

    def _warn(self, event: str, **fields: Any) -> None:
        if self._throttle.allow(event):
            log.warning(event, queue=self._names.name, held_back=self._throttle.held_back(event), **fields)


def _acknowledge(channel: Channel, tag: int) -> None:
    if channel.is_open:
        channel.basic_ack(tag)
