"""The bus over a RabbitMQ that is killed, frozen, full or not there. One broker of our own for the whole file."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.broker_settings import RetryPolicy
from fanout.bus.interface import BusError
from tests import services
from tests.fanout.bus.node import QUICK, Node, device_publishes, until
from tests.fanout.bus.outage import Outage, close_broker, message, rabbitmqctl


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


class TheBrokerIsFrozen(Outage, unittest.TestCase):
    async def test_a_connect_that_hangs_has_an_end(self) -> None:
        self.rabbitmq.pause()
        try:
            node = self.node(RetryPolicy(connect=0.3, first_retry=0.05, last_retry=0.1))
            node.start()
            await until(lambda: "no answer within 0.3 s" in node.bus.state().reason, "a reason")
        finally:
            self.rabbitmq.resume()
        await node.connected()

    async def test_a_silent_broker_is_given_up_and_stop_does_not_hang(self) -> None:
        node = await self.running(RetryPolicy(connect=0.5, first_retry=0.05, last_retry=0.1, stop=0.2), heartbeat=1)
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
        node = await self.running(RetryPolicy(stop=0.2))
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
        node = await self.running(RetryPolicy(max_age=2.0))
        self.rabbitmq.pause()
        try:
            with self.assertRaisesRegex(BusError, "did not confirm it within 2 s"):
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
    def unreachable(self, retry_policy: RetryPolicy) -> Node:
        """A node whose broker is not there at all."""
        nobody = services.AmqpAddress(services.HOST, services.free_port())
        node = Node(nobody, self.exchange, retry_policy)
        self.addCleanup(node.bus.stop)
        node.start()
        return node

    async def test_a_full_outbox_refuses_at_once(self) -> None:
        node = self.unreachable(RetryPolicy(messages=3))
        kept = [node.bus.publish(message(b"%d" % number)) for number in range(3)]
        self.failureResultOf(node.bus.publish(message(b"x")), BusError)
        for publish in kept:
            self.assertNoResult(publish)
        await node.bus.stop()
        for publish in kept:
            self.failureResultOf(publish, BusError)

    async def test_waiting_publishes_grow_too_old(self) -> None:
        node = self.unreachable(RetryPolicy(max_age=0.2))
        with self.assertRaisesRegex(BusError, "refused"):
            await node.bus.publish(message(b"1"))
        self.assertEqual(node.bus.state().waiting, 0)

    async def test_retries_go_on_slower_and_slower(self) -> None:
        node = self.unreachable(QUICK)
        delays = [node.bus._client.delay(failures, refused=False) for failures in range(1, 20)]
        self.assertLessEqual(delays[0], QUICK.first_retry)
        self.assertGreater(delays[-1], QUICK.first_retry)
        self.assertLessEqual(max(delays), QUICK.last_retry)
        await until(lambda: "refused" in node.bus.state().reason, "a reason")
        self.assertFalse(node.bus.state().connected)


def teardown_module() -> None:
    close_broker()
