"""A queue whose messages stay with the broker until their reader is done with them, which may take days.

The broker is the store: what was read and not finished comes again when the reader, or its machine, is gone. Others
write to it only while the reader has room (``amq.direct`` leads to the queue then); what frees room may always be
written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from fanout.bus.amqp_channel import AmqpChannel
from fanout.bus.connection import AmqpConnection
from fanout.bus.message import DEFAULT_LIMITS, MalformedMessage, from_amqp
from fanout.hub.message import Message
from fanout.process.throttle import Throttle

ENTRANCE = "amq.direct"
"""The exchange others write to, with the queue's name for a key; the broker's own, so nobody has to declare it."""
READ_SECONDS = 600.0
"""After so long everything is read anew. RabbitMQ closes a channel that has not acknowledged for 30 minutes."""
MAX_OCTETS = 64 * 2**20
"""What the queue may hold while nobody reads it; further messages are refused. The same for every version of us:
RabbitMQ refuses whoever declares a queue otherwise than it is."""
LOG_SECONDS = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A message out of the queue. :ivar ticket: for :meth:`WorkQueue.done`."""

    message: Message
    ticket: int


class WorkQueue:
    """Reads the queue, all of it. One process at a time should."""

    def __init__(self, clock: Any, name: str, take: Callable[[WorkItem], None], forget: Callable[[], None]) -> None:
        """
        :param clock: Twisted's reactor.
        :param take: is given each message, in the order they were written. Must not raise.
        :param forget: called when all that was given will be given again, with other tickets.
        """
        self._clock = clock
        self._name = name
        self._take = take
        self._forget = forget
        self._throttle = Throttle(clock.seconds, LOG_SECONDS)
        self._connection: AmqpConnection | None = None
        self._channel: AmqpChannel | None = None
        self._read_at = 0.0
        self._last_ticket = 0
        self._room: bool | None = None

    @property
    def reading(self) -> bool:
        """Whether messages come from the broker."""
        return self._channel is not None and self._channel.is_open

    async def ensure(self, connection: AmqpConnection, *, room: bool) -> None:
        """Read, or go on.

        :param room: whether others may write what takes room.
        :raises BusError: the queue cannot be used, or the connection is lost.
        """
        age = self._clock.seconds() - self._read_at
        if not self.reading or not 0 <= age < READ_SECONDS:
            await self._read(connection)
        if room != self._room and self._channel is not None:
            verb = "queue_bind" if room else "queue_unbind"
            await self._channel.ask(verb, queue=self._name, exchange=ENTRANCE, routing_key=self._name)
            self._room = room
            log.info("kept_queue.open" if room else "kept_queue.full", queue=self._name)

    def done(self, ticket: int) -> None:
        """The message needs not be kept any longer. What was read over an earlier connection comes again anyway."""
        if self._channel is not None and self._channel.is_open:
            self._channel.raw.basic_ack(ticket)

    def close(self) -> None:
        """Read no more; what is not done stays with the broker."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._forget()

    async def _read(self, connection: AmqpConnection) -> None:
        self.close()
        if connection is not self._connection:
            self._connection, self._room = connection, None  # Meanwhile another reader may have thought otherwise.
        channel = await AmqpChannel.open(connection)
        arguments = {"x-max-length-bytes": MAX_OCTETS, "x-overflow": "reject-publish"}
        declared = await channel.ask("queue_declare", queue=self._name, durable=True, arguments=arguments)
        channel.raw.add_on_cancel_callback(lambda _frame: channel.close())
        connection.unreadable = self._unreadable
        self._channel, self._last_ticket, self._read_at = channel, 0, self._clock.seconds()
        await channel.ask("basic_consume", queue=self._name, on_message_callback=self._on_message)
        log.debug("kept_queue.reading", queue=self._name, messages=declared.method.message_count)

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if self._channel is None or channel is not self._channel.raw:
            return  # Of a channel that is being closed: it comes again.
        ticket = self._last_ticket = method.delivery_tag
        try:
            message = from_amqp(properties, body, int(time.time()), DEFAULT_LIMITS)
        except MalformedMessage as error:
            self._warn("kept_queue.malformed", reason=str(error))
            channel.basic_ack(ticket)
            return
        self._take(WorkItem(message, ticket))

    def _unreadable(self, number: int) -> None:
        """Pika cannot decode a message, and ends the connection: the broker must not send it again.

        :param number: the channel it came on, which delivers in order: it is the one after the last.
        """
        channel = self._channel
        if channel is not None and channel.is_open and channel.raw.channel_number == number:
            self._warn("kept_queue.unreadable", advice="dropped: its headers are not what AMQP allows")
            channel.raw.basic_reject(self._last_ticket + 1, requeue=False)

    def _warn(self, event: str, **fields: Any) -> None:
        if self._throttle.allow(event):
            log.warning(event, queue=self._name, held_back=self._throttle.held_back(event), **fields)
