"""Publishing for whoever reads a durable queue, over a real RabbitMQ that is well, away, frozen or full."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from pika.spec import BasicProperties
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.broker_settings import Broker, RetryPolicy
from fanout.bus.publisher import MAX_SENT, Publisher
from fanout.bus.unconfirmed_publishes import OVERHEAD
from tests import services
from tests.fanout.bus.node import until
from tests.fanout.bus.queue_reader import channel, take_until

QUICK: dict[str, Any] = {"connect": 5.0, "first_retry": 0.05, "last_retry": 0.3, "stop": 2.0}


class _Base:
    """Mixed into the cases below. Not a TestCase itself: it would run as an empty test."""

    timeout = 150

    def publisher(self: Any, address: Any = None, durable: bool = False, **retry_policy: Any) -> Publisher:
        address = address or self.address
        endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
        broker = Broker(exchange=self.exchange, durable=durable)
        publisher = Publisher(reactor, endpoint, broker, self.queue, RetryPolicy(**{**QUICK, **retry_policy}))
        self.addCleanup(publisher.stop)
        return publisher

    async def running(self: Any, **how: Any) -> Publisher:
        publisher: Publisher = self.publisher(**how)
        publisher.start()
        await until(lambda: publisher.state().connected, "connected")
        return publisher

    def name(self: Any) -> None:
        self.exchange, self.queue = f"events-{uuid4().hex}", f"events-{uuid4().hex}"

    def publish(self, publisher: Publisher, *numbers: int) -> None:
        for number in numbers:
            publisher.publish(BasicProperties(headers={"when": "1"}), b"%d" % number)

    def bodies_until(self: Any, last: int) -> Deferred[list[int]]:
        """The numbers that are in the queue, up to the last one."""
        wanted = b"%d" % last
        taken = deferToThread(take_until, self.address, self.queue, lambda came: came[-1][1] == wanted)
        return taken.addCallback(lambda came: [int(body) for _, body in came])


class TheBrokerIsWell(_Base, unittest.TestCase):
    async def setUp(self) -> None:
        self.address = await deferToThread(services.rabbitmq)
        self.name()

    async def test_what_is_published_is_in_the_queue_as_it_was_given(self) -> None:
        publisher = await self.running()
        publisher.publish(BasicProperties(headers={"when": "1795294598"}), b"{}")
        [(properties, body)] = await deferToThread(take_until, self.address, self.queue, lambda came: True)
        self.assertEqual((properties, body), (BasicProperties(headers={"when": "1795294598"}), b"{}"))

    async def test_exchange_and_queue_are_made_as_the_original_makes_them(self) -> None:
        await self.running()
        await deferToThread(self.declare_as_the_original)

    def declare_as_the_original(self) -> None:
        """The broker refuses a second declaration that differs from the first."""
        with channel(self.address) as original:
            original.exchange_declare(self.exchange, "fanout", durable=False)
            original.queue_declare(self.queue, durable=True)

    async def test_what_an_operator_made_is_used_as_it_is(self) -> None:
        await deferToThread(self.declare_otherwise)
        publisher = await self.running()
        self.publish(publisher, 1)
        self.assertEqual(await self.bodies_until(1), [1])

    def declare_otherwise(self) -> None:
        with channel(self.address) as operator:
            operator.exchange_declare(self.exchange, "fanout", durable=True)
            operator.queue_declare(self.queue, durable=True, arguments={"x-max-length": 1000})

    async def test_thousands_in_order(self) -> None:
        publisher = await self.running()
        self.publish(publisher, *range(5000))
        self.assertEqual(await self.bodies_until(4999), list(range(5000)))
        await until(lambda: publisher.counters.confirmed == 5000, "all confirmed")
        self.assertEqual((publisher.counters.dropped, publisher.state().waiting), (0, 0))

    async def test_stop_sends_what_waits(self) -> None:
        publisher = await self.running()
        self.publish(publisher, *range(2000))
        await publisher.stop()
        self.assertEqual(publisher.counters.confirmed, 2000)
        self.assertEqual(await self.bodies_until(1999), list(range(2000)))

    async def test_what_comes_after_the_stop_is_dropped(self) -> None:
        publisher = await self.running()
        await publisher.stop()
        self.publish(publisher, 1)
        self.assertEqual((publisher.counters.dropped, publisher.state().waiting), (1, 0))

    async def test_a_full_queue_that_refuses_gets_all_later_and_in_order(self) -> None:
        await deferToThread(self.declare_small)
        publisher = await self.running()
        with capture_logs() as logs:
            self.publish(publisher, 0, 1, 2)
            await until(lambda: any("basic.nack" in line.get("reason", "") for line in logs), "a refusal")
            self.assertLess(publisher.counters.confirmed, 3)
            came = await self.bodies_until(2)
        self.assertEqual(sorted(set(came)), [0, 1, 2])
        self.assertEqual(came[-1], 2)
        await until(lambda: not publisher.state().waiting, "all confirmed")

    def declare_small(self) -> None:
        with channel(self.address) as operator:
            operator.queue_declare(
                self.queue, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
            )


class TheBrokerIsAway(_Base, unittest.TestCase):
    broker: ClassVar[services.RabbitMQ | None] = None

    async def setUp(self) -> None:
        if TheBrokerIsAway.broker is None:
            TheBrokerIsAway.broker = services.RabbitMQ()
            await deferToThread(TheBrokerIsAway.broker.start)
        self.rabbitmq = TheBrokerIsAway.broker
        self.address = self.rabbitmq.address
        self.name()

    async def test_what_is_published_before_the_broker_is_there_arrives_without_the_oldest(self) -> None:
        await deferToThread(self.rabbitmq.kill)
        publisher = self.publisher(messages=100)
        publisher.start()
        self.publish(publisher, *range(130))
        self.assertEqual((publisher.counters.dropped, publisher.state().waiting), (30, 100))
        self.assertFalse(publisher.state().connected)
        await deferToThread(self.rabbitmq.start)
        await until(lambda: publisher.state().connected, "connected")
        self.assertEqual(await self.bodies_until(129), list(range(30, 130)))

    async def test_killed_in_the_middle(self) -> None:
        publisher = await self.running()
        self.publish(publisher, 0)
        self.assertEqual(await self.bodies_until(0), [0])
        await deferToThread(self.rabbitmq.kill)
        self.publish(publisher, *range(1, 300))
        await until(lambda: not publisher.state().connected, "disconnected")
        self.publish(publisher, *range(300, 600))
        await deferToThread(self.rabbitmq.start)
        await until(lambda: publisher.state().connected, "connected again, so the queue exists")
        self.assertEqual(await self.bodies_until(599), list(range(1, 600)))
        self.assertEqual(publisher.counters.dropped, 0)

    async def test_a_frozen_broker_costs_a_bounded_number(self) -> None:
        publisher = await self.running(messages=2 * MAX_SENT)
        self.rabbitmq.pause()
        try:
            connection = publisher._client.connection
            assert connection is not None
            sent: list[bytes] = []
            publish = connection.publish
            connection.publish = lambda properties, body: (sent.append(body), publish(properties, body))  # type: ignore[method-assign]
            for first in range(0, 10 * MAX_SENT, MAX_SENT):
                self.publish(publisher, *range(first, first + MAX_SENT))
                turn: Deferred[None] = Deferred()
                reactor.callLater(0, reactor.callLater, 0, turn.callback, None)
                await turn
            self.assertEqual(len(sent), MAX_SENT)
            self.assertEqual(publisher.state().waiting, 2 * MAX_SENT)
            self.assertEqual(publisher.counters.dropped, 8 * MAX_SENT)
        finally:
            self.rabbitmq.resume()
        kept = [*range(MAX_SENT), *range(9 * MAX_SENT, 10 * MAX_SENT)]
        self.assertEqual(await self.bodies_until(10 * MAX_SENT - 1), kept)

    async def test_stop_does_not_wait_for_a_frozen_broker(self) -> None:
        publisher = await self.running(stop=0.2)
        self.rabbitmq.pause()
        try:
            self.publish(publisher, 1)
            began = reactor.seconds()
            await publisher.stop()
            self.assertLess(reactor.seconds() - began, 5)
        finally:
            self.rabbitmq.resume()


class NobodyIsThere(_Base, unittest.TestCase):
    def setUp(self) -> None:
        self.address = services.AmqpAddress(services.HOST, services.free_port())
        self.name()

    async def test_octets_are_bounded_too(self) -> None:
        publisher = self.publisher(octets=10 * (OVERHEAD + 1000))
        for _ in range(50):
            publisher.publish(BasicProperties(), bytes(1000))
        self.assertEqual((publisher.state().waiting, publisher.counters.dropped), (10, 40))

    async def test_one_that_is_too_large_for_the_buffer_is_dropped(self) -> None:
        publisher = self.publisher(octets=1000)
        publisher.publish(BasicProperties(), bytes(2000))
        self.assertEqual((publisher.state().waiting, publisher.counters.dropped), (0, 1))

    async def test_many_vain_attempts_are_one_line_in_the_log(self) -> None:
        publisher = self.publisher(first_retry=0.001, last_retry=0.001)
        attempts: list[str] = []
        lost = publisher.lost

        def count(reason: str, retry_in: float) -> None:
            attempts.append(reason)
            lost(reason, retry_in)

        publisher.lost = count  # type: ignore[method-assign]
        with capture_logs() as logs:
            publisher.start()
            await until(lambda: len(attempts) >= 5, "five attempts")
        self.assertEqual([line["event"] for line in logs], ["publisher.lost"])

    async def test_it_says_why_and_stops_at_once(self) -> None:
        publisher = self.publisher()
        publisher.start()
        self.publish(publisher, 1)
        await until(lambda: "refused" in publisher.state().reason, "a reason")
        began = reactor.seconds()
        await publisher.stop()
        self.assertLess(reactor.seconds() - began, 1)
        self.assertEqual(publisher.state().reason, "stopped")
