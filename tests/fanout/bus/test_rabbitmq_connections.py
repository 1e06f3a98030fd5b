"""Connections to a RabbitMQ that break, or whose queue, exchange or network somebody tampers with.

One broker of our own for the whole file.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.protocols import portforward
from twisted.trial import unittest

from fanout.bus import rabbitmq
from fanout.bus.amqp_connection import AmqpChannel
from fanout.bus.broker_settings import RetryPolicy
from fanout.bus.interface import BusError
from fanout.hub.message import Message
from tests import services
from tests.fanout.bus.node import Node, device_publishes, until
from tests.fanout.bus.outage import Outage, close_broker, message, rabbitmqctl


class TheConnectionBreaks(Outage, unittest.TestCase):
    async def test_second_copies_of_unconfirmed_publishes_are_dropped_by_the_others(self) -> None:
        """The socket dies when the broker has our messages and we do not know it yet."""
        one, two = await self.running(), await self.running()
        connection = one.bus.connection
        connection.publishing._confirms = Deaf(one.bus)
        publishes = [one.bus.publish(message(b"%d" % number)) for number in range(100)]
        await two.has(100)
        self.assertEqual(one.bus.state().waiting, 100)
        connection.abort(ConnectionAbortedError("cut"))
        await gatherResults(publishes)
        await one.bus.publish(message(b"next"))
        await two.has(101)
        self.assertEqual(two.bodies(), [*(b"%d" % number for number in range(100)), b"next"])
        self.assertEqual(two.bus.counters.duplicates, 100)

    async def test_a_connection_over_which_no_confirm_comes_is_given_up(self) -> None:
        """RabbitMQ 3.10.8 never confirms some publishes that were on their way when a stream changed its leader."""
        with patch.object(rabbitmq, "CONFIRM_SECONDS", 0.3):
            one, two = await self.running(), await self.running()
            one.bus.connection.publishing._confirms = Deaf(one.bus)
            await gatherResults([one.bus.publish(message(b"%d" % number)) for number in range(10)])
        await one.bus.publish(message(b"next"))
        await two.has(11)
        self.assertEqual(two.bodies(), [*(b"%d" % number for number in range(10)), b"next"])
        self.assertEqual((one.bus.counters.connects, two.bus.counters.connects), (2, 1))

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

    async def unbind(self, hearing: Any) -> None:
        """What a stranger cannot do: the queue is exclusive."""
        channel = await AmqpChannel.open(hearing)
        await channel.ask("queue_unbind", queue=hearing.queue, exchange=self.exchange, routing_key="")


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
        node = self.node(RetryPolicy(connect=0.5, first_retry=0.05, last_retry=0.2))
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


class Partition(Outage, unittest.TestCase):
    """The network swallows everything, and says nothing."""

    async def test_it_is_noticed_and_what_was_published_meanwhile_arrives_once_when_it_ends(self) -> None:
        network = Network(self.rabbitmq)
        self.addCleanup(network.close)
        retry_policy = RetryPolicy(connect=0.5, first_retry=0.05, last_retry=0.2)
        apart = Node(network.address, self.exchange, retry_policy, heartbeat=1)
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
    close_broker()
