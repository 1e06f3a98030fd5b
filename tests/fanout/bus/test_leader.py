"""Who leads, by the word of a real broker."""

from __future__ import annotations

from uuid import uuid4

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.bus.leader import Alone, BrokerLeader, take_lock
from tests import services
from tests.fanout.bus.node import Node

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

    async def leader(self) -> tuple[Node, BrokerLeader]:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)
        node.start()
        await node.connected()
        return node, BrokerLeader(node.bus, self.lock)

    async def test_one_leads_and_both_say_so_once(self) -> None:
        (_, one), (_, two) = await self.leader(), await self.leader()
        with capture_logs() as logs:
            for _ in range(3):
                self.assertTrue(await one.claim())
                self.assertFalse(await two.claim())
        self.assertEqual((one.leading, two.leading), (True, False))
        self.assertEqual([event["event"] for event in logs], ["leader.leading", "leader.standing_by"])

    async def test_without_its_connection_nobody_leads_until_it_has_asked_again(self) -> None:
        node, leader = await self.leader()
        await leader.claim()
        connection = node.bus.connection
        connection.abort(ConnectionAbortedError("cut"))
        await connection.lost
        self.assertFalse(leader.leading)
        await node.connected(2)
        self.assertFalse(leader.leading)
        self.assertTrue(await leader.claim())
        self.assertTrue(leader.leading)

    async def test_without_a_broker_nobody_can_tell(self) -> None:
        node, leader = await self.leader()
        await node.bus.stop()
        with self.assertRaises(BusError):
            await leader.claim()

    async def test_a_node_by_itself_leads(self) -> None:
        self.assertTrue(Alone().leading)
        self.assertTrue(await Alone().claim())
