"""The queue that keeps its messages until their reader is done with them, on a real broker."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pika.spec import BasicProperties
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.confirmed_channel import ConfirmedChannel, Unroutable
from fanout.bus.interface import BusError
from fanout.bus.kept_queue import ENTRANCE, READ_SECONDS, WorkItem, WorkQueue
from fanout.bus.message import to_amqp
from fanout.hub.message import Message
from tests import services
from tests.fanout.bus.node import Node, until


class Reader:
    """:ivar kept: what was given, by its message-id."""

    def __init__(self, name: str) -> None:
        self.kept: dict[str, WorkItem] = {}
        self.later = 0.0
        self.queue = WorkQueue(self, name, self.take, self.kept.clear)

    def seconds(self) -> float:
        return reactor.seconds() + self.later

    def take(self, kept: WorkItem) -> None:
        self.kept[kept.message.message_id] = kept

    async def has(self, *names: str) -> None:
        await until(lambda: list(self.kept) == list(names), f"{names} in {list(self.kept)}")


class TestKeptQueue(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.name = f"kept-{uuid4().hex}"
        self.node = await self.connected()
        self.writer = await ConfirmedChannel.open(self.node.bus.connection.publishing)
        self.reader = Reader(self.name)

    async def connected(self) -> Node:
        node = Node(self.address, f"fanout-{uuid4().hex}")
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node

    async def ensure(self, reader: Reader, node: Node, *, room: bool = True) -> None:
        await reader.queue.ensure(node.bus.connection.publishing, room=room)

    async def write(self, *names: str, exchange: str = ENTRANCE) -> None:
        for name in names:
            properties, body = to_amqp(Message("/topic/x", b"SHOW", name, 1, (("trigger-time", "soon"),)))
            await self.writer.publish(exchange, self.name, properties, body)

    async def test_what_is_not_done_is_given_to_the_next_reader_in_order(self) -> None:
        other = await self.connected()
        await self.ensure(self.reader, other)
        await self.write("a", "b", "c")
        await self.reader.has("a", "b", "c")
        self.assertEqual(self.reader.kept["b"].message.headers, (("trigger-time", "soon"),))
        self.reader.queue.done(self.reader.kept["b"].ticket)
        await self.ensure(self.reader, other, room=False)  # An answer of the broker: it has read what came before.
        other.bus.connection.abort(ConnectionAbortedError("killed"))
        heir = Reader(self.name)
        await self.ensure(heir, self.node)
        await heir.has("a", "c")

    async def test_with_time_everything_is_read_anew_before_the_broker_loses_patience(self) -> None:
        await self.ensure(self.reader, self.node)
        await self.write("a", "b")
        await self.reader.has("a", "b")
        before = self.reader.kept["a"]
        for later in (READ_SECONDS, -READ_SECONDS):  # the clock may be set back, too
            self.reader.later = later
            await self.ensure(self.reader, self.node)
            await self.reader.has("a", "b")
            self.assertIsNot(self.reader.kept["a"], before)
            before = self.reader.kept["a"]
        self.reader.queue.done(self.reader.kept["a"].ticket)
        self.reader.queue.close()
        await self.ensure(self.reader, self.node)
        await self.reader.has("b")

    async def test_there_is_room_or_there_is_none(self) -> None:
        await self.assertFailure(self.write_one("a"), Unroutable)
        await self.ensure(self.reader, self.node)
        await self.write("b")
        await self.ensure(self.reader, self.node, room=False)
        await self.assertFailure(self.write_one("c"), Unroutable)
        await self.write("d", exchange="")  # what frees room needs none
        await self.ensure(self.reader, self.node)
        await self.write("e")
        await self.reader.has("b", "d", "e")

    def write_one(self, name: str) -> Any:
        properties, body = to_amqp(Message("/topic/x", b"SHOW", name, 1))
        return self.writer.publish(ENTRANCE, self.name, properties, body)

    async def test_what_is_no_message_is_dropped(self) -> None:
        await self.ensure(self.reader, self.node)
        await self.writer.publish("", self.name, BasicProperties(headers={"no": "topic"}), b"x")
        await self.write("a")
        await self.reader.has("a")
        self.reader.queue.close()
        await self.ensure(self.reader, self.node)
        await self.reader.has("a")

    async def test_the_answer_to_a_publish_whose_connection_is_lost(self) -> None:
        await self.ensure(self.reader, self.node)
        published = self.write_one("a")
        self.node.bus.connection.abort(ConnectionAbortedError("killed"))
        await self.assertFailure(published, BusError)
        await self.assertFailure(self.write_one("b"), BusError)
        self.assertFalse(self.writer.is_open)
