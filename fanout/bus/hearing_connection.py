"""The connection to RabbitMQ over which a node hears: one exclusive queue, bound to the exchange."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from pika.channel import Channel
from pika.spec import Basic, BasicProperties
from twisted.python.failure import Failure

from fanout.bus.config import Broker
from fanout.bus.connection import AmqpConnection


class Consumer(Protocol):
    """Whom the connection tells what comes."""

    def received(self, properties: BasicProperties, body: bytes) -> None:
        """A message came. Must not raise."""

    def overflowing(self, waiting: int) -> None:
        """The broker drops the oldest messages of our queue; so many wait in it."""


class ConsumerConnection(AmqpConnection):
    """Consumes one exclusive queue bound to the exchange.

    Deliveries are acknowledged, all of one reactor turn at once, though the queue dies with the connection anyway:
    so a node that lags leaves its messages in a queue that is bounded (``queue_length``), not in the socket buffers
    and processes of the broker, which are not.

    Nothing is ever published over it: a broker that is short of memory or disk stops reading from connections that
    publish, and the acknowledgements would stay unread with all else.

    :ivar queue: the name the broker gave to our queue.
    """

    def __init__(self, reactor: Any, broker: Broker, hearer: Consumer) -> None:
        super().__init__(reactor, broker)
        self.queue = ""
        self._hearer = hearer
        self._unacknowledged = 0
        self._ack_call: Any = None
        self._check_call: Any = None

    async def _make_ready(self) -> None:
        await self._consume(await self._find_exchange(await self._open_channel()))

    async def _consume(self, channel: Channel) -> None:
        """Bind a queue of our own. Exclusive: newer RabbitMQ refuses transient queues that are not."""
        declared = await self._call(
            channel.queue_declare,
            queue="",
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": self._broker.queue_length, "x-overflow": "drop-head"},
        )
        self.queue = declared.method.queue
        await self._call(channel.queue_bind, queue=self.queue, exchange=self._broker.exchange, routing_key="")
        await self._call(channel.basic_qos, prefetch_count=self._broker.prefetch)
        channel.add_on_cancel_callback(lambda _frame: self.abort(ConnectionAbortedError("our queue was deleted")))
        self._impl.deliver(channel, partial(self._take, channel))
        await self._call(channel.basic_consume, queue=self.queue, on_message_callback=self._on_message)
        self._check_later(channel)

    def _check_later(self, channel: Channel) -> None:
        self._check_call = self._reactor.callLater(self._broker.check, self._check, channel)

    def _check(self, channel: Channel) -> None:
        """Bind again: that changes nothing, heals a lost binding, and without the exchange ends the connection, so that
        the next one declares it. Then ask how full the queue is.
        """
        if not channel.is_open:
            return
        channel.queue_bind(self.queue, self._broker.exchange, "")
        channel.queue_declare(self.queue, passive=True, callback=lambda frame: self._checked(channel, frame.method))

    def _checked(self, channel: Channel, answer: Any) -> None:
        if answer.message_count >= self._broker.queue_length:
            self._hearer.overflowing(answer.message_count)
        if channel.is_open:
            self._check_later(channel)

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._take(channel, method.delivery_tag, properties, body)

    def _take(self, channel: Channel, tag: int, properties: BasicProperties, body: bytes) -> None:
        self._unacknowledged = tag
        if self._ack_call is None:
            self._ack_call = self._reactor.callLater(0, self._acknowledge, channel)
        self._hearer.received(properties, body)

    def _acknowledge(self, channel: Channel) -> None:
        self._ack_call = None
        if channel.is_open:
            channel.basic_ack(self._unacknowledged, multiple=True)

    def connectionLost(self, reason: Failure) -> None:
        for call in (self._ack_call, self._check_call):
            if call is not None and call.active():
                call.cancel()
        super().connectionLost(reason)
