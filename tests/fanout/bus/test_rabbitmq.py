"""The bus over a real RabbitMQ that is well. For one that is not see ``test_rabbitmq_outages``."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import uuid4

import pika
import pika.exceptions
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from tests import services
from tests.fanout.bus.node import FAR_FUTURE, Node, device_publishes, nested, unreadable, until

TOPIC = "/topic/fm/4e1/4000/09580/text"


def message(body: bytes, **headers: str) -> Message:
    return Message(TOPIC, body, f"id-{body[:20].decode()}", 1795294643, tuple(headers.items()))


class Cluster:
    """Mixed into the cases below. Not a TestCase itself: it would run as an empty test."""

    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange = f"fanout-{uuid4().hex}"

    async def node(self, **broker: Any) -> Node:
        node = Node(self.address, self.exchange, **broker)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node


class TwoNodesShareAnExchange(Cluster, unittest.TestCase):
    async def test_each_hears_all_of_both_in_order(self) -> None:
        one, two = await self.node(), await self.node()
        sent = message(b"TEXT 1", link="http://l", SlideId="7")
        await one.bus.publish(sent)
        await two.bus.publish(message(b"TEXT 2"))
        for node in (one, two):
            await node.has(2)
            self.assertEqual(node.bodies(), [b"TEXT 1", b"TEXT 2"])
            for field in ("topic", "message_id", "when", "headers"):
                self.assertEqual(getattr(node.received[0], field), getattr(sent, field))

    async def test_pipelined_publishes_are_confirmed_and_heard_in_order(self) -> None:
        one, two = await self.node(), await self.node()
        confirmed: list[int] = []
        publishes = [one.bus.publish(message(b"%d" % number)) for number in range(5000)]
        for number, publish in enumerate(publishes):
            publish.addCallback(lambda _, number=number: confirmed.append(number))
        self.assertEqual(one.bus.state().waiting, 5000)
        await gatherResults(publishes)
        self.assertEqual(confirmed, list(range(5000)))
        self.assertEqual(one.bus.state().waiting, 0)
        self.assertEqual(one.bus.counters.confirmed, 5000)
        await two.has(5000)
        self.assertEqual(two.bodies(), [b"%d" % number for number in range(5000)])

    async def test_the_default_exchange_is_the_brokers_own(self) -> None:
        self.exchange = "amq.fanout"
        one, two = await self.node(), await self.node()
        await one.bus.publish(message(b"TEXT amq"))
        await two.has(1)
        self.assertIn(b"TEXT amq", two.bodies())

    async def test_an_exchange_an_operator_made_is_used_as_it_is(self) -> None:
        await deferToThread(self.declare_exchange, durable=False)
        one = await self.node()
        await one.bus.publish(message(b"TEXT 1"))
        await one.has(1)

    async def test_a_message_as_large_as_the_largest_frame(self) -> None:
        one = await self.node()
        body = bytes(range(256)) * 1024
        await one.bus.publish(message(b"x"))
        await one.bus.publish(Message(TOPIC, body, "big", 1))
        await one.has(2)
        self.assertEqual(one.received[1].body, body)

    async def test_state_says_to_what_it_is_connected(self) -> None:
        node = await self.node()
        self.assertTrue(node.bus.state().connected)
        self.assertIn(self.exchange, node.bus.state().reason)

    async def test_a_publish_that_one_queue_refuses_is_sent_again(self) -> None:
        """As when the queue of a node that dies ends: RabbitMQ refuses the message, and accepts it a moment later."""
        one, two = await self.node(), await self.node()
        queue = f"refuses-{uuid4().hex}"
        await deferToThread(self.declare_short_queue, queue)
        sent: list[bytes] = []
        with capture_logs() as logs:
            while not any("refused (basic.nack)" in line.get("reason", "") for line in logs):
                await deferToThread(self.fill, queue)
                sent.append(b"TEXT %d" % len(sent))
                await one.bus.publish(message(sent[-1]))
        await one.has(len(sent))
        await two.has(len(sent))
        self.assertEqual((one.bodies(), two.bodies()), (sent, sent))

    def declare_short_queue(self, name: str) -> None:
        """It has room for one message, which it drops within a twentieth of a second: before a node connects again."""
        with contextlib.closing(self.connection()) as connection:
            arguments = {"x-max-length": 1, "x-overflow": "reject-publish", "x-message-ttl": 50, "x-expires": 60_000}
            channel = connection.channel()
            channel.queue_declare(name, durable=True, arguments=arguments)
            channel.queue_bind(name, self.exchange)

    def fill(self, queue: str) -> None:
        with contextlib.closing(self.connection()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            with contextlib.suppress(pika.exceptions.NackError):  # It is full already.
                channel.basic_publish("", queue, b"")

    async def test_a_receiver_that_publishes(self) -> None:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)

        def answer(got: Message) -> None:
            node.received.append(got)
            if got.body == b"question":
                node.bus.publish(message(b"answer"))

        node.bus.start(answer, lambda: None)
        await node.bus.publish(message(b"question"))
        await node.has(2)
        self.assertEqual(node.bodies(), [b"question", b"answer"])

    async def test_a_receiver_that_raises_costs_nobody_the_connection(self) -> None:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)

        def receive(got: Message) -> None:
            node.received.append(got)
            raise RuntimeError("broken receiver")

        with capture_logs() as logs:
            node.bus.start(receive, lambda: None)
            await gatherResults([node.bus.publish(message(b"1")), node.bus.publish(message(b"2"))])
            await node.has(2)
        self.assertEqual(node.bus.counters.connects, 1)
        self.assertIn("bus.receive_failed", [line["event"] for line in logs])

    def connection(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.ConnectionParameters(self.address.host, self.address.port))

    def declare_exchange(self, durable: bool) -> None:
        with contextlib.closing(self.connection()) as connection:
            connection.channel().exchange_declare(self.exchange, "fanout", durable=durable, auto_delete=True)


class DevicesPublishToTheExchange(Cluster, unittest.TestCase):
    async def test_with_nothing_but_a_topic(self) -> None:
        node = await self.node()
        await device_publishes(self.address, self.exchange, ({"topic": TOPIC}, b"TEXT from a device"))
        await node.has(1)
        got = node.received[0]
        self.assertEqual((got.topic, got.body, got.headers), (TOPIC, b"TEXT from a device", ()))
        self.assertTrue(got.message_id)
        self.assertGreater(got.when, 1_700_000_000)

    async def test_in_the_form_of_the_original(self) -> None:
        node = await self.node()
        headers = {
            "topic": "/topic/id/www.ebu.ch/1/text",
            "message-id": "3aa7",
            "when": "1795294643",
            "trigger-time": "2026-11-21T20:00:00Z",
            "link": "http://l/?a=1",
        }
        await device_publishes(self.address, self.exchange, (headers, b"TEXT caf\xc3\xa9"))
        await node.has(1)
        got = node.received[0]
        self.assertEqual((got.topic, got.message_id, got.when), ("/topic/id/www.ebu.ch/1/text", "3aa7", 1795294643))
        self.assertEqual(got.headers, (("trigger-time", "2026-11-21T20:00:00Z"), ("link", "http://l/?a=1")))
        self.assertEqual(got.body, b"TEXT caf\xc3\xa9")

    async def test_malformed_ones_are_counted_logged_once_and_the_next_is_delivered(self) -> None:
        node = await self.node()
        with capture_logs() as logs:
            bad = [(None, b"1"), ({"link": "l"}, b"2"), ({"topic": 5}, b"3"), ({"topic": TOPIC}, b"x" * 300_000)]
            await device_publishes(self.address, self.exchange, *bad, ({"topic": TOPIC}, b"good"))
            await node.has(1)
        self.assertEqual(node.bodies(), [b"good"])
        self.assertEqual(node.bus.counters.malformed, 4)
        self.assertEqual(len([line for line in logs if line["event"] == "bus.malformed"]), 1)

    async def test_the_same_correlation_id_twice_is_the_devices_own_business(self) -> None:
        node = await self.node()
        twice = [({"topic": TOPIC}, b"1"), ({"topic": TOPIC}, b"2")]
        await device_publishes(self.address, self.exchange, *twice, correlation_id="1")
        await node.has(2)

    async def test_a_header_pika_cannot_read_costs_its_message_and_not_the_connection(self) -> None:
        node = await self.node()
        with capture_logs() as logs:
            await unreadable(self.address, self.exchange, FAR_FUTURE)
            await node.bus.publish(message(b"TEXT after"))
            await node.has(1)
        self.assertEqual(node.bodies(), [b"TEXT after"])
        self.assertEqual((node.bus.counters.malformed, node.bus.counters.connects), (1, 1))
        (event,) = [line for line in logs if line["event"] == "bus.unreadable"]
        self.assertIn("Error", event["reason"])

    async def test_several_in_a_row_of_several_kinds(self) -> None:
        node = await self.node()
        with capture_logs() as logs:
            await unreadable(self.address, self.exchange, FAR_FUTURE, nested(2_000), *[FAR_FUTURE] * 50)
            await node.bus.publish(message(b"TEXT after"))
            await node.has(1)
        self.assertEqual(node.bodies(), [b"TEXT after"])
        self.assertEqual((node.bus.counters.malformed, node.bus.counters.connects), (52, 1))
        self.assertLess(len([line for line in logs if line["event"] == "bus.unreadable"]), 5)

    async def test_one_that_comes_in_many_reads(self) -> None:
        """Twisted reads up to 64 KiB at once, and we give pika 4 KiB."""
        node = await self.node()
        long = b"\x01lS" + (100_000).to_bytes(4) + b"l" * 100_000 + FAR_FUTURE
        await unreadable(self.address, self.exchange, long, long)
        await node.bus.publish(message(b"TEXT after"))
        await node.has(1)
        self.assertEqual((node.bus.counters.malformed, node.bus.counters.connects), (2, 1))

    async def test_a_damaged_frame_ends_the_connection(self) -> None:
        """Its end is not where it should be: what follows could be anything."""
        node = await self.node()
        header = pika.frame.Header(1, 1, pika.BasicProperties()).marshal()
        node.bus.connection.hearing.dataReceived(header[:-1] + b"x")
        await node.connected(2)


class Stopping(Cluster, unittest.TestCase):
    async def test_stop_sends_what_waits_first(self) -> None:
        one, two = await self.node(), await self.node()
        publishes = [one.bus.publish(message(b"%d" % number)) for number in range(2000)]
        await one.bus.stop()
        await gatherResults(publishes)
        await two.has(2000)
        self.assertFalse(one.bus.state().connected)
        with self.assertRaises(BusError):
            await one.bus.publish(message(b"late"))

    async def test_messages_that_arrive_while_stopping_leave_no_timer(self) -> None:
        """A gap in their numbers, such as when some are discarded with the channel, is no reason to catch up."""
        one, two = await self.node(), await self.node()
        await one.bus.publish(message(b"1"))
        await two.has(1)
        stopped = two.bus.stop()
        for gap in (10, 20):
            serial = f"{self.serial_of(two)}-{gap}"
            two.bus.received(pika.BasicProperties(headers={"topic": TOPIC}, correlation_id=serial), b"%d" % gap)
        await stopped
        self.assertEqual(self.timers_of(two), [])
        self.assertEqual((two.bodies(), two.bus.counters.missed), ([b"1", b"10", b"20"], 0))

    def serial_of(self, node: Node) -> str:
        """The serial, without its number, of the one publisher this node knows."""
        (publisher,) = node.bus._seen._last
        return f"fanout-{publisher}"

    def timers_of(self, node: Node) -> list[Any]:
        return [call for call in reactor.getDelayedCalls() if getattr(call.func, "__self__", None) is node.bus]

    async def test_publishes_confirmed_before_the_stop_leave_no_timer(self) -> None:
        """They would be sent again if the connection were lost without a stop, and nothing else watches their age."""
        node = await self.node()
        await node.bus.publish(message(b"1"))
        node.bus._age_call.reset(0)
        await until(lambda: node.bus._age_call is None, "the look at their age")
        await node.bus.stop()
        self.assertEqual(self.timers_of(node), [])

    async def test_stop_twice_and_stop_before_start(self) -> None:
        node = await self.node()
        await gatherResults([node.bus.stop(), node.bus.stop()])
        never_started = Node(self.address, self.exchange)
        await never_started.bus.stop()

    async def test_stop_while_connecting_leaves_nothing_behind(self) -> None:
        node = Node(self.address, self.exchange)
        node.start()
        publish = node.bus.publish(message(b"1"))
        stopped = node.bus.stop()
        with self.assertRaises(BusError):
            await publish
        await stopped


class NotLetIn(Cluster, unittest.TestCase):
    async def test_a_wrong_password_is_said_and_never_shown(self) -> None:
        with capture_logs() as logs:
            node = Node(self.address, self.exchange, user="guest", password="not-the-password")
            node.start()
            await until(lambda: "password" in node.bus.state().reason, "a reason")
        state = node.bus.state()
        self.assertFalse(state.connected)
        self.assertEqual(state.reason, "the broker does not accept the password of user 'guest'")
        self.assertNotIn("not-the-password", f"{logs}{node.bus.__dict__}")
        retry = next(line["retry_in"] for line in logs if line["event"] == "bus.lost")
        self.assertGreaterEqual(retry, 0.2, "not at the slow end")
        await node.bus.stop()

    async def test_a_missing_virtual_host_is_named(self) -> None:
        node = Node(self.address, self.exchange, vhost="nowhere")
        node.start()
        await until(lambda: "'nowhere'" in node.bus.state().reason, "a reason that names it")
        await node.bus.stop()
