"""Reads durable queues of the broker, for the tests: a few lines of plain pika, which block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import BasicProperties

from fanout.bus.amqp_connection import NOT_FOUND

Taken = tuple[BasicProperties, bytes]


@contextmanager
def channel(address: Any) -> Iterator[BlockingChannel]:
    """A channel of one's own."""
    credentials = pika.PlainCredentials(address.user, address.password)
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(address.host, address.port, address.vhost, credentials)
    )
    try:
        yield connection.channel()
    finally:
        connection.close()


def take_until(address: Any, queue: str, enough: Callable[[list[Taken]], bool], seconds: float = 20.0) -> list[Taken]:
    """Take messages out of a queue until there are enough. Fails with what came when that is not so in time.

    The queue need not exist yet: the program that declares it may still be connecting.
    """
    taken: list[Taken] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress_missing(), channel(address) as reading:
            for method, properties, body in reading.consume(queue, auto_ack=True, inactivity_timeout=0.2):
                if method is not None:
                    taken.append((properties, body))
                    if enough(taken):
                        return taken
                if time.monotonic() > deadline:
                    break
    raise AssertionError(f"not enough within {seconds} s: {len(taken)} messages, the last ones {taken[-5:]}")


@contextmanager
def suppress_missing() -> Iterator[None]:
    """The broker says that there is no such queue; soon there may be."""
    try:
        yield
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
        time.sleep(0.1)
