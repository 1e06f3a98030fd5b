"""Nodes restart, or are cut off, also together with memcached and the broker: the last slides are there."""

from __future__ import annotations

import time
import unittest
from typing import ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.admin_case import admin_port, until
from tests.acceptance.cluster import Cluster
from tests.acceptance.cluster import node as cluster_node
from tests.network import Network
from tests.processes import Server
from tests.radio import Radio
from tests.web import ask

TOPICS = tuple(f"/topic/id/tests._ebu.nowhere/topic1/{kind}" for kind in ("image", "text"))
SECONDS = 20.0
"""From the end of a fault until a node is ready: retries come at most 1 s apart, and the machine has other work."""
FLAGS_OFF = "quorum_queue"
"""The feature flags that are on: not stream_queue."""


class _Case(unittest.TestCase):
    """A broker and a memcached of our own for a class: tests restart them."""

    broker: ClassVar[services.RabbitMQ]
    memcached: ClassVar[services.Memcached]
    constants: ClassVar[dict[str, object]] = {"fanout.bus.stream.SILENCE_SECONDS": 30.0}
    """A machine with much other work needs long until the stream has a leader again."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker, cls.memcached = services.RabbitMQ(), services.Memcached()
        cls.addClassCleanup(cls.broker.close)
        cls.addClassCleanup(cls.memcached.close)
        cls.prepare()
        cls.broker.start()
        cls.memcached.start()

    @classmethod
    def prepare(cls) -> None:
        """Before the broker is started for the first time."""

    def setUp(self) -> None:
        self.cluster = Cluster(self.broker.address)
        for number in range(2):
            settings = {"MEMCACHED_HOST": self.memcached.address, **self.constants, **admin_port()}
            self.cluster.nodes[number] = cluster_node(self.broker.address, self.cluster.exchange, **settings)
        self.cluster.__enter__()
        self.addCleanup(self.cluster.close)

    def radio(self, node: Server, *topics: str) -> Radio:
        radio = Radio.connect(node.address)
        self.addCleanup(radio.close)
        for topic in topics:
            radio.subscribe(topic)
        return radio

    def publish(self, node: Server, topic: str, body: bytes) -> None:
        station = Radio.connect(node.address, "1.test", "test", version="1.2")
        station.publish(topic, body)
        station.close()

    def wait_until_ready(self) -> None:
        for node in self.cluster.nodes:
            until(lambda node=node: ask(node.admin, "/readyz").status == 200)


class TestAllTogether(_Case):
    def restart(self, *, broker: bool) -> None:
        """Publish older and newer values, end all, start all, and see what radios are shown."""
        for number in range(3):
            for topic in TOPICS:
                self.publish(self.cluster.nodes[number % 2], topic, f"{topic} {number}".encode())
        for node in self.cluster.nodes:
            node.kill()
        self.memcached.restart()
        if broker:
            self.broker.restart()
        for node in self.cluster.nodes:
            node.start()
        self.wait_until_ready()
        for node in self.cluster.nodes:
            radio = self.radio(node, *TOPICS)
            self.assertEqual([radio.expect("MESSAGE").body for _ in TOPICS], [f"{each} 2".encode() for each in TOPICS])
            self.assertEqual(radio.so_far(), [])

    def test_the_last_slides_come_back_when_memcached_and_all_nodes_restart(self) -> None:
        self.restart(broker=False)

    def test_and_when_the_broker_restarts_as_well(self) -> None:
        self.restart(broker=True)


class TestReadyMeansCaughtUp(_Case):
    def test_a_node_that_comes_back_late_is_ready_when_its_radios_have_all_that_it_missed(self) -> None:
        early, late = self.cluster.nodes
        radio = self.radio(late, TOPICS[0])
        self.publish(early, TOPICS[0], b"SHOW heard")
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW heard")
        late.pause()
        self.broker.kill()
        early.wait_for("bus.lost")
        self.broker.start()
        early.wait_for("bus.caught_up", count=2)
        missed = [f"SHOW {number}".encode() for number in range(20)]
        for body in missed:
            self.publish(early, TOPICS[0], body)
        late.resume()
        late.wait_for("bus.caught_up", count=2)
        until(lambda: ask(late.admin, "/readyz").status == 200)
        newcomer = self.radio(late, TOPICS[0])
        self.assertEqual(newcomer.expect("MESSAGE").body, missed[-1])
        self.assertEqual([radio.expect("MESSAGE").body for _ in missed], missed)
        self.assertEqual(radio.so_far(), [])


class TestACutNode(unittest.TestCase):
    """One node cannot reach the broker for a while, and there is no memcached."""

    def setUp(self) -> None:
        broker = services.rabbitmq()
        self.network = Network(broker.host, broker.port)
        self.addCleanup(self.network.close)
        host, port = self.network.address
        exchange = f"radiovis.{uuid4()}"
        self.other = cluster_node(broker, exchange)
        quick: dict[str, object] = {"RABBITMQ_HEARTBEAT": 1, "HTTP_PORT": services.free_port(), **admin_port()}
        self.cut = cluster_node(services.AmqpAddress(host, port), exchange, **quick)
        for node in (self.other, self.cut):
            self.addCleanup(node.close)
            node.start()
            node.wait_for("bus.caught_up")

    def radio(self, node: Server, *login: str) -> Radio:
        radio = Radio.connect(node.address, *login, version="1.2")
        self.addCleanup(radio.close)
        return radio

    def test_at_the_first_200_of_readyz_everything_shows_the_newest_value(self) -> None:
        topic = TOPICS[0]
        listener, station = self.radio(self.cut), self.radio(self.other, "1.test", "test")
        listener.subscribe(topic)
        station.publish(topic, b"SHOW old")
        self.assertEqual(listener.expect("MESSAGE").body, b"SHOW old")
        self.network.part()
        missed = [f"SHOW {number}".encode() for number in range(30)]
        for body in missed:
            station.publish(topic, body)
        self.cut.wait_for("bus.lost")
        self.assertEqual(ask(self.cut.admin, "/readyz").status, 503)
        newcomer = self.radio(self.cut)
        self.network.heal()
        healed = time.monotonic()
        until(lambda: ask(self.cut.admin, "/readyz").status == 200)
        shown = ask(self.cut.http, f"/channels{topic}").body
        newcomer.subscribe(topic)
        self.assertEqual((shown, newcomer.expect("MESSAGE").body), (missed[-1], missed[-1]))
        self.assertEqual([listener.expect("MESSAGE").body for _ in missed], missed)
        self.assertLess(time.monotonic() - healed, SECONDS)
        station.publish(topic, b"SHOW after")
        for radio in (listener, newcomer):
            self.assertEqual(radio.expect("MESSAGE").body, b"SHOW after")
            self.assertEqual(radio.so_far(), [])


class TestAStreamThatStaysDown(_Case):
    constants: ClassVar[dict[str, object]] = {}

    def test_a_node_is_ready_after_seconds_and_publishes_are_confirmed(self) -> None:
        early, late = self.cluster.nodes
        self.wait_until_ready()
        late.pause()
        self.broker.kill()
        self.broker.forget_streams()
        early.wait_for("bus.lost")
        self.broker.start()
        early.wait_for("bus.caught_up", count=2)
        self.publish(early, TOPICS[0], b"SHOW missed")
        late.resume()
        self.wait_until_ready()
        radio = self.radio(late, TOPICS[0])
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW missed")
        self.publish(early, TOPICS[0], b"SHOW after")
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW after")
        for node in self.cluster.nodes:
            self.assertIn("is down or inaccessible", node.events("stream.not_read")[-1]["reason"])


class TestABrokerWithoutStreams(_Case):
    @classmethod
    def prepare(cls) -> None:
        cls.broker._environment["RABBITMQ_FEATURE_FLAGS"] = FLAGS_OFF

    def test_is_told_once_and_a_node_catches_up_from_memcached(self) -> None:
        early, late = self.cluster.nodes
        self.wait_until_ready()
        for node in self.cluster.nodes:
            self.assertEqual(len(node.events("stream.unavailable")), 1)
        radio = self.radio(late, TOPICS[0])
        late.pause()
        self.broker.kill()
        early.wait_for("bus.lost", count=2)  # The first one was the refusal.
        self.broker.start()
        self.publish(early, TOPICS[0], b"SHOW missed")
        late.resume()
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW missed")
        self.wait_until_ready()
        self.assertEqual(radio.so_far(), [])
        self.assertEqual([len(node.events("stream.unavailable")) for node in self.cluster.nodes], [1, 1])
