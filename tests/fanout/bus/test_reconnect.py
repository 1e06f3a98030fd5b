"""A broker of several hosts: they are tried in turn, and the log names them."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any
from uuid import uuid4

from pika.spec import Queue
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.bus.amqp_connection import broker_endpoint
from fanout.bus.broker_settings import Broker, BrokerHosts, BrokerSettings, RetryPolicy, broker
from fanout.bus.rabbitmq import RabbitMQ
from tests import services
from tests.fanout.bus.amqp_recorder import AmqpRecorder
from tests.fanout.bus.node import until

QUICK = RetryPolicy(connect=2.0, first_retry=0.05, last_retry=0.2)


class SeveralHosts(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:
        self.broker = await deferToThread(services.rabbitmq)
        self.exchange = f"fanout-{uuid4().hex}"
        self.nobody = f"{services.HOST}:{services.free_port()}"

    def there(self, **recorder: Any) -> tuple[AmqpRecorder, str]:
        """A way to the broker, and its name as a host."""
        way = AmqpRecorder(self.broker, **recorder)
        self.addCleanup(way.close)
        return way, f"{way.address.host}:{way.address.port}"

    async def connected(self, *hosts: str) -> tuple[RabbitMQ, list[Any]]:
        """A bus that is connected to one of them, and what it logged."""
        settings = BrokerSettings(RABBITMQ_HOST=", ".join(hosts), RABBITMQ_EXCHANGE=self.exchange)
        bus = RabbitMQ(reactor, broker_endpoint(reactor, settings), broker(settings, "tests"), QUICK)
        self.addCleanup(bus.stop)
        with capture_logs() as logs:
            bus.start(lambda _message: None, lambda: None)
            await until(lambda: bus.state().connected, "connected to the broker", 30)
        return bus, logs

    def hosts(self, logs: list[Any]) -> list[str]:
        return [event["host"] for event in logs if event["event"] == "broker.host"]

    async def test_the_first_that_can_be_reached_is_used_and_the_log_names_it(self) -> None:
        _, one = self.there()
        _, two = self.there()
        _, logs = await self.connected(self.nobody, one, two)
        self.assertEqual(self.hosts(logs), [one])
        (lost,) = (event["reason"] for event in logs if event["event"] == "bus.lost")
        self.assertIn(self.nobody, lost)

    async def test_a_host_that_answers_no_declaration_is_left_for_the_next(self) -> None:
        """As one does that is cut off from the others: it takes logins, and no declaration."""
        cut_off, one = self.there(deaf_to=[Queue.Declare])
        _, two = self.there()
        _, logs = await self.connected(one, two)
        self.assertEqual(len(cut_off.called(Queue.Declare)), 1)
        self.assertEqual(self.hosts(logs), [two])
        self.assertIn(f"{one}: no answer within 2 s", [event.get("reason") for event in logs])

    async def test_a_host_that_says_nothing_is_left_for_the_next(self) -> None:
        with socket.create_server((services.HOST, 0)) as silent:
            _, two = self.there()
            _, logs = await self.connected(f"{services.HOST}:{silent.getsockname()[1]}", two)
        self.assertEqual(self.hosts(logs), [two])

    async def test_when_its_host_is_gone_it_goes_on_at_the_next_and_comes_back_to_the_first(self) -> None:
        first, one = self.there()
        second, two = self.there()
        bus, _ = await self.connected(one, two)
        with capture_logs() as logs:
            first.close()
            await until(lambda: bus.counters.connects == 2, "connected to the second", 30)
        self.assertEqual(self.hosts(logs), [two])
        with capture_logs() as logs:
            second.close()
            await until(lambda: "refused" in bus.state().reason, "both are gone", 30)
        self.assertEqual(self.hosts(logs), [])
        reasons = [event["reason"] for event in logs if event["event"] == "bus.lost"]
        self.assertTrue(any(one in reason for reason in reasons), reasons)

    async def test_one_host_is_no_choice_that_is_logged(self) -> None:
        _, one = self.there()
        _, logs = await self.connected(one)
        self.assertEqual(self.hosts(logs), [])

    async def test_one_host_that_cannot_be_reached_is_named_with_its_port(self) -> None:
        bus, lost = await self.attempts(2)
        self.assertIn(f"{self.nobody}: ", bus.state().reason)
        self.assertIn(f"{self.nobody}: ", lost[0]["reason"])

    async def test_the_same_failure_is_one_line_however_often_it_is_tried(self) -> None:
        _, lost = await self.attempts(10)
        self.assertEqual([event["held_back"] for event in lost], [0])

    async def test_a_failure_that_goes_on_is_logged_again_with_a_count(self) -> None:
        clock = Clock()
        bus = RabbitMQ(clock, BrokerHosts((("mq1:5672", None),)), Broker())
        with capture_logs() as logs:
            for _ in range(30):
                bus.lost("mq1:5672: nothing listens there", 3.0)
                clock.advance(3)
        lost = [event["held_back"] for event in logs if event["event"] == "bus.lost"]
        self.assertEqual(lost, [0, 19])

    async def attempts(self, number: int) -> tuple[RabbitMQ, list[Any]]:
        """A bus whose only host cannot be reached, after so many attempts, and what it logged about them."""
        settings = BrokerSettings(RABBITMQ_HOST=self.nobody, RABBITMQ_EXCHANGE=self.exchange)
        quick = replace(QUICK, first_retry=0.01, last_retry=0.01)
        bus = RabbitMQ(reactor, broker_endpoint(reactor, settings), broker(settings, "tests"), quick)
        self.addCleanup(bus.stop)
        reasons: list[str] = []
        lost = bus.lost

        def count(reason: str, retry_in: float) -> None:
            reasons.append(reason)
            lost(reason, retry_in)

        bus.lost = count  # type: ignore[method-assign]
        with capture_logs() as logs:
            bus.start(lambda _message: None, lambda: None)
            await until(lambda: len(reasons) >= number, f"{number} attempts", 30)
        return bus, [event for event in logs if event["event"] == "bus.lost"]
