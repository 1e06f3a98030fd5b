from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from fanout.bus.broker_settings import BrokerSettings
from fanout.bus.interface import BrokerBus, BusError, CountedBus, together
from fanout.bus.loopback import Loopback
from fanout.bus.rabbitmq import rabbitmq


class TestTogether(unittest.TestCase):
    def setUp(self) -> None:
        self.publishes: list[Deferred[None]] = [Deferred() for _ in range(3)]
        self.all = together(self.publishes)

    def test_all(self) -> None:
        for publish in self.publishes:
            self.assertNoResult(self.all)
            publish.callback(None)
        self.assertIsNone(self.successResultOf(self.all))

    def test_none(self) -> None:
        self.assertIsNone(self.successResultOf(together([])))

    def test_the_failure_is_that_of_the_first_that_fails(self) -> None:
        self.publishes[1].errback(BusError("full"))
        self.publishes[0].errback(BusError("later"))
        self.assertEqual(str(self.failureResultOf(self.all, BusError).value), "full")


class TestAbilities(unittest.TestCase):
    def test_rabbitmq_has_connections_and_counters(self) -> None:
        bus = rabbitmq(reactor, BrokerSettings(), "name")
        self.assertIsInstance(bus, BrokerBus)
        self.assertIsInstance(bus, CountedBus)

    def test_the_loopback_has_neither(self) -> None:
        self.assertNotIsInstance(Loopback(), BrokerBus)
        self.assertNotIsInstance(Loopback(), CountedBus)
