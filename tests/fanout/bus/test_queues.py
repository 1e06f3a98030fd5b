"""Queues of a real broker: nothing is acknowledged before it is stored, and nothing comes for ever."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pika
from pika.spec import BasicProperties
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.amqp_message import to_amqp
from fanout.bus.broker_settings import RetryPolicy
from fanout.bus.interface import BusError
from fanout.bus.queues import (
    READ_SECONDS,
    WORK_EXCHANGE,
    ConfirmedChannel,
    Delivered,
    DurableQueue,
    QueueNames,
    Unroutable,
    WorkItem,
    WorkQueue,
)
from fanout.hub.message import Message
from tests import services
from tests.fanout.bus.node import FAR_FUTURE, QUICK, Node, device_publishes, nested, unreadable, until

TOPIC = "/topic/fm/4e1/4000/09580/text"


def message(body: bytes) -> Message:
    return Message(TOPIC, body, "id", 1795294643)


class Consuming(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange, self.name = f"fanout-{uuid4().hex}", f"queue-{uuid4().hex}"
        self.full = False
        self.taken: list[Delivered] = []
        self.slow: list[Deferred[None]] | None = None

    def take(self, delivered: Delivered) -> Deferred[None]:
        if self.full:
            return fail(RuntimeError("the disk is full"))
        self.taken.append(delivered)
        if self.slow is not None:
            self.slow.append(Deferred())
            return self.slow[-1]
        return succeed(None)

    def bodies(self) -> list[bytes]:
        return [delivered.message.body for delivered in self.taken]

    async def node(self, retry_policy: RetryPolicy = QUICK) -> Node:
        node = Node(self.address, self.exchange, retry_policy)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node

    def queue(self, *, prefetch: int = 10, auto_delete: bool = False) -> DurableQueue:
        names = QueueNames(self.name, self.exchange, auto_delete=auto_delete)
        queue = DurableQueue(reactor, names, self.take, prefetch=prefetch)
        queue._buffer._pause = 0.05
        return queue

    async def consuming(self, node: Node, **options: Any) -> DurableQueue:
        queue = self.queue(**options)
        await queue.consume(node.bus.connection.hearing)
        return queue

    def left(self) -> Deferred[int]:
        """Messages in the queue that nobody has."""

        def ask(channel: Any) -> int:
            return int(channel.queue_declare(self.name, passive=True).method.message_count)

        return self.broker(ask)

    def broker(self, ask: Any) -> Deferred[Any]:
        """Do something on a connection of its own."""

        def work() -> Any:
            credentials = pika.PlainCredentials(self.address.user, self.address.password)
            parameters = pika.ConnectionParameters(
                self.address.host, self.address.port, self.address.vhost, credentials
            )
            with pika.BlockingConnection(parameters) as connection:
                return ask(connection.channel())

        return deferToThread(work)

    async def test_what_is_published_while_nobody_listens_is_kept(self) -> None:
        node = await self.node()
        queue = await self.consuming(node)
        await queue.stop()
        await node.bus.publish(message(b"1"))
        await node.bus.publish(message(b"2"))
        await self.consuming(node)
        await until(lambda: len(self.taken) == 2, "both messages")
        self.assertEqual(self.bodies(), [b"1", b"2"])
        self.assertEqual(self.taken[0].message.topic, TOPIC)
        self.assertRegex(self.taken[0].serial, "^fanout-")

    async def test_it_is_acknowledged_when_it_is_safe_and_not_before(self) -> None:
        self.slow = []
        node = await self.node()
        await self.consuming(node, prefetch=3)
        for number in range(5):
            await node.bus.publish(message(b"%d" % number))
        await until(lambda: len(self.taken) == 3, "as many as the prefetch")
        self.assertEqual(await self.left(), 2)
        self.slow[0].callback(None)
        await until(lambda: len(self.taken) == 4, "one more for the one acknowledged")

    async def test_two_consumers_would_disturb_the_order_and_the_second_one_is_refused_until_the_first_has_ended(
        self,
    ) -> None:
        node, other = await self.node(), await self.node()
        first, second = await self.consuming(node), self.queue()
        consuming = Deferred.fromCoroutine(second.consume(other.bus.connection.hearing))
        refused = await self.assertFailure(consuming, BusError)
        self.assertIn(f"queue {self.name!r} has another consumer", str(refused))
        self.assertFalse(second.consuming)
        await first.stop()
        await second.consume(other.bus.connection.hearing)
        await node.bus.publish(message(b"1"))
        await until(lambda: self.taken, "the message")

    async def test_what_was_not_safe_comes_again_over_the_next_connection(self) -> None:
        self.slow = []
        node = await self.node()
        queue = await self.consuming(node)
        await node.bus.publish(message(b"1"))
        await until(lambda: self.taken, "the message")
        serial = self.taken[0].serial
        node.bus.connection.abort(ConnectionAbortedError("cut"))
        await node.connected(2)
        self.assertFalse(queue.consuming)
        self.slow = None
        await queue.consume(node.bus.connection.hearing)
        # The publisher may have sent it again as well: it was confirmed just before the connection was lost.
        await until(lambda: len(self.taken) >= 2, "its second copy")
        self.assertEqual({each.serial for each in self.taken}, {serial})

    async def test_a_taker_that_is_full_leaves_the_rest_in_the_queue_and_gets_all_in_order(self) -> None:
        self.full = True
        node = await self.node()
        queue = await self.consuming(node, prefetch=10)
        for number in range(50):
            await node.bus.publish(message(b"%d" % number))
        await until(lambda: queue.waiting == 10, "the prefetch to be exhausted")
        self.assertEqual(await self.left(), 40)
        self.assertEqual(queue.trouble, "the disk is full")
        self.full = False
        await until(lambda: len(self.taken) == 50, "all")
        self.assertEqual(self.bodies(), [b"%d" % number for number in range(50)])
        await until(lambda: queue.waiting == 0, "the acknowledgements")
        await queue.stop()
        self.assertEqual(await self.left(), 0)

    async def test_its_length_is_what_the_broker_has_beside_what_is_in_hand(self) -> None:
        self.full = True
        node = await self.node()
        queue = await self.consuming(node, prefetch=10)
        for number in range(15):
            await node.bus.publish(message(b"%d" % number))
        await until(lambda: queue.waiting == 10, "the prefetch to be exhausted")
        self.assertEqual(await queue.length(), 5)
        queue.forget()
        self.assertEqual((queue.waiting, await queue.length()), (0, 5))

    async def test_its_length_is_not_known_before_it_is_consumed(self) -> None:
        with self.assertRaisesRegex(BusError, "not consumed"):
            await self.queue().length()

    async def test_a_copy_of_what_was_confirmed_before_says_so(self) -> None:
        node = await self.node()
        await self.consuming(node)
        await device_publishes(self.address, self.exchange, ({"topic": TOPIC}, b"1"))
        await device_publishes(self.address, self.exchange, ({"topic": TOPIC}, b"2"), type="again")
        await until(lambda: len(self.taken) == 2, "both")
        self.assertEqual([each.again for each in self.taken], [False, True])

    async def test_stop_gives_back_what_is_not_safe_and_loses_nothing(self) -> None:
        self.full = True
        node = await self.node()
        queue = await self.consuming(node)
        await node.bus.publish(message(b"1"))
        await until(lambda: queue.waiting == 1, "the refusal")
        await queue.stop()
        self.assertEqual(await self.left(), 1)

    async def test_stop_waits_for_what_is_on_its_way(self) -> None:
        self.slow = []
        node = await self.node()
        queue = await self.consuming(node)
        await node.bus.publish(message(b"1"))
        await until(lambda: self.taken, "the message")
        stopping = Deferred.fromCoroutine(queue.stop())
        self.assertEqual(stopping.called, False)
        self.slow[0].callback(None)
        await stopping
        self.assertEqual(await self.left(), 0)

    async def test_messages_that_are_none_are_dropped_and_logged_once(self) -> None:
        node = await self.node()
        queue = await self.consuming(node)
        with capture_logs() as logs:
            await device_publishes(
                self.address,
                self.exchange,
                (None, b"no headers"),
                ({"topic": 5}, b"not text"),
                ({"topic": TOPIC}, b"x" * 1_048_576),
                ({"topic": TOPIC}, b"good \xff\xfe"),
            )
            await until(lambda: self.taken, "the good one")
        self.assertEqual(self.bodies(), [b"good \xff\xfe"])
        self.assertEqual(queue.counters.malformed, 3)
        self.assertEqual(len([event for event in logs if event["event"] == "queue.malformed"]), 1)
        await queue.stop()
        self.assertEqual(await self.left(), 0)

    async def test_messages_pika_cannot_decode_are_acknowledged_and_the_next_one_comes(self) -> None:
        node = await self.node()
        queue = await self.consuming(node)
        await node.bus.publish(message(b"before"))
        await unreadable(self.address, "", FAR_FUTURE, nested(2_000), FAR_FUTURE, routing_key=self.name)
        await node.bus.publish(message(b"after"))
        await until(lambda: len(self.taken) == 2, "the one behind")
        self.assertEqual(self.bodies(), [b"before", b"after"])
        self.assertEqual((queue.counters.malformed, node.connects), (3, 1))
        await until(lambda: queue.waiting == 0, "the acknowledgements")
        await queue.stop()
        self.assertEqual(await self.left(), 0)

    async def test_the_originals_queue_is_replaced_when_nobody_needs_it(self) -> None:
        await self.broker(lambda channel: channel.queue_declare(self.name, durable=False))
        node = await self.node()
        with capture_logs() as logs:
            await self.consuming(node)
        self.assertIn("queue.replaced", [event["event"] for event in logs])
        await node.bus.publish(message(b"1"))
        await until(lambda: self.taken, "the message")

    async def test_the_originals_queue_with_messages_in_it_is_left_alone_and_said_so(self) -> None:
        def old_queue(channel: Any) -> None:
            channel.queue_declare(self.name, durable=False)
            channel.basic_publish("", self.name, b"old")

        await self.broker(old_queue)
        node = await self.node()
        queue = self.queue()
        for _ in range(3):
            with self.assertRaisesRegex(BusError, f"stop the old fallback.py.*delete_queue {self.name}"):
                await queue.consume(node.bus.connection.hearing)
        self.assertFalse(queue.consuming)
        self.assertEqual(node.connects, 1)
        await self.broker(lambda channel: channel.queue_purge(self.name))
        await queue.consume(node.bus.connection.hearing)
        self.assertTrue(queue.consuming)

    async def test_a_queue_with_arguments_of_an_operator_keeps_them(self) -> None:
        arguments = {"x-max-length": 1000}
        await self.broker(lambda channel: channel.queue_declare(self.name, durable=True, arguments=arguments))
        node = await self.node()
        await self.consuming(node)
        await node.bus.publish(message(b"1"))
        await until(lambda: self.taken, "the message")
        await self.broker(lambda channel: channel.queue_declare(self.name, durable=True, arguments=arguments))

    async def test_a_queue_that_is_deleted_under_us_is_noticed(self) -> None:
        node = await self.node()
        queue = await self.consuming(node)
        await self.broker(lambda channel: channel.queue_delete(self.name))
        await until(lambda: not queue.consuming, "the end of the consumer")
        await queue.consume(node.bus.connection.hearing)
        await node.bus.publish(message(b"1"))
        await until(lambda: self.taken, "the message")

    async def test_a_queue_for_tests_goes_with_its_consumer(self) -> None:
        node = await self.node()
        queue = await self.consuming(node, auto_delete=True)
        await queue.stop()
        with self.assertRaises(pika.exceptions.ChannelClosedByBroker):
            await self.left()


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


class Keeping(unittest.TestCase):
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

    async def write(self, *names: str, exchange: str = WORK_EXCHANGE) -> None:
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
        return self.writer.publish(WORK_EXCHANGE, self.name, properties, body)

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
