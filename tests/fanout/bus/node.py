"""One node of a cluster on a bus, and a device beside it, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from fanout.bus.broker_settings import Broker, RetryPolicy
from fanout.bus.rabbitmq import RabbitMQ
from fanout.hub.message import Message

QUICK = RetryPolicy(connect=5.0, first_retry=0.05, last_retry=0.5)


async def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition to come true; fails with ``what`` when it has not within the time."""
    deadline = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        await deferLater(reactor, 0.01)


class Node:
    """A bus and what came over it."""

    def __init__(self, address: Any, exchange: str, retry_policy: RetryPolicy = QUICK, **broker: Any) -> None:
        self.received: list[Message] = []
        self.connects = 0
        login = {"user": address.user, "password": address.password, "vhost": address.vhost, **broker}
        endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
        self.bus = RabbitMQ(reactor, endpoint, Broker(exchange=exchange, **login), retry_policy)

    def start(self) -> None:
        self.bus.start(self.received.append, self._count_connect)

    def _count_connect(self) -> None:
        self.connects += 1

    async def connected(self, times: int = 1, seconds: float = 20.0) -> None:
        await until(lambda: self.connects >= times, f"connect number {times}: {self.bus.state()}", seconds)

    async def has(self, count: int, seconds: float = 20.0) -> None:
        await until(lambda: len(self.received) >= count, f"{count} messages", seconds)

    def bodies(self) -> list[bytes]:
        return [message.body for message in self.received]


def device_publishes(
    address: Any, exchange: str, *messages: tuple[dict[str, Any] | None, bytes], **properties: Any
) -> Deferred[None]:
    """What a few lines of plain pika on some device do: headers and bodies straight to the exchange."""
    return deferToThread(_publish_blocking, address, exchange, messages, properties)


def _publish_blocking(address: Any, exchange: str, messages: Any, properties: dict[str, Any]) -> None:
    credentials = pika.PlainCredentials(address.user, address.password)
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(address.host, address.port, address.vhost, credentials)
    )
    channel = connection.channel()
    for headers, body in messages:
        channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers, **properties))
    connection.close()
