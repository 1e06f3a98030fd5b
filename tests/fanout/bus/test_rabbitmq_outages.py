"""The bus over a RabbitMQ that is killed, frozen, full or tampered with. One broker of our own for the whole file."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.threads import deferToThread
from twisted.protocols import portforward
from twisted.trial import unittest

from fanout.bus.amqp_channel import AmqpChannel
from fanout.bus.interface import BusError
from fanout.bus.parameters import Patience
from fanout.message import Message
from tests import services
from tests.fanout.bus.node import QUICK, Node, device_publishes, until


def message(body: bytes) -> Message:
    return Message("/topic/id/a/1/text", body, "id", 1795294643)


def rabbitmqctl(broker: services.RabbitMQ, *arguments: str) -> Deferred[Any]:
    return deferToThread(broker.ctl, *arguments)


class Outage:
    """Mixed into the cases below. Not a TestCase itself: it would run as an empty test."""

    timeout = 150
    broker: ClassVar[services.RabbitMQ | None] = None

    async def setUp(self) -> None:
        if Outage.broker is None:
            Outage.broker = services.RabbitMQ()
            await deferToThread(Outage.broker.start)
        self.rabbitmq = Outage.broker
        self.exchange = f"fanout-{uuid4().hex}"

    def node(self, patience: Patience = QUICK, **broker: Any) -> Node:
        node = Node(self.rabbitmq, self.exchange, patience, **broker)
        self.addCleanup(node.bus.stop)
        return node

    async def running(self, patience: Patience = QUICK, **broker: Any) -> Node:
        node = self.node(patience, **broker)
        node.start()
        await node.connected()
        return node

    def unreachable(self, patience: Patience) -> Node:
        """A node whose broker is not there at all."""
        nobody = services.AmqpAddress(services.HOST, services.free_port())
        node = Node(nobody, self.exchange, patience)
        self.addCleanup(node.bus.stop)
        node.start()
        return node

    async def goes_down(self, node: Node) -> None:
        await until(lambda: not node.bus.state().connected, "state says it is not connected")

    async def unbind(self, hearing: Any) -> None:
        """What a stranger cannot do: the queue is exclusive."""
        channel = await AmqpChannel.open(hearing)
        await channel.ask("queue_unbind", queue=hearing.queue, exchange=self.exchange, routing_key="")


class TheBrokerCrashes(Outage, unittest.TestCase):
    async def test_both_nodes_come_back_and_what_was_published_meanwhile_arrives_once_in_order(self) -> None:
        one, two = await self.running(), await self.running()
        await one.bus.publish(message(b"before"))
        await deferToThread(self.rabbitmq.kill)
        await gatherResults([Deferred.fromCoroutine(self.goes_down(node)) for node in (one, two)])
        publishes = [one.bus.publish(message(b"%d" % number)) for number in range(1500)]
        self.assertEqual(one.bus.state().waiting, 1500)
        # A publish is worth only what the other node hears: it has to listen again before the first one sends.
        one.bus.blocked("held back by the test")
        await deferToThread(self.rabbitmq.start)
        await two.connected(2)
        one.bus.blocked(None)
        await gatherResults(publishes)
        await two.has(1501)
        self.assertEqual(two.bodies(), [b"before", *(b"%d" % number for number in range(1500))])
        await one.connected(2)  # It may be the later of the two: the pauses have jitter.

    async def test_publishes_in_flight_at_the_crash_are_confirmed_after_it(self) -> None:
        node = await self.running()
        publishes = [node.bus.publish(message(b"%d" % number)) for number in range(200)]
        await deferToThread(self.rabbitmq.kill)
        await self.goes_down(node)
        await deferToThread(self.rabbitmq.start)
        await gatherResults(publishes)
        await until(lambda: b"199" in node.bodies(), "the last one")
        self.assertEqual(len(set(node.bodies())), len(node.bodies()), "something came twice")
        self.assertEqual(node.bodies(), sorted(node.bodies(), key=int))

    async def test_an_orderly_restart(self) -> None:
        node = await self.running()
        await deferToThread(self.rabbitmq.restart)
        await node.connected(2)
        await node.bus.publish(message(b"after"))
        await node.has(1)


class TheConnectionBreaks(Outage, unittest.TestCase):
    async def test_second_copies_of_unconfirmed_publishes_are_dropped_by_the_others(self) -> None:
        """The socket dies when the broker has our messages and we do not know it yet."""
        one, two = await self.running(), await self.running()
        connection = one.bus.connection
        connection.publishing._answered = Deaf(one.bus)
        publishes = [one.bus.publish(message(b"%d" % number)) for number in range(100)]
        await two.has(100)
        self.assertEqual(one.bus.state().waiting, 100)
        connection.abort(ConnectionAbortedError("cut"))
        await gatherResults(publishes)
        await one.bus.publish(message(b"next"))
        await two.has(101)
        self.assertEqual(two.bodies(), [*(b"%d" % number for number in range(100)), b"next"])
        self.assertEqual(two.bus.counters.duplicates, 100)

    async def test_what_was_confirmed_while_a_node_was_away_is_sent_again_and_only_that_node_takes_it(
        self,
    ) -> None:
        """As after a crash of the broker, which takes the nodes' queues with it, confirmed or not."""
        one, two, three = await self.running(), await self.running(), await self.running()
        await one.bus.publish(message(b"before"))
        await two.has(1)
        two.bus.connection.abort(ConnectionAbortedError("cut"))
        await gatherResults([one.bus.publish(message(b"%d" % number)) for number in range(10)])
        one.bus.connection.abort(ConnectionAbortedError("cut"))
        await self.goes_down(one)
        behind = one.bus.publish(message(b"behind"))
        self.assertEqual(one.bus.state().waiting, 1)
        await behind
        for node in (two, three):
            await until(lambda node=node: node.bodies()[-1:] == [b"behind"], "the last one")
        self.assertEqual(three.bodies(), [b"before", *(b"%d" % number for number in range(10)), b"behind"])
        self.assertEqual(two.bodies(), three.bodies())

    async def test_what_is_sent_again_is_no_news_to_a_node_that_started_later(self) -> None:
        one = await self.running()
        await one.bus.publish(Message("/topic/id/a/1/text", b"old", "id", int(reactor.seconds()) - 1))
        late = await self.running()
        one.bus.connection.abort(ConnectionAbortedError("cut"))
        await self.goes_down(one)
        await one.bus.publish(message(b"new"))
        await until(lambda: b"new" in late.bodies(), "the new one")
        self.assertEqual(late.bodies(), [b"new"])
        self.assertEqual(late.bus.counters.duplicates, 1)

    async def test_stop_does_not_wait_for_the_others_to_come_back(self) -> None:
        node = await self.running()
        node.bus.connection.abort(ConnectionAbortedError("cut"))
        await self.goes_down(node)
        publish = node.bus.publish(message(b"kept"))
        await until(lambda: node.bus.state().connected, "connected again")
        await node.bus.stop()
        await publish

    async def test_our_queue_deleted_by_a_stranger(self) -> None:
        node = await self.running()
        await rabbitmqctl(self.rabbitmq, "delete_queue", node.bus.connection.hearing.queue)
        await node.connected(2)
        await node.bus.publish(message(b"after"))
        await node.has(1)

    async def test_our_exchange_deleted_by_a_stranger(self) -> None:
        node = await self.running()
        await rabbitmqctl(
            self.rabbitmq,
            "eval",
            f'rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, <<"{self.exchange}">>), false, <<"x">>).',
        )
        await node.bus.publish(message(b"after"))
        await node.has(1)
        self.assertEqual(node.bodies(), [b"after"])
        await node.connected(2)

    async def test_our_exchange_deleted_while_nobody_publishes(self) -> None:
        """No word of it comes from the broker; without a look the node would stay deaf."""
        node = await self.running(check=0.2)
        await rabbitmqctl(
            self.rabbitmq,
            "eval",
            f'rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, <<"{self.exchange}">>), false, <<"x">>).',
        )
        await until(lambda: node.bus.counters.connects == 2, "a new connection")
        await device_publishes(self.rabbitmq, self.exchange, ({"topic": "/topic/a"}, b"heard"))
        await node.has(1)

    async def test_a_lost_binding_is_made_again(self) -> None:
        node = await self.running(check=0.2)
        connection = node.bus.connection.hearing
        await self.unbind(connection)
        checked: Deferred[Any] = Deferred()
        self.patch(connection, "_checked", lambda *_: checked.callback(None))
        await checked
        await device_publishes(self.rabbitmq, self.exchange, ({"topic": "/topic/a"}, b"heard"))
        await node.has(1)
        self.assertEqual(node.bus.counters.connects, 1)

    async def test_an_unbound_queue_means_nobody_gets_it_and_the_publisher_is_told(self) -> None:
        node = await self.running()
        await self.unbind(node.bus.connection.hearing)
        with self.assertRaisesRegex(BusError, "no queue is bound"):
            await node.bus.publish(message(b"1"))
        self.assertEqual(node.bus.counters.returned, 1)


class OneOfTwo(Outage, unittest.TestCase):
    """A node hears over one connection and publishes over another."""

    async def test_whichever_breaks_both_are_made_anew_and_nothing_is_lost(self) -> None:
        one, two = await self.running(), await self.running()
        for times, broken in enumerate(("hearing", "publishing"), start=2):
            publishes = [one.bus.publish(message(b"%s %d" % (broken.encode(), number))) for number in range(100)]
            getattr(one.bus.connection, broken).abort(ConnectionAbortedError("cut"))
            await self.goes_down(one)
            await gatherResults(publishes)
            await one.connected(times)
        await two.has(200)
        self.assertEqual(
            two.bodies(), [b"%s %d" % (half, n) for half in (b"hearing", b"publishing") for n in range(100)]
        )
        self.assertEqual(one.bus.counters.connects, 3)

    async def test_without_the_second_there_is_no_first(self) -> None:
        """The broker lets in one connection of ours, and then no more."""
        node = self.node(Patience(connect=0.5, first_retry=0.05, last_retry=0.2))
        await rabbitmqctl(self.rabbitmq, "set_vhost_limits", '{"max-connections": 1}')
        try:
            node.start()
            await until(lambda: "limit" in node.bus.state().reason, "a reason")
            self.assertEqual((node.bus.state().connected, node.connects), (False, 0))
        finally:
            await rabbitmqctl(self.rabbitmq, "clear_vhost_limits")
        await node.connected()
        listed = await rabbitmqctl(self.rabbitmq, "list_connections", "client_properties")
        self.assertEqual([listed.count(f"fanout {what}") for what in ("hears", "publishes")], [1, 1])


class TheBrokerIsFrozen(Outage, unittest.TestCase):
    async def test_a_connect_that_hangs_has_an_end(self) -> None:
        self.rabbitmq.pause()
        try:
            node = self.node(Patience(connect=0.3, first_retry=0.05, last_retry=0.1))
            node.start()
            await until(lambda: "no answer within 0.3 s" in node.bus.state().reason, "a reason")
        finally:
            self.rabbitmq.resume()
        await node.connected()

    async def test_a_silent_broker_is_given_up_and_stop_does_not_hang(self) -> None:
        node = await self.running(Patience(connect=0.5, first_retry=0.05, last_retry=0.1, stop=0.2), heartbeat=1)
        self.rabbitmq.pause()
        try:
            await self.goes_down(node)
            publish = node.bus.publish(message(b"1"))
            began = reactor.seconds()
            await node.bus.stop()
            with self.assertRaisesRegex(BusError, "stopped"):
                await publish
            self.assertLess(reactor.seconds() - began, 5)
        finally:
            self.rabbitmq.resume()

    async def test_stop_with_unconfirmed_publishes_fails_them_in_time(self) -> None:
        node = await self.running(Patience(stop=0.2))
        self.rabbitmq.pause()
        try:
            publishes = [node.bus.publish(message(b"%d" % number)) for number in range(10)]
            outcome = DeferredList(publishes, consumeErrors=True)
            await node.bus.stop()
            for taken, failure in await outcome:
                self.assertFalse(taken)
                failure.trap(BusError)
        finally:
            self.rabbitmq.resume()

    async def test_unconfirmed_publishes_grow_too_old(self) -> None:
        node = await self.running(Patience(max_age=0.5))
        self.rabbitmq.pause()
        try:
            with self.assertRaisesRegex(BusError, "not taken it within 0.5 s"):
                await node.bus.publish(message(b"1"))
        finally:
            self.rabbitmq.resume()
        await node.bus.publish(message(b"2"))


class TheBrokerIsFull(Outage, unittest.TestCase):
    async def test_of_memory(self) -> None:
        await self.publishes_wait_and_hearing_goes_on("memory", "set_vm_memory_high_watermark", "0.0000001", "0.4")

    async def test_of_data(self) -> None:
        await self.publishes_wait_and_hearing_goes_on("disk", "set_disk_free_limit", "100000GB", "1MB")

    async def publishes_wait_and_hearing_goes_on(self, short_of: str, limit: str, alarm: str, well: str) -> None:
        """More is heard than may come unacknowledged: the broker reads acknowledgements, too."""
        node = await self.running(prefetch=5)
        channels: list[Any] = []
        node.bus.connection.hearing._acknowledge = channels.append
        await device_publishes(self.rabbitmq, self.exchange, *[({"topic": "/topic/a"}, b"%d" % n) for n in range(50)])
        await node.has(5)
        await rabbitmqctl(self.rabbitmq, limit, alarm)
        try:
            publishes = [node.bus.publish(message(b"50"))]  # RabbitMQ blocks a connection when it publishes.
            await self.goes_down(node)
            self.assertIn(f"low on {short_of}", node.bus.state().reason)
            publishes += [node.bus.publish(message(b"%d" % number)) for number in range(51, 60)]
            del node.bus.connection.hearing._acknowledge
            node.bus.connection.hearing._acknowledge(channels[0])
            await node.has(50)
            self.assertEqual(node.bus.state().waiting, 10)
        finally:
            await rabbitmqctl(self.rabbitmq, limit, well)
        await gatherResults(publishes)
        self.assertTrue(node.bus.state().connected)
        await node.has(60)
        self.assertEqual(node.bodies(), [b"%d" % number for number in range(60)])
        self.assertEqual(node.connects, 1)


class NoBrokerAtAll(Outage, unittest.TestCase):
    async def test_a_full_outbox_refuses_at_once(self) -> None:
        node = self.unreachable(Patience(messages=3))
        kept = [node.bus.publish(message(b"%d" % number)) for number in range(3)]
        self.failureResultOf(node.bus.publish(message(b"x")), BusError)
        for publish in kept:
            self.assertNoResult(publish)
        await node.bus.stop()
        for publish in kept:
            self.failureResultOf(publish, BusError)

    async def test_waiting_publishes_grow_too_old(self) -> None:
        node = self.unreachable(Patience(max_age=0.2))
        with self.assertRaisesRegex(BusError, "refused"):
            await node.bus.publish(message(b"1"))
        self.assertEqual(node.bus.state().waiting, 0)

    async def test_retries_go_on_slower_and_slower(self) -> None:
        node = self.unreachable(QUICK)
        delays = [node.bus._link.delay(failures, refused=False) for failures in range(1, 20)]
        self.assertLessEqual(delays[0], QUICK.first_retry)
        self.assertGreater(delays[-1], QUICK.first_retry)
        self.assertLessEqual(max(delays), QUICK.last_retry)
        await until(lambda: "refused" in node.bus.state().reason, "a reason")
        self.assertFalse(node.bus.state().connected)


class GivenUp(Outage, unittest.TestCase):
    async def test_what_never_went_out_is_missed_by_nobody(self) -> None:
        """Too old, or too much: its publisher was told, and the others have no gap to mind."""
        one, two = await self.running(Patience(max_age=0.1, messages=2)), await self.running()
        await one.bus.publish(message(b"before"))
        one.bus.blocked("held back by the test")
        kept = DeferredList([one.bus.publish(message(b"late")) for _ in range(3)], consumeErrors=True)
        self.assertEqual([taken for taken, _ in await kept], [False, False, False])
        one.bus.blocked(None)
        await one.bus.publish(message(b"after"))
        await two.has(2)
        self.assertEqual((two.bodies(), two.bus.counters.missed), ([b"before", b"after"], 0))


class TooMuch(Outage, unittest.TestCase):
    async def test_a_message_amqp_cannot_carry_is_refused_and_the_next_is_not(self) -> None:
        node = await self.running()
        unfit = Message("/topic/a", b"x", "id", 1, (("n" * 300, "v"),))
        self.failureResultOf(node.bus.publish(unfit), BusError)
        await node.bus.publish(message(b"fit"))

    async def test_a_device_floods_a_node_that_lags_and_the_newest_are_kept(self) -> None:
        node = await self.running(queue_length=10, prefetch=5)
        slow: list[bytes] = []
        node.bus._receive = lambda got: slow.append(got.body)
        channels: list[Any] = []
        node.bus.connection.hearing._acknowledge = channels.append  # It takes its five and no more.
        flood = [({"topic": "/topic/a"}, b"%d" % number) for number in range(100)]
        await device_publishes(self.rabbitmq, self.exchange, *flood)
        await until(lambda: len(slow) == 5 and bool(channels), "five, and their acknowledgement")
        del node.bus.connection.hearing._acknowledge
        node.bus.connection.hearing._acknowledge(channels[0])
        await until(lambda: slow[-1:] == [b"99"], "the newest")
        self.assertEqual(slow, [b"%d" % number for number in (0, 1, 2, 3, 4, *range(90, 100))])


class Partition(Outage, unittest.TestCase):
    """The network swallows everything, and says nothing."""

    async def test_it_is_noticed_and_what_was_published_meanwhile_arrives_once_when_it_ends(self) -> None:
        network = Network(self.rabbitmq)
        self.addCleanup(network.close)
        patience = Patience(connect=0.5, first_retry=0.05, last_retry=0.2)
        apart = Node(network.address, self.exchange, patience, heartbeat=1)
        self.addCleanup(apart.bus.stop)
        apart.start()
        await apart.connected()
        other = await self.running()
        network.part()
        published = apart.bus.publish(message(b"kept"))
        await self.goes_down(apart)
        await other.bus.publish(message(b"missed"))
        self.assertNoResult(published)
        network.heal()
        await published
        await other.has(2)
        await apart.has(1)
        self.assertEqual(other.bodies(), [b"missed", b"kept"])
        await other.bus.publish(message(b"after"))
        await until(lambda: b"after" in apart.bodies(), "the first one behind the partition")


class TooSlow(Outage, unittest.TestCase):
    """A node takes five messages of a queue of ten, and no more."""

    async def lagging(self, **broker: Any) -> tuple[Node, list[Any]]:
        node = await self.running(queue_length=10, prefetch=5, **broker)
        channels: list[Any] = []
        node.bus.connection.hearing._acknowledge = channels.append
        return node, channels

    async def test_what_the_queue_dropped_is_noticed_and_the_node_asks_for_last_slides(self) -> None:
        slow, channels = await self.lagging()
        fast = await self.running()
        await gatherResults([fast.bus.publish(message(b"%d" % number)) for number in range(100)])
        await slow.has(5)
        with capture_logs() as logs:
            await until(lambda: channels, "a first acknowledgement")
            del slow.bus.connection.hearing._acknowledge
            slow.bus.connection.hearing._acknowledge(channels[0])
            await slow.connected(2)
        self.assertEqual(slow.bodies()[-1], b"99")
        [gap] = [each for each in logs if each["event"] == "bus.gap"]
        self.assertEqual((gap["messages"], slow.bus.counters.missed), (85, 85))
        self.assertEqual(fast.bus.counters.missed, 0)

    async def test_a_queue_full_of_what_devices_published_is_noticed_as_well(self) -> None:
        with capture_logs() as logs:
            slow, _ = await self.lagging(check=0.2)
            await device_publishes(
                self.rabbitmq, self.exchange, *[({"topic": "/topic/a"}, b"%d" % number) for number in range(100)]
            )
            await slow.connected(2)
        self.assertEqual(next(each["waiting"] for each in logs if each["event"] == "bus.overflowing"), 10)


class Network:
    """A way to the broker that can be cut without a word."""

    def __init__(self, broker: Any) -> None:
        factory = portforward.ProxyFactory(broker.host, broker.port)
        factory.noisy = False
        factory.buildProtocol = self._build(factory.buildProtocol)
        self._ways: list[Any] = []
        self._parted = False
        self._port = reactor.listenTCP(0, factory, interface=services.HOST)
        self.address = services.AmqpAddress(services.HOST, self._port.getHost().port)

    def part(self) -> None:
        """From now on nothing comes through; not even the end of a connection."""
        self._parted = True
        for way in self._ways:
            way.dataReceived = way.peer.dataReceived = lambda _: None

    def heal(self) -> None:
        """New connections get through again."""
        self._parted = False

    async def close(self) -> None:
        await self._port.stopListening()
        for way in self._ways:
            way.transport.abortConnection()

    def _build(self, build: Any) -> Any:
        def made(address: Any) -> Any:
            way = None if self._parted else build(address)
            if way is not None:
                self._ways.append(way)
            return way

        return made


class Deaf:
    """Hears everything but confirms."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def confirmed(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)


def teardown_module() -> None:
    if Outage.broker is not None:
        Outage.broker.close()
