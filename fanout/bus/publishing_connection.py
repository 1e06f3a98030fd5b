"""The connection to RabbitMQ over which is published, with confirms."""

from __future__ import annotations

from typing import Any, Protocol

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from fanout.bus.config import Broker
from fanout.bus.connection import AmqpConnection


class Answered(Protocol):
    """Whom the connection tells what became of the publishes."""

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker has, or refuses, the publish with this delivery tag; if multiple, all up to it."""

    def returned(self, properties: BasicProperties) -> None:
        """The broker found no queue for a publish; its confirm follows."""

    def blocked(self, reason: str | None) -> None:
        """The broker reads nothing more for now, and why; None: it reads again."""


class PublisherConnection(AmqpConnection):
    """Publishes to the exchange with confirms, and consumes nothing."""

    def __init__(self, reactor: Any, broker: Broker, answered: Answered) -> None:
        super().__init__(reactor, broker)
        self._answered = answered
        self._channel: Channel | None = None

    async def _make_ready(self) -> None:
        self._impl.add_on_connection_blocked_callback(
            lambda _connection, frame: self._answered.blocked(frame.method.reason or "no reason given")
        )
        self._impl.add_on_connection_unblocked_callback(lambda *_: self._answered.blocked(None))
        self._channel = await self._find_exchange(await self._open_channel())
        self._channel.add_on_return_callback(
            lambda _channel, _method, properties, _body: self._answered.returned(properties)
        )
        await self._call(self._channel.confirm_delivery, ack_nack_callback=self._on_confirm)
        self._impl.confirm(self._channel, self._on_ack)

    def publish(self, properties: BasicProperties, body: bytes) -> None:
        """Send to the exchange. The n-th publish of a connection is confirmed by delivery tag n."""
        assert self._channel is not None
        self._impl.publish(self._channel, self._broker.exchange, properties, body)

    @property
    def can_publish(self) -> bool:
        """Whether :meth:`publish` may be called."""
        return self._channel is not None and self._channel.is_open

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._answered.confirmed(tag, multiple, True)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        self._answered.confirmed(method.delivery_tag, method.multiple, isinstance(method, Basic.Ack))
