"""Who leads, by the word of a real broker."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus import leader
from fanout.bus.amqp_connection import AmqpChannel
from fanout.bus.interface import BusError
from fanout.bus.leader import Alone, BrokerLeader, LeaderNames, take_lock
from tests import services
from tests.fanout.bus import queue_reader
from tests.fanout.bus.node import Node, until
from tests.network import Network

# Locks on a real broker.


class Locks(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange, self.lock = f"fanout-{uuid4().hex}", f"lock-{uuid4().hex}"

    async def node(self) -> Node:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node

    async def test_one_connection_has_it_and_may_ask_again(self) -> None:
        one, two = await self.node(), await self.node()
        self.assertTrue(await take_lock(one.bus.connection.publishing, self.lock))
        for _ in range(3):
            self.assertFalse(await take_lock(two.bus.connection.publishing, self.lock))
            self.assertTrue(await take_lock(one.bus.connection.publishing, self.lock))

    async def test_a_refusal_costs_nobody_the_connection(self) -> None:
        one, two = await self.node(), await self.node()
        await take_lock(one.bus.connection.publishing, self.lock)
        await take_lock(two.bus.connection.publishing, self.lock)
        self.assertTrue(await take_lock(two.bus.connection.publishing, f"{self.lock}-other"))
        self.assertEqual(two.connects, 1)

    async def test_it_is_free_when_its_holder_has_gone(self) -> None:
        one, two = await self.node(), await self.node()
        await take_lock(one.bus.connection.publishing, self.lock)
        one.bus.connection.abort(ConnectionAbortedError("killed"))
        began = reactor.seconds()
        while not await take_lock(two.bus.connection.publishing, self.lock):
            self.assertLess(reactor.seconds() - began, 10)
            await deferLater(reactor, 0.01)

    async def test_without_a_connection_nobody_can_tell(self) -> None:
        node = await self.node()
        connection = node.bus.connection.publishing
        await node.bus.stop()
        with self.assertRaises(BusError):
            await take_lock(connection, self.lock)

    async def test_a_connection_that_ends_meanwhile(self) -> None:
        node = await self.node()
        connection = node.bus.connection.publishing
        asked = take_lock(connection, self.lock)
        connection.transport.abortConnection()
        with self.assertRaises(BusError):
            await asked


class Leading(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange, self.lock = f"fanout-{uuid4().hex}", f"lock-{uuid4().hex}"
        self.names = LeaderNames(self.lock, f"work-{uuid4().hex}", f"heartbeats-{uuid4().hex}")

    async def leader(self) -> tuple[Node, BrokerLeader]:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node, BrokerLeader(reactor, node.bus, self.names)

    async def test_one_leads_and_both_say_so_once(self) -> None:
        (_, one), (_, two) = await self.leader(), await self.leader()
        with capture_logs() as logs:
            for _ in range(3):
                self.assertTrue(await one.claim())
                self.assertFalse(await two.claim())
        self.assertEqual((one.leading, two.leading), (True, False))
        self.assertEqual([event["event"] for event in logs], ["leader.leading", "leader.standing_by"])

    async def test_without_its_connection_nobody_leads_until_it_has_asked_again(self) -> None:
        node, candidate = await self.leader()
        await candidate.claim()
        connection = node.bus.connection
        connection.abort(ConnectionAbortedError("cut"))
        await connection.lost
        self.assertFalse(candidate.leading)
        await node.connected(2)
        self.assertFalse(candidate.leading)
        self.assertTrue(await candidate.claim())
        self.assertTrue(candidate.leading)

    async def test_without_a_broker_nobody_can_tell(self) -> None:
        node, candidate = await self.leader()
        await node.bus.stop()
        with self.assertRaises(BusError):
            await candidate.claim()

    async def test_claims_may_overlap(self) -> None:
        (_, one), (_, two) = await self.leader(), await self.leader()
        await one.claim()
        claims = [Deferred.fromCoroutine(each.claim()) for _ in range(50) for each in (one, two)]
        self.assertEqual(await gatherResults(claims), [True, False] * 50)

    async def test_when_the_connection_of_the_leader_ends_one_of_the_others_leads(self) -> None:
        (node, one), (_, two), (_, three) = await self.leader(), await self.leader(), await self.leader()
        for each in (one, two, three):
            await each.claim()
        node.bus.connection.abort(ConnectionAbortedError("cut"))
        await self.until_leading(two, three)
        await node.connected(2)
        self.assertFalse(await one.claim())

    async def until_leading(self, *leaders: BrokerLeader) -> None:
        """Until one of them leads; never two."""
        began = reactor.seconds()
        while sum([await each.claim() for each in leaders]) != 1:
            self.assertLess(sum(each.leading for each in leaders), 2)
            self.assertLess(reactor.seconds() - began, 20)

    async def test_a_leader_that_was_passed_over_loses_its_connection_with_the_lead(self) -> None:
        """Another consumer is active though the connection is open: as after a partition of the broker."""
        (node, one), (_, two) = await self.leader(), await self.leader()
        await one.claim()
        await two.claim()
        connection = node.bus.connection
        await deferToThread(self.delete, self.names.election)
        while not await self.claim(two):  # It is the first to consume the new queue.
            self.assertIs(node.bus.connection, connection)
        with capture_logs() as logs:
            self.assertFalse(await one.claim())
        self.assertEqual([event["led"] for event in logs if event["event"] == "leader.disconnects"], [True])
        await connection.lost
        self.assertIn("another fallback.py leads", node.bus.state().reason)
        await node.connected(2)
        self.assertFalse(await one.claim())

    async def claim(self, candidate: BrokerLeader) -> bool:
        """False also if the broker has not yet said that the queue is gone."""
        try:
            return await candidate.claim()
        except BusError:
            return False

    def delete(self, queue: str) -> None:
        with queue_reader.channel(self.address) as broker:
            broker.queue_delete(queue)

    async def test_a_broker_that_does_not_answer_makes_nobody_the_leader(self) -> None:
        self.patch(leader, "CLAIM_SECONDS", 0.5)
        network = Network(self.address.host, self.address.port)
        self.addCleanup(network.close)
        node = Node(replace(self.address, host=network.address[0], port=network.address[1]), self.exchange)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        one = BrokerLeader(reactor, node.bus, self.names)
        self.assertTrue(await one.claim())
        connection = node.bus.connection
        network.part()
        with self.assertRaisesRegex(BusError, "name a leader"):
            await one.claim()
        self.assertFalse(one.leading)
        await connection.lost
        network.heal()

    async def test_a_standby_knows_from_the_signs_that_somebody_leads(self) -> None:
        (_, one), (_, two) = await self.leader(), await self.leader()
        await one.claim()
        await two.claim()
        before = two.leaderless
        await deferLater(reactor, leader.HEARTBEAT_SECONDS)  # Two heart-beats are not sent sooner.
        await one.claim()
        await until(lambda: two.leaderless < before, "a heart-beat came")
        self.assertLess(one.leaderless, 1)

    async def test_signs_of_another_cluster_do_not_count(self) -> None:
        (_, one), (_, two) = await self.leader(), await self.leader()
        two._names = replace(self.names, lock=f"{self.lock}-other", work="other")
        (_, three) = await self.leader()
        self.assertTrue(await one.claim())
        self.assertTrue(await two.claim())
        self.assertFalse(await three.claim())
        await until(lambda: three.leaderless > 1, "it heard nothing of its own leader, which does not claim")
        for _ in range(5):
            await deferLater(reactor, leader.HEARTBEAT_SECONDS)
            await two.claim()
        self.assertGreater(three.leaderless, 2)

    async def test_a_node_by_itself_leads(self) -> None:
        self.assertTrue(Alone().leading)
        self.assertTrue(await Alone().claim())


class BesideAnEarlierVersion(unittest.TestCase):
    """Its leader has the lock, and consumes the work queue."""

    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange = f"fanout-{uuid4().hex}"
        self.names = LeaderNames(f"lock-{uuid4().hex}", f"work-{uuid4().hex}", f"heartbeats-{uuid4().hex}")
        self.earlier = await self.node()
        self.leader = BrokerLeader(reactor, (await self.node()).bus, self.names)

    async def node(self) -> Node:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node

    async def lead(self) -> bool:
        """What a leader of an earlier version does."""
        return await take_lock(self.earlier.bus.connection.publishing, self.names.lock)

    async def work(self) -> AmqpChannel:
        channel = await AmqpChannel.open(self.earlier.bus.connection.hearing)
        await channel.ask("queue_declare", queue=self.names.work, durable=True)
        await channel.ask("basic_consume", queue=self.names.work, on_message_callback=lambda *_: None)
        return channel

    async def test_a_leader_of_an_earlier_version_is_let_be(self) -> None:
        self.patch(leader, "REMNANT_SECONDS", 0.0)
        await self.lead()
        await self.work()
        with capture_logs() as logs:
            for _ in range(3):
                self.assertFalse(await self.leader.claim())
        self.assertEqual([event["reason"] for event in logs], ["a fallback.py of an earlier version leads"])
        self.assertLess(self.leader.leaderless, 1)

    async def test_when_it_ends_the_elected_one_leads(self) -> None:
        await self.lead()
        await self.work()
        self.assertFalse(await self.leader.claim())
        self.earlier.bus.connection.abort(ConnectionAbortedError("killed"))
        began = reactor.seconds()
        while not await self.leader.claim():
            self.assertLess(reactor.seconds() - began, 10)
        await self.earlier.connected(2)
        self.assertFalse(await self.lead())

    async def test_a_leader_keeps_earlier_versions_out(self) -> None:
        self.assertTrue(await self.leader.claim())
        self.assertFalse(await self.lead())
        await self.work()  # It would be none of ours.
        self.assertTrue(await self.leader.claim())

    async def test_a_lock_left_behind_is_found_out_after_a_while(self) -> None:
        """As the Khepri rule leaves it: locked by a connection that is gone with its broker node."""
        self.patch(leader, "REMNANT_SECONDS", 1.0)
        await self.lead()
        began = reactor.seconds()
        while not await self.leader.claim():
            self.assertLess(reactor.seconds() - began, 10)
        self.assertGreaterEqual(reactor.seconds() - began, 1)
        self.assertTrue(await self.leader.claim())
        with self.subTest("a leader of an earlier version that comes nevertheless is let be"):
            await self.work()
            await self.work()  # One of the two stands for our own consumer.
            self.assertFalse(await self.leader.claim())
