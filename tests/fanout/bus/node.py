"""One node of a cluster on a bus, and a device beside it, for the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def __init__(
        self, address: Any, exchange: str, retry_policy: RetryPolicy = QUICK, *, remembers: bool = False, **broker: Any
    ) -> None:
        """:param remembers: it reads the stream; what it read is in ``replayed``, one list for each reading."""
        self.received: list[Message] = []
        self.replayed: list[list[Message]] = []
        self.connects = 0
        login = {"user": address.user, "password": address.password, "vhost": address.vhost, **broker}
        endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
        self.bus = RabbitMQ(reactor, endpoint, Broker(exchange=exchange, **login), retry_policy)
        if remembers:
            self.bus.remember(lambda: self._replay)

    def start(self) -> None:
        self.bus.start(self.received.append, self._count_connect)

    def _count_connect(self) -> None:
        self.connects += 1

    async def _replay(self, messages: Sequence[Message]) -> None:
        self.replayed.append(list(messages))

    async def caught_up(self, seconds: float = 60.0) -> None:
        await until(lambda: self.bus.state().caught_up, f"caught up: {self.bus.state()}", seconds)

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


FAR_FUTURE = b"\x01nT" + (2**62).to_bytes(8)
"""A header table that AMQP allows and pika cannot read: ``n`` is a timestamp beyond all calendars."""
NESTED = b"\x01nF"
"""The begin of a table within a table."""


def nested(depth: int) -> bytes:
    """A header table with so many tables in it: pika recurses."""
    table = b""
    for _ in range(depth):
        table = NESTED + len(table).to_bytes(4) + table
    return table


def unreadable(address: Any, exchange: str, *tables: bytes, routing_key: str = "") -> Deferred[None]:
    """Publish messages with these octets as headers: pika itself would not write them."""
    return deferToThread(_publish_unreadable, address, exchange, tables, routing_key)


def _publish_unreadable(address: Any, exchange: str, tables: tuple[bytes, ...], routing_key: str) -> None:
    credentials = pika.PlainCredentials(address.user, address.password)
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(address.host, address.port, address.vhost, credentials)
    )
    channel = connection.channel()
    channel.confirm_delivery()
    for table in tables:
        channel.basic_publish(exchange, routing_key, b"x", HeaderOctets(table))
    connection.close()


class HeaderOctets(pika.BasicProperties):  # type: ignore[misc]
    """Properties with these octets as the table of headers, which pika itself would not write."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self.table = table

    def encode(self) -> list[bytes]:
        return [b"\x20\x00", len(self.table).to_bytes(4), self.table]
