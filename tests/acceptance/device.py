"""A device with plain pika on the nodes' exchange, which knows nothing of our code."""

from __future__ import annotations

from typing import Any, Self

import pika

from tests.fanout.bus.node import HeaderOctets
from tests.services import AmqpAddress

SECONDS = 20.0


class Device:
    """One AMQP connection. Publishes to the exchange; :meth:`listen` hears what others publish there."""

    def __init__(self, broker: AmqpAddress, exchange: str) -> None:
        credentials = pika.PlainCredentials(broker.user, broker.password)
        parameters = pika.ConnectionParameters(broker.host, broker.port, broker.vhost, credentials)
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._exchange = exchange
        self._queue = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def publish(self, headers: dict[str, Any] | None, body: bytes, **properties: Any) -> None:
        """Publish with these headers and nothing else."""
        self._channel.basic_publish(self._exchange, "", body, pika.BasicProperties(headers=headers, **properties))

    def publish_octets(self, table: bytes, body: bytes) -> None:
        """Publish with these octets as the table of headers."""
        self._channel.basic_publish(self._exchange, "", body, HeaderOctets(table))

    def listen(self) -> None:
        """Bind a queue, as an old node does."""
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, self._exchange, "")

    def hear(self) -> tuple[pika.BasicProperties, bytes]:
        """The next message on the exchange."""
        for method, properties, body in self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=SECONDS):
            if method is None:
                break
            return properties, body
        raise AssertionError(f"nothing on exchange {self._exchange} within {SECONDS} s")
