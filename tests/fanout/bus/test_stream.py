"""The stream behind the fan-out: what a node did not hear is read from it once, in order, and up to its marker."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from pika.spec import BasicProperties
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus import rabbitmq, stream
from fanout.bus.amqp_connection import NOT_FOUND, AmqpChannel, Refusal
from fanout.bus.amqp_message import AGAIN, MalformedMessage, from_amqp
from fanout.bus.connection_pair import ConsumerConnection, PublisherConnection
from fanout.bus.interface import BusError
from fanout.bus.stream import Devices, Missed, Overlap, fingerprint
from fanout.hub.message import Message
from tests import services
from tests.fanout.bus import queue_reader
from tests.fanout.bus.node import FAR_FUTURE, Node, device_publishes, unreadable, until

SECONDS = 60.0


def message(topic: str, body: str, *, when: int | None = None) -> Message:
    return Message(f"/topic/{topic}", body.encode(), uuid4().hex, int(time.time()) if when is None else when)


def bodies(messages: list[Message]) -> list[str]:
    return [each.body.decode() for each in messages]


class _Case(unittest.TestCase):
    timeout = 180

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange = f"fanout-{uuid4().hex}"
        self.addCleanup(self.broker, lambda channel: channel.queue_delete(f"stream.{self.exchange}"))

    async def broker(self, do: Any) -> Any:
        def run() -> Any:
            with queue_reader.channel(self.address) as channel:
                return do(channel)

        return await deferToThread(run)

    async def node(self, *, remembers: bool = True, **broker: Any) -> Node:
        node = Node(self.address, self.exchange, remembers=remembers, **broker)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.caught_up()
        return node

    async def cut(self, node: Node) -> None:
        """Its connection is lost, and it does not connect before :meth:`heal`."""
        node.bus._client._hosts, node.hosts = (("", _Unreachable()),), node.bus._client._hosts
        node.bus.connection.hearing.abort(ConnectionAbortedError("cut by the test"))
        await until(lambda: node.bus.connection is None, "the loss")

    async def heal(self, node: Node) -> None:
        node.bus._client._hosts = node.hosts
        await node.caught_up()


class _Unreachable:
    """An endpoint that nobody answers at."""

    def connect(self, _factory: object) -> Any:
        return fail(ConnectionRefusedError("cut by the test"))


class AtTheStart(_Case):
    async def test_the_newest_of_each_topic_is_read_by_a_node_that_comes_later(self) -> None:
        one = await self.node()
        for topic, body in (("a", "a1"), ("b", "b1"), ("a", "a2"), ("c", "c1"), ("b", "b2")):
            await one.bus.publish(message(topic, body))
        two = await self.node()
        self.assertEqual([bodies(each) for each in two.replayed], [["a2", "c1", "b2"]])
        self.assertEqual(two.received, [])
        await one.bus.publish(message("a", "a3"))
        await two.has(1, SECONDS)
        self.assertEqual(bodies(two.received), ["a3"])

    async def test_a_message_is_the_same_as_over_the_nodes_own_queue(self) -> None:
        one = await self.node()
        sent = Message("/topic/a", b"caf\xc3\xa9 \xff", "id", int(time.time()), (("link", "http://l/"),))
        await one.bus.publish(sent)
        two = await self.node()
        ((got,),) = two.replayed
        for field in ("topic", "body", "message_id", "when", "headers"):
            self.assertEqual(getattr(got, field), getattr(sent, field))

    async def test_what_is_older_than_a_day_is_not_read(self) -> None:
        one = await self.node()
        await one.bus.publish(message("a", "old", when=int(time.time()) - 90_000))
        await one.bus.publish(message("b", "new"))
        self.assertEqual(bodies((await self.node()).replayed[0]), ["new"])

    async def test_markers_reach_no_other_queue_and_no_node(self) -> None:
        await self.broker(lambda channel: channel.exchange_declare(self.exchange, "fanout", durable=True))
        old = f"old-{uuid4().hex}"

        def bind(channel: Any) -> None:
            channel.queue_declare(old, durable=True)
            channel.queue_bind(old, self.exchange)

        await self.broker(bind)
        nodes = [await self.node() for _ in range(3)]
        without = await self.node(remembers=False)
        self.assertEqual([each.replayed for each in nodes], [[[]]] * 3)
        self.assertEqual([each.received for each in (*nodes, without)], [[]] * 4)
        count = await self.broker(lambda channel: channel.queue_delete(old).method.message_count)
        self.assertEqual(count, 0)

    async def test_what_cannot_be_read_there_is_left_out(self) -> None:
        one = await self.node()
        await device_publishes(self.address, self.exchange, (None, b"no topic"))
        await unreadable(self.address, self.exchange, FAR_FUTURE)
        await one.bus.publish(message("a", "good"))
        two = await self.node()
        self.assertEqual(bodies(two.replayed[0]), ["good"])
        self.assertEqual((two.bus.counters.malformed, two.bus.counters.connects), (0, 1))

    async def test_much_is_read_in_pieces_and_the_reactor_turns(self) -> None:
        one = await self.node()
        rows = [({"topic": f"/topic/{number % 3000}"}, b"%d" % number) for number in range(6_000)]
        await device_publishes(self.address, self.exchange, *rows)
        await one.has(6_000, SECONDS)
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            self.ticking = reactor.callLater(0, turn)

        turn()
        two = await self.node()
        self.ticking.cancel()
        self.assertEqual(bodies(two.replayed[0]), [str(number) for number in range(3_000, 6_000)])
        self.assertGreater(turns, 10)


class AfterAReconnect(_Case):
    async def test_all_that_was_missed_is_read_once_and_in_order(self) -> None:
        one, two = await self.node(), await self.node()
        await one.bus.publish(message("a", "heard"))
        await two.has(1, SECONDS)
        await self.cut(two)
        for number in range(50):
            await one.bus.publish(message("a" if number % 2 else "b", str(number)))
        await self.heal(two)
        await one.bus.publish(message("a", "after"))
        await two.has(2, SECONDS)
        self.assertEqual([bodies(each) for each in two.replayed], [[], [str(number) for number in range(50)]])
        self.assertEqual(bodies(two.received), ["heard", "after"])
        self.assertEqual((two.bus.counters.replayed, two.bus.counters.missed), (50, 0))

    async def test_it_is_not_caught_up_before(self) -> None:
        one, two = await self.node(), await self.node()
        await self.cut(two)
        self.assertFalse(two.bus.state().caught_up)
        await one.bus.publish(message("a", "missed"))
        states = []

        async def replay(_messages: object) -> None:
            states.append(two.bus.state())

        two.bus._begin_replay = lambda: replay
        await self.heal(two)
        self.assertEqual([(each.connected, each.caught_up) for each in states], [(True, False)])
        self.assertIn("reading what was missed", states[0].reason)
        self.assertNotIn("reading", two.bus.state().reason)

    async def test_what_devices_publish_comes_once(self) -> None:
        """It has no serials, and here not even ids."""
        one, two = await self.node(), await self.node()
        await device_publishes(self.address, self.exchange, *[({"topic": "/topic/a"}, b"h%d" % n) for n in range(5)])
        await two.has(5, SECONDS)
        await self.cut(two)
        await device_publishes(self.address, self.exchange, *[({"topic": "/topic/a"}, b"m%d" % n) for n in range(5)])
        await one.has(10, SECONDS)
        await self.heal(two)
        self.assertEqual(bodies(two.replayed[1]), [f"m{n}" for n in range(5)])
        self.assertEqual(bodies(two.received), [f"h{n}" for n in range(5)])

    async def test_much_that_was_missed_becomes_the_newest_of_each_topic(self) -> None:
        one, two = await self.node(), await self.node()
        await self.cut(two)
        with patch.object(stream, "MOST_MISSED", 20):
            for number in range(30):
                await one.bus.publish(message(str(number % 3), str(number)))
            await self.heal(two)
        self.assertEqual(bodies(two.replayed[1]), ["27", "28", "29"])

    async def test_what_was_published_meanwhile_is_sent_at_once_as_the_stream_keeps_it_for_the_others(self) -> None:
        one, two = await self.node(), await self.node()
        await self.cut(one)
        await self.cut(two)
        publishes = [one.bus.publish(message("a", str(number))) for number in range(20)]
        await self.heal(one)
        for publish in publishes:
            await publish
        await self.heal(two)
        for node in (one, two):
            await until(lambda node=node: len(node.received) + len(node.replayed[1]) == 20, "all of them", SECONDS)
            self.assertEqual(bodies([*node.replayed[1], *node.received]), [str(number) for number in range(20)])

    async def test_a_stream_that_was_deleted_is_made_anew(self) -> None:
        one, two = await self.node(), await self.node()
        for number in range(5):
            await one.bus.publish(message("a", str(number)))
        await two.has(5, SECONDS)
        await self.cut(two)
        await self.broker(lambda channel: channel.queue_delete(f"stream.{self.exchange}"))
        with patch.multiple(stream, REORDERED=0, SILENCE_SECONDS=1.0):
            await self.heal(two)
        await one.bus.publish(message("a", "after"))
        await two.has(6, SECONDS)
        self.assertEqual(bodies(two.received), ["0", "1", "2", "3", "4", "after"])


class AGap(_Case):
    async def test_what_the_broker_did_not_bring_is_read_from_the_stream_in_its_order(self) -> None:
        """As when two nodes of the broker lose each other: the stream has a message, and a queue elsewhere does not."""
        one, two = await self.node(), await self.node()
        await one.bus.publish(message("a", "a0"))
        await two.has(1, SECONDS)
        hearing = two.bus.connection.hearing
        channel = await AmqpChannel.open(hearing)
        await channel.ask("queue_unbind", queue=hearing.queue, exchange=self.exchange, routing_key="")
        for body in ("a1", "a2"):
            await one.bus.publish(message("a", body))
        await channel.ask("queue_bind", queue=hearing.queue, exchange=self.exchange, routing_key="")
        for body in ("a3", "a4"):
            await one.bus.publish(message("a", body))
        await until(lambda: two.bus.counters.connects == 2, "another connection")
        await two.caught_up()
        await one.bus.publish(message("a", "a5"))
        await two.has(2, SECONDS)
        self.assertEqual(bodies(two.replayed[-1]), ["a1", "a2", "a3", "a4"])
        self.assertEqual(bodies(two.received), ["a0", "a5"])

    async def test_what_the_stream_has_no_more_is_not_looked_for_again(self) -> None:
        """The connection is kept, and the next message, which has a gap before it, arrives."""
        with patch.multiple(stream, MAX_OCTETS=100_000, SEGMENT_OCTETS=20_000):
            one, two = await self.node(), await self.node()
            await one.bus.publish(message("a", "heard"))
            await two.has(1, SECONDS)
            await self.cut(two)
            await one.bus.publish(message("a", "deleted"))
            for _ in range(20):
                await device_publishes(self.address, self.exchange, *5 * [({"topic": "/topic/a"}, b"x" * 4_000)])
            await self.heal(two)
        replayed = bodies(two.replayed[-1])
        self.assertNotIn("deleted", replayed)
        self.assertIn("x" * 4_000, replayed)
        await one.bus.publish(message("a", "after"))
        await until(lambda: "after" in bodies(two.received), "the next message")
        self.assertEqual((two.bus.counters.connects, two.bus.counters.missed), (2, 1))


class TheEndOfAReading(_Case):
    async def test_what_waits_in_the_nodes_own_queue_meanwhile_comes_behind_it_and_once(self) -> None:
        """Published between the binding of the queue and the marker: it is in both."""
        one = await self.node()
        late = Node(self.address, self.exchange, remembers=True)
        self.addCleanup(late.bus.stop)
        declare = stream.StreamQueue.declare

        async def slowly(self_: Any, connection: Any) -> None:
            await declare(self_, connection)
            await one.bus.publish(message("a", "serial 1"))
            await device_publishes(self.address, self.exchange, *[({"topic": "/topic/d"}, b"d%d" % n) for n in (1, 2)])
            await one.bus.publish(message("a", "serial 2"))
            await one.has(4, SECONDS)

        with patch.object(stream.StreamQueue, "declare", slowly):
            late.start()
            await late.caught_up()
        self.assertEqual(bodies(late.replayed[0]), ["d2", "serial 2"])
        await one.bus.publish(message("a", "after"))
        await late.has(1, SECONDS)
        self.assertEqual(bodies(late.received), ["after"])
        self.assertEqual(late.bus.counters.duplicates, 4)

    async def test_without_its_marker_it_ends_when_nothing_more_comes_and_others_are_asked(self) -> None:
        """As when the broker is short of memory and reads nothing from the connection that publishes."""
        one = await self.node()
        await one.bus.publish(message("a", "kept"))

        async def unmarked(*_: object) -> None:
            return None

        with (
            patch.object(stream.StreamQueue, "_mark", unmarked),
            patch.object(stream, "SILENCE_SECONDS", 2.0),
            capture_logs() as logs,
        ):
            two = await self.node()
        self.assertEqual(bodies(two.replayed[0]), ["kept"])
        self.assertEqual(two.connects, 1)
        self.assertIn("stream.silent", [line["event"] for line in logs])

    async def test_stopping_in_the_middle_leaves_nothing_behind(self) -> None:
        async def unmarked(*_: object) -> None:
            return None

        node = Node(self.address, self.exchange, remembers=True)
        with patch.object(stream.StreamQueue, "_mark", unmarked):
            node.start()
            await until(lambda: node.bus.connection is not None, "a connection", SECONDS)
            await node.bus.stop()
        self.assertFalse(node.bus.state().connected)


class EveryWayToTheEnd(_Case):
    """Of the table "How a reading ends" in :mod:`fanout.bus.rabbitmq`: each ends in a node that has caught up."""

    async def works(self, node: Node, *, connects: int) -> None:
        """It has made so many connections, and what is published reaches it."""
        body = uuid4().hex
        await node.bus.publish(message("works", body))
        await until(lambda: bodies(node.received)[-1:] == [body], "what is published", SECONDS)
        self.assertEqual(node.bus.counters.connects, connects)

    async def test_the_stream_is_down_for_long(self) -> None:
        async def down(*_: object) -> None:
            raise Refusal(NOT_FOUND, "down or inaccessible")

        node = await self.node()
        await self.cut(node)
        publish = node.bus.publish(message("a", "meanwhile"))
        with patch.object(stream.StreamQueue, "_declare", down), patch.object(stream, "SILENCE_SECONDS", 1.0):
            await self.heal(node)
        await publish
        self.assertEqual(node.connects, 1)
        await self.works(node, connects=2)

    async def test_the_stream_is_not_declared(self) -> None:
        async def unanswered(*_: object) -> None:
            await Deferred()

        with patch.object(stream.StreamQueue, "_declare", unanswered), patch.object(stream, "SILENCE_SECONDS", 1.0):
            node = await self.node()
        await self.works(node, connects=1)

    async def test_others_publish_and_the_marker_does_not_come(self) -> None:
        async def unmarked(*_: object) -> None:
            return None

        one = await self.node()
        ticking = LoopingCall(lambda: one.bus.publish(message("a", uuid4().hex)))
        ticking.start(0.1)
        with patch.object(stream.StreamQueue, "_mark", unmarked), patch.object(stream, "MOST_SECONDS", 2.0):
            two = await self.node()
        ticking.stop()
        self.assertGreater(len(two.replayed[0]), 0)
        self.assertEqual(two.connects, 1)
        await self.works(two, connects=1)

    async def test_a_marker_that_was_dropped_is_published_again(self) -> None:
        publish = stream.AmqpChannel.open
        opened = 0

        async def dropping(connection: Any) -> Any:
            nonlocal opened
            channel = await publish(connection)
            if isinstance(connection, PublisherConnection):
                opened += 1
                if opened == 1:
                    channel.raw.basic_publish = lambda *_: None
            return channel

        with patch.object(stream.AmqpChannel, "open", dropping), patch.object(stream, "MARK_SECONDS", 0.2):
            node = await self.node()
        self.assertEqual((opened, node.connects), (2, 0))
        await self.works(node, connects=1)

    async def test_the_broker_ends_the_consumer_in_the_middle(self) -> None:
        """Another consumer goes on behind the last message that the first one got."""
        one = await self.node()
        for number in range(5):
            await one.bus.publish(message(str(number), str(number)))
        taken = 0
        read = stream._Reading._read

        def once(reading: Any, offset: int, exchange: str, properties: Any, body: bytes) -> None:
            nonlocal taken
            taken += 1
            if taken == 3:
                reading._channel.raw.basic_consume("no such queue", lambda *_: None)  # 404 closes the channel.
            read(reading, offset, exchange, properties, body)

        with patch.object(stream._Reading, "_read", once), patch.object(stream, "PREFETCH", 1):
            two = await self.node()
        self.assertEqual(bodies(two.replayed[0]), list("01234"))
        self.assertEqual(two.connects, 0)
        await self.works(two, connects=1)

    async def test_our_own_queue_cannot_be_consumed(self) -> None:
        begin, calls = ConsumerConnection.begin, 0

        async def unanswered_once(connection: Any) -> int:
            nonlocal calls
            calls += 1
            if calls == 1:
                await Deferred()
            return await begin(connection)

        with patch.object(ConsumerConnection, "begin", unanswered_once):
            node = await self.node()
        await self.works(node, connects=2)

    async def test_the_others_do_not_answer_or_the_node_raises(self) -> None:
        for answer in (Deferred, lambda: 1 // 0):
            node = Node(self.address, self.exchange)
            node._count_connect = answer
            self.addCleanup(node.bus.stop)
            with patch.object(rabbitmq, "OTHERS_SECONDS", 0.5):
                node.start()
                await node.caught_up()
            await self.works(node, connects=1)
        self.flushLoggedErrors(ZeroDivisionError)

    async def test_the_connection_is_lost_at_any_step(self) -> None:
        """At each of the requests of a reading, in turn: what was missed comes once, over a later connection."""
        one, two = await self.node(), await self.node()
        await one.bus.publish(message("a", "heard"))
        await two.has(1, SECONDS)
        ask, lose_at, asked = stream.AmqpChannel.ask, 0, 0

        async def losing(channel: Any, method: str, **arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == lose_at:
                two.bus.connection.hearing.abort(ConnectionAbortedError("lost by the test"))
            return await ask(channel, method, **arguments)

        for step in range(1, 4):
            await self.cut(two)
            await one.bus.publish(message("a", f"missed {step}"))
            lose_at, asked = step, 0
            with patch.object(stream.AmqpChannel, "ask", losing):
                await self.heal(two)
        missed = [body for replayed in two.replayed for body in bodies(replayed)]
        self.assertEqual(missed, [f"missed {step}" for step in range(1, 4)])
        self.assertEqual(bodies(two.received), ["heard"])


class AStreamThatIsAwayAtFirst(_Case):
    async def test_it_is_read_when_it_is_back(self) -> None:
        """As after a restart of all nodes and memcached, while the stream has no leader."""
        one = await self.node()
        await one.bus.publish(message("a", "kept"))
        away = fail(BusError("it is away"))
        with (
            patch.object(rabbitmq, "LOOK_SECONDS", 0.2),
            patch.object(stream.StreamQueue, "declare", lambda *_: away),
        ):
            two = await self.node()
        self.assertEqual((two.replayed, two.connects), ([[]], 1))
        await until(lambda: len(two.replayed) == 2, "another reading")
        self.assertEqual(bodies(two.replayed[1]), ["kept"])


class WithoutAStream(_Case):
    async def test_one_that_is_turned_off_keeps_nothing_any_more(self) -> None:
        """An earlier run of the nodes has made it and bound it."""
        one = await self.node()
        await one.bus.publish(message("a", "kept"))
        await one.bus.stop()
        with capture_logs() as logs:
            two = await self.node(stream=False)
            await until(lambda: "stream.unbound" in [line["event"] for line in logs], "unbound")
        await two.bus.publish(message("a", "not kept"))
        await two.has(1, SECONDS)
        self.assertEqual((two.replayed, two.connects), ([], 1))
        self.assertEqual([bodies(each) for each in (await self.node()).replayed], [["kept"]])

    async def test_a_queue_of_another_type_has_its_name(self) -> None:
        await self.broker(lambda channel: channel.queue_declare(f"stream.{self.exchange}", durable=True))
        node = await self.node()
        self.assertEqual(node.connects, 1)
        await node.bus.publish(message("a", "1"))
        await node.has(1, SECONDS)

    async def test_a_broker_that_refuses_it_is_asked_once_and_the_others_are_asked_instead(self) -> None:
        """RabbitMQ closes the connection for this one, as it does when the feature flag is off."""
        with patch.object(stream, "MAX_AGE", "nonsense"), capture_logs() as logs:
            node = await self.node()
            await node.bus.publish(message("a", "1"))
            await node.has(1, SECONDS)
            await self.cut(node)
            await self.heal(node)
        self.assertEqual(node.connects, 2)
        self.assertEqual((node.bus.counters.connects, node.replayed), (3, [[]]))
        self.assertEqual(len([line for line in logs if line["event"] == "stream.unavailable"]), 1)


# What was read, without a broker


def decode(properties: BasicProperties, body: bytes) -> Message | None:
    try:
        return from_amqp(properties, body, int(time.time()))
    except MalformedMessage:
        return None


class TestMissed(unittest.TestCase):
    def setUp(self) -> None:
        self.devices = Devices()
        self.missed = Missed(self.devices, newest_only=False)

    def take(
        self, topic: str, body: str, serial: str | None = None, *, is_new: bool = True, again: bool = False
    ) -> None:
        properties = BasicProperties(headers={"topic": topic}, correlation_id=serial, type=AGAIN if again else None)
        self.missed.take(properties, body.encode(), decode, is_new=is_new)

    def device_heard(self, topic: str, body: str) -> None:
        self.devices.heard(topic, fingerprint(BasicProperties(headers={"topic": topic}), body.encode()))

    def test_one_that_was_heard_makes_those_before_it_out_of_date(self) -> None:
        serial = f"fanout-{uuid4().hex}-"
        self.take("a", "device")
        self.take("b", "other")
        self.take("a", "heard", f"{serial}1", is_new=False)
        self.take("a", "missed", f"{serial}2")
        self.assertEqual(bodies(self.missed.messages()), ["other", "missed"])

    def test_a_second_copy_makes_nothing_out_of_date(self) -> None:
        """Neither the first copy nor what came behind that."""
        serial = f"fanout-{uuid4().hex}-"
        self.take("a", "2", f"{serial}2")
        self.take("a", "3", f"{serial}3")
        self.take("a", "1, heard before", f"{serial}1", is_new=False, again=True)
        for number in "23":
            self.take("a", number, f"{serial}{number}", is_new=False)
        self.assertEqual(bodies(self.missed.messages()), ["2", "3"])

    def test_a_marked_copy_is_new_if_the_first_one_was_lost(self) -> None:
        self.take("a", "1", f"fanout-{uuid4().hex}-1", again=True)
        self.assertEqual(bodies(self.missed.messages()), ["1"])

    def test_a_devices_last_one_is_known_by_its_content(self) -> None:
        self.device_heard("a", "2")
        for body in "123":
            self.take("a", body)
        self.assertEqual(bodies(self.missed.messages()), ["3"])
        again = Missed(self.devices, newest_only=False)
        again.take(BasicProperties(headers={"topic": "a"}), b"3", decode, is_new=True)
        self.assertEqual(again.messages(), [])

    def test_the_newest_only(self) -> None:
        self.missed = Missed(self.devices, newest_only=True)
        for topic, body in ("a1", "b1", "a2", "c1"):
            self.take(topic, topic + body)
        self.assertEqual(bodies(self.missed.messages()), ["b1", "a2", "c1"])

    def test_at_first_the_newest_copy_counts_if_the_stream_has_nothing_else_of_its_topic(self) -> None:
        """The first copies were deleted; what was sent again stands behind later messages of its publisher."""
        self.missed = Missed(self.devices, newest_only=True, is_first=True)
        serial = f"fanout-{uuid4().hex}-"
        self.take("b", "4", f"{serial}4")
        for number in "123":
            self.take("a", number, serial + number, is_new=False, again=True)
        self.take("b", "3, before 4", f"{serial}3", is_new=False, again=True)
        self.take("c", "1", f"{serial}0", is_new=False, again=True)
        self.take("c", "device")
        self.assertEqual(bodies(self.missed.messages()), ["4", "3", "device"])
        self.missed = Missed(self.devices, newest_only=True)
        self.take("d", "1", f"{serial}1", is_new=False, again=True)
        self.assertEqual(self.missed.messages(), [], "it was heard before, when the stream was down")

    def test_the_overlap_is_as_long_as_the_queue(self) -> None:
        overlap = Overlap()
        for number in (1, None, 2, 2, 3):
            overlap.read(number)
        overlap.expect(3)
        self.assertEqual([overlap.is_second(each) for each in (1, 2, 2, 2, 3)], [False, True, True, False, True])

    def test_nothing_waits_in_the_queue(self) -> None:
        overlap = Overlap()
        overlap.read(1)
        overlap.expect(0)
        self.assertFalse(overlap.is_second(1))
