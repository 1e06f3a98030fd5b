"""The two connections of a node to its broker: one consumes, the other publishes. They are opened and lost together.

A broker that is short of memory or disk stops reading from connections that publish. Over a second connection, on
which nothing is ever published, the node goes on receiving, as RabbitMQ's guide to these alarms advises; on a shared
one its acknowledgements would stay unread with everything else.

When one connection ends the other is closed, so that there is only one question: connected or not. If not, what was
unconfirmed is sent again over the next pair, and what was missed meanwhile is asked for.

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
"""The broker drops a node's queue that had no consumer for so long. An exclusive queue ends with its connection, but
in a partition it may survive: RabbitMQ 4.2 and later keep it until the broker node that it is on is back. A node that
comes back gets another queue, so that nobody will ever read the old one."""

# The consumer


class Consumer(Protocol):
    """What a :class:`ConsumerConnection` reports to."""

    def received(self, properties: BasicProperties, body: bytes) -> None:
        """A message came. Must not raise."""

    def overflowing(self, waiting: int) -> None:
        """The broker drops the oldest messages of our queue; ``waiting`` messages are in it."""


class ConsumerConnection(AmqpConnection):
    """Consumes one exclusive queue bound to the exchange. Publishes nothing.

    Deliveries are acknowledged, all of one reactor turn at once, although the queue dies with the connection anyway:
    a node that lags leaves its messages in a queue that is bounded (``queue_length``), not in the socket buffers and
    processes of the broker, which are not.

    :ivar queue: the name the broker gave to our queue.
    :ivar holds: whether it leaves all messages in the queue until :meth:`begin`.
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
        """Bind a queue of our own. It is exclusive: newer RabbitMQ refuses transient queues that are not."""
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
        """Consume. :return: how many messages are in the queue."""
        declared = await self._call(self._channel.queue_declare, queue=self.queue, passive=True)
        await self._call(self._channel.basic_consume, queue=self.queue, on_message_callback=self._on_message)
        return int(declared.method.message_count)

    def keep_bound(self, queue: str) -> None:
        """Bind one more queue to the exchange again with every check, as our own."""
        self._bound.append(queue)

    def _check_later(self, channel: Channel) -> None:
        self._check_call = self._reactor.callLater(self._broker.check, self._check, channel)

    def _check(self, channel: Channel) -> None:
        """Bind again: this changes nothing, heals a lost binding, and without the exchange ends the connection, so
        that the next one declares it. Then ask how full the queue is.
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
    """What a :class:`PublisherConnection` reports to."""

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker has stored, or refuses, the publish with this delivery tag; if multiple, all up to it."""

    def returned(self, properties: BasicProperties) -> None:
        """The broker found no queue for a publish; its confirm follows."""

    def blocked(self, reason: str | None) -> None:
        """The broker stopped reading, and why; None: it reads again."""


class PublisherConnection(AmqpConnection):
    """Publishes to the exchange with confirms. Consumes nothing."""

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
        """Send to the exchange. The n-th publish of a connection is confirmed by delivery tag n.

        A publish that finds no queue is returned before its confirm.
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
    """What a :class:`Pair` reports to."""


class Pair:
    """A :class:`ConsumerConnection` and a :class:`PublisherConnection`.

    :ivar hearing: the connection that consumes.
    :ivar publishing: the connection that publishes.
    :ivar lost: fires with the reason, for people, when both are gone.
    """

    def __init__(self, reactor: Any, broker: Broker, user: PairUser, *, holds: bool = False) -> None:
        """:param holds: messages wait in the queue until :meth:`ConsumerConnection.begin` is called."""
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
        """Connect both. The consumer is first, so that no publish finds our own queue missing. Has no time limit.

        Raises whatever went wrong.
        """
        await self.hearing.open(endpoint)
        await self.publishing.open(endpoint)
        if self.hearing.lost.called:
            raise ConnectionAbortedError(self._reason)

    def close(self) -> None:
        """Close both in the AMQP way; :attr:`lost` fires."""
        self._closing = True
        self.publishing.close()
        self.hearing.close()

    def abort(self, error: BaseException) -> Deferred[str]:
        """Close both sockets at once. Returns :attr:`lost`, which fires also if there never was a connection.

        :param error: the reason; ignored if they are already ending for another one.
        """
        # The one that could not be opened has the most precise reason; the other follows.
        (self.publishing if self.hearing.is_open else self.hearing).abort(error)
        return self.lost

    @property
    def refused(self) -> bool:
        """Whether the broker refuses our login: trying again soon will not help."""
        return self.hearing.refused or self.publishing.refused

    def _half_lost(self, reason: str, other: AmqpConnection) -> None:
        self._reason = self._reason or reason
        if not self._closing:
            other.abort(ConnectionAbortedError(reason))
