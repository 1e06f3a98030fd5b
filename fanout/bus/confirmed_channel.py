"""Publishing on a channel of its own, to wherever: each publish has its answer, and none is sent twice."""

from __future__ import annotations

from typing import Any

from pika.spec import Basic, BasicProperties
from twisted.internet.defer import Deferred, fail

from fanout.bus.amqp_channel import AmqpChannel
from fanout.bus.connection import AmqpConnection
from fanout.bus.interface import BusError

MAX_UNANSWERED = 1_000
"""Publishes without an answer yet; a broker that answers takes milliseconds."""


class Unroutable(BusError):
    """The broker has no queue for it."""


class ConfirmedChannel:
    """Publishes, and tells of each what became of it."""

    def __init__(self, channel: AmqpChannel) -> None:
        """Use :meth:`open`."""
        self._channel = channel
        self._last_tag = 0
        self._unanswered: dict[int, Deferred[None]] = {}
        self._returned: set[int] = set()

    @classmethod
    async def open(cls, connection: AmqpConnection) -> ConfirmedChannel:
        """One more channel of this connection.

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
        """Publish; fires when the broker has it safely, on its disk if message and queue ask for that.

        :param properties: their ``correlation_id`` is ours.
        :return: fails with :class:`Unroutable` if nobody would get it, with :class:`BusError` if the broker refuses or
            the connection is lost; in the last case nobody knows whether the broker has it.
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
