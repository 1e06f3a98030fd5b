"""The two connections of a node to its broker: one consumes, the other publishes. They are opened and closed together.

A broker that is short of memory or disk stops reading from connections that publish. Over a second connection, on which
nothing is ever published, the node continues to receive, as RabbitMQ's guide to these alarms advises. On a shared
connection the broker would not read the node's acknowledgements either.

When one connection ends the other is closed, so the pair is either connected or not. After a loss, unconfirmed messages
are sent again over the next pair, and the node asks for the messages that it missed.

:class:`Pair` joins a :class:`ConsumerConnection` and a :class:`PublisherConnection`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from pika.channel import Channel
from pika.spec import Basic, BasicProperties
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from fanout.bus.amqp_connection import AmqpConnection
from fanout.bus.broker_settings import Broker

QUEUE_EXPIRES_SECONDS = 60
"""Seconds after which the broker drops a node's queue that has no consumer. An exclusive queue ends with its
connection, but it may survive in a partition: RabbitMQ 4.2 and later keep it until the broker node that holds it is
back. A node that reconnects gets another queue, so nobody will ever read the old one."""

# The consumer


class Consumer(Protocol):
    """The interface to which a :class:`ConsumerConnection` reports."""

    def received(self, properties: BasicProperties, body: bytes) -> None:
        """A message was received. Must not raise."""

    def overflowing(self, waiting: int) -> None:
        """The broker drops the oldest messages of our queue.

        :param waiting: how many messages are in the queue.
        """


class ConsumerConnection(AmqpConnection):
    """Consumes one exclusive queue that is bound to the exchange. Publishes nothing.

    Deliveries are acknowledged, all of one reactor turn together, although the queue ends with the connection. Without
    acknowledgements the messages for a slow node would be in the socket buffers and processes of the broker, which are
    not bounded; with them they stay in the queue, which is (``queue_length``).

    :ivar queue: the name that the broker gave to our queue.
    :ivar holds: whether all messages stay in the queue until :meth:`begin`.
    """

    def __init__(self, reactor: Any, broker: Broker, consumer: Consumer, *, holds: bool = False) -> None:
        super().__init__(reactor, broker)
        self.queue = ""
        self.holds = holds
        self._consumer = consumer
        self._bound: list[str] = []
        self._unacknowledged = 0
        self._ack_call: Any = None
        self._check_call: Any = None

    async def _make_ready(self) -> None:
        await self._consume(await self._find_exchange(await self._open_channel()))

    async def _consume(self, channel: Channel) -> None:
        """Declare and bind our queue. It is exclusive, because newer versions of RabbitMQ refuse other transient
        queues.
        """
        declared = await self._call(
            channel.queue_declare,
            queue="",
            exclusive=True,
            auto_delete=True,
            arguments={
                "x-max-length": self._broker.queue_length,
                "x-overflow": "drop-head",
                "x-expires": 1_000 * QUEUE_EXPIRES_SECONDS,
            },
        )
        self.queue = declared.method.queue
        await self._call(channel.queue_bind, queue=self.queue, exchange=self._broker.exchange, routing_key="")
        await self._call(channel.basic_qos, prefetch_count=self._broker.prefetch)
        channel.add_on_cancel_callback(lambda _frame: self.abort(ConnectionAbortedError("our queue was deleted")))
        self._channel = channel
        self._bound.append(self.queue)
        if not self.holds:
            await self.begin()
        self._check_later(channel)

    async def begin(self) -> int:
        """Start to consume.

        :return: how many messages are in the queue.
        """
        declared = await self._call(self._channel.queue_declare, queue=self.queue, passive=True)
        await self._call(self._channel.basic_consume, queue=self.queue, on_message_callback=self._on_message)
        return int(declared.method.message_count)

    def keep_bound(self, queue: str) -> None:
        """With every check, bind one more queue to the exchange again, as is done with our own queue."""
        self._bound.append(queue)

    def _check_later(self, channel: Channel) -> None:
        self._check_call = self._reactor.callLater(self._broker.check, self._check, channel)

    def _check(self, channel: Channel) -> None:
        """Bind the queues again, then ask how full our own queue is. Binding again changes nothing if the binding
        exists and repairs a lost one. If the exchange is missing it ends the connection, so that the next one declares
        the exchange.
        """
        if not channel.is_open:
            return
        for queue in self._bound:
            channel.queue_bind(queue, self._broker.exchange, "")
        channel.queue_declare(self.queue, passive=True, callback=lambda frame: self._checked(channel, frame.method))

    def _checked(self, channel: Channel, answer: Any) -> None:
        if answer.message_count >= self._broker.queue_length:
            self._consumer.overflowing(answer.message_count)
        if channel.is_open:
            self._check_later(channel)

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._unacknowledged = method.delivery_tag
        if self._ack_call is None:
            self._ack_call = self._reactor.callLater(0, self._acknowledge, channel)
        self._consumer.received(properties, body)

    def _acknowledge(self, channel: Channel) -> None:
        self._ack_call = None
        if channel.is_open:
            channel.basic_ack(self._unacknowledged, multiple=True)

    def connectionLost(self, reason: Failure) -> None:
        for call in (self._ack_call, self._check_call):
            if call is not None and call.active():
                call.cancel()
        super().connectionLost(reason)


# The publisher


class Confirms(Protocol):
    """The interface to which a :class:`PublisherConnection` reports."""

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker has answered a publish.

        :param tag: the delivery tag of the publish.
        :param multiple: whether the answer is also for all earlier publishes without an answer.
        :param taken: whether the broker has stored the messages; False if it refuses them.
        """

    def returned(self, properties: BasicProperties) -> None:
        """The broker found no queue for a publish; the confirm of this publish follows."""

    def blocked(self, reason: str | None) -> None:
        """The broker has stopped reading, or reads again.

        :param reason: the broker's reason; None when it reads again.
        """


class PublisherConnection(AmqpConnection):
    """Publishes to the exchange with publisher confirms. Consumes nothing."""

    def __init__(self, reactor: Any, broker: Broker, confirms: Confirms) -> None:
        super().__init__(reactor, broker)
        self._confirms = confirms
        self._channel: Channel | None = None

    async def _make_ready(self) -> None:
        self._impl.add_on_connection_blocked_callback(
            lambda _connection, frame: self._confirms.blocked(frame.method.reason or "no reason given")
        )
        self._impl.add_on_connection_unblocked_callback(lambda *_: self._confirms.blocked(None))
        self._channel = await self._find_exchange(await self._open_channel())
        self._channel.add_on_return_callback(
            lambda _channel, _method, properties, _body: self._confirms.returned(properties)
        )
        await self._call(self._channel.confirm_delivery, ack_nack_callback=self._on_confirm)

    def publish(self, properties: BasicProperties, body: bytes) -> None:
        """Send a message to the exchange. Delivery tag n confirms the n-th publish of a connection.

        If the broker finds no queue for the message it returns the message before it confirms it.
        """
        assert self._channel is not None
        self._channel.basic_publish(self._broker.exchange, "", body, properties, mandatory=True)

    @property
    def can_publish(self) -> bool:
        """Whether :meth:`publish` may be called."""
        return self._channel is not None and self._channel.is_open

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        self._confirms.confirmed(method.delivery_tag, method.multiple, isinstance(method, Basic.Ack))


# Both


class PairUser(Consumer, Confirms, Protocol):
    """The interface to which a :class:`Pair` reports."""


class Pair:
    """A :class:`ConsumerConnection` and a :class:`PublisherConnection` that are opened and closed together.

    :ivar hearing: the connection that consumes.
    :ivar publishing: the connection that publishes.
    :ivar lost: fires with the reason, as text for people, when both connections are closed.
    """

    def __init__(self, reactor: Any, broker: Broker, user: PairUser, *, holds: bool = False) -> None:
        """:param holds: whether messages stay in the queue until :meth:`ConsumerConnection.begin` is called."""
        self.hearing = ConsumerConnection(reactor, replace(broker, name=f"{broker.name} hears"), user, holds=holds)
        self.publishing = PublisherConnection(reactor, replace(broker, name=f"{broker.name} publishes"), user)
        self.lost: Deferred[str] = Deferred()
        self._reason = ""
        self._closing = False
        self.hearing.lost.addCallback(self._half_lost, self.publishing)
        self.publishing.lost.addCallback(self._half_lost, self.hearing)
        both = gatherResults([self.hearing.lost, self.publishing.lost])
        both.addCallback(lambda _: self.lost.callback(self._reason))

    async def open(self, endpoint: Any) -> None:
        """Open both connections, the consumer first, so that every publish finds our own queue. This has no time limit.

        Raises the error of the step that failed.
        """
        await self.hearing.open(endpoint)
        await self.publishing.open(endpoint)
        if self.hearing.lost.called:
            raise ConnectionAbortedError(self._reason)

    def close(self) -> None:
        """Close both connections with AMQP's closing handshake. :attr:`lost` fires afterwards."""
        self._closing = True
        self.publishing.close()
        self.hearing.close()

    def abort(self, error: BaseException) -> Deferred[str]:
        """Close both sockets at once. Returns :attr:`lost`, which fires even if no connection was established.

        :param error: the reason. It is ignored if the connections are already ending for another reason.
        """
        # The connection that could not be opened reports the most precise reason; the other one ends because of it.
        (self.publishing if self.hearing.is_open else self.hearing).abort(error)
        return self.lost

    @property
    def refused(self) -> bool:
        """Whether the broker refuses our login. If so, an immediate retry does not help."""
        return self.hearing.refused or self.publishing.refused

    def _half_lost(self, reason: str, other: AmqpConnection) -> None:
        self._reason = self._reason or reason
        if not self._closing:
            other.abort(ConnectionAbortedError(reason))
