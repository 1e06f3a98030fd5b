"""From a node to the watchdog by way of the broker's queue; and what a publisher is told when that does not work."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule.broker_store import BrokerIntake, BrokerSlideStore
from tests import services
from tests.fanout.bus.node import Node, until
from tests.radiovis.schedule.stores import message


class TestBrokerStore(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.exchange, self.queue = f"fanout-{uuid4().hex}", f"held-{uuid4().hex}"
        self.node, self.watchdog = self.make_node(), self.make_node()
        for each in (self.node, self.watchdog):
            each.start()
            await each.connected()
        self.intake = BrokerIntake(reactor, self.node.bus, self.queue)
        self.store = BrokerSlideStore(reactor, self.watchdog.bus, self.queue)
        self.taken: list[Message] = []

    def make_node(self) -> Node:
        node = Node(self.address, self.exchange)
        self.addCleanup(node.bus.stop)
        return node

    def take(self, each: Message, ticket: int) -> None:
        self.taken.append(each)
        self.store.done(ticket)

    async def ensure(self, *, room: bool = True) -> None:
        await self.store.ensure(self.take, lambda: None, room=room)

    async def test_from_one_to_the_other_as_it_was_and_in_order(self) -> None:
        await self.ensure()
        for name in ("a", "b"):
            await self.intake.hold(message(name, "2027-01-15T12:00:00Z", when=1_700_000_000))
        await until(lambda: len(self.taken) == 2, "both")
        first, _ = self.taken
        self.assertEqual((first.message_id, first.body, first.when), ("a", b"SHOW http://x/1.png", 1_700_000_000))
        self.assertEqual(first.headers, message("a", "2027-01-15T12:00:00Z").headers)

    async def test_where_nobody_reads_nothing_is_held_and_there_is_nothing_to_cancel(self) -> None:
        with self.assertRaisesRegex(BusError, "no fallback.py runs with SCHEDULE = server"):
            await self.intake.hold(message("a"))
        await self.intake.hold(message("a", body=b""))

    async def test_a_cancellation_needs_no_room(self) -> None:
        await self.ensure(room=False)
        await self.assertFailure(self.intake.hold(message("a")), BusError)
        await self.intake.hold(message("a", body=b""))
        await until(lambda: [each.body for each in self.taken] == [b""], "the cancellation")

    async def test_without_a_broker_the_publisher_is_told_at_once_and_later_it_works_again(self) -> None:
        await self.ensure()
        await self.intake.hold(message("a"))
        self.node.bus.connection.abort(ConnectionAbortedError("killed"))
        await until(lambda: self.node.bus.connection is None, "it is gone")
        await self.assertFailure(self.intake.hold(message("b")), BusError)
        await self.node.connected()
        await until(lambda: self.node.bus.connection is not None, "it is back")
        await self.intake.hold(message("c"))
        await until(lambda: [each.message_id for each in self.taken] == ["a", "c"], "a and c")
