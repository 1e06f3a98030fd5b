"""Nodes, memcached and the broker end together, as in a power cut: new subscribers get the last messages at once."""

from __future__ import annotations

import contextlib
import itertools
import threading
import unittest
from typing import ClassVar

from tests import services
from tests.acceptance.admin_case import until
from tests.acceptance.cluster import Cluster
from tests.acceptance.cluster import node as cluster_node
from tests.acceptance.device import Device
from tests.acceptance.watched import Service, channel
from tests.message_socket import WebSocketRadio
from tests.processes import Address, Server
from tests.radio import Radio
from tests.web import ask, poll_path

STATION = "/topic/id/tests._ebu.nowhere/topic1/"
DEVICE = "/topic/id/tests._ebu.nowhere/topic2/"
KINDS = ("image", "text")
PATIENCE: dict[str, object] = {
    "fanout.bus.stream.SILENCE_SECONDS": 30.0,
    "radiovis.node.restore.RESTORE_SECONDS": 60.0,
}
"""A machine with much other work needs long until the stream has a leader again."""


class _Station(threading.Thread):
    """Publishes on some topics in turn until its node ends. :ivar confirmed: the last number that was, by topic."""

    def __init__(self, address: Address, topics: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.confirmed = dict.fromkeys(topics, 0)
        self._address = address

    def run(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self._publish()

    def _publish(self) -> None:
        with Radio.connect(self._address, "1.test", "test", version="1.2") as station:
            for number in itertools.count(1):
                for topic in self.confirmed:
                    station.publish(topic, str(number).encode())
                    self.confirmed[topic] = number


class TestEverythingRestarts(unittest.TestCase):
    """A broker and a memcached of our own, and two nodes for each test."""

    broker: ClassVar[services.RabbitMQ]
    memcached: ClassVar[services.Memcached]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker, cls.memcached = services.RabbitMQ(), services.Memcached()
        cls.addClassCleanup(cls.broker.close)
        cls.addClassCleanup(cls.memcached.close)
        cls.broker.start()
        cls.memcached.start()

    def setUp(self) -> None:
        self.cluster = Cluster(self.broker.address, nodes=0)
        self.addCleanup(self.cluster.close)
        self.nodes = self.cluster.nodes
        for _ in range(2):
            ports = {"HTTP_PORT": services.free_port()}
            settings = {"MEMCACHED_HOST": self.memcached.address, **PATIENCE, **ports}
            self.nodes.append(cluster_node(self.broker.address, self.cluster.exchange, **settings).start())
        for node in self.nodes:
            node.wait_for("bus.caught_up")

    def radio(self, node: Server, *topics: str, fast_reply: bool = True) -> Radio:
        radio = Radio.connect(node.address)
        self.addCleanup(radio.close)
        for topic in topics:
            radio.subscribe(topic, fast_reply=fast_reply)
        return radio

    def restart(self, *, broker: bool) -> None:
        """End all at once, and start all."""
        for node in self.nodes:
            node.kill()
        self.memcached.kill()
        if broker:
            self.broker.kill()
            self.broker.start()
        self.memcached.start()
        for node in self.nodes:
            node.start()

    def publish(self) -> dict[str, bytes]:
        """Three values on each topic, which every node has heard; the last ones."""
        topics = [prefix + kind for prefix in (STATION, DEVICE) for kind in KINDS]
        radios = [self.radio(node, *topics, fast_reply=False) for node in self.nodes]
        with Device(self.broker.address, self.cluster.exchange) as device:
            for number, kind in itertools.product(range(3), KINDS):
                with Radio.connect(self.nodes[number % 2].address, "1.test", "test", version="1.2") as station:
                    station.publish(STATION + kind, f"{STATION}{kind} {number}".encode())
                device.publish({"topic": DEVICE + kind}, f"{DEVICE}{kind} {number}".encode())
            for radio in radios:
                radio.frames(3 * len(topics))
        return {topic: f"{topic} 2".encode() for topic in topics}

    def assert_shown(self, wanted: dict[str, bytes]) -> None:
        """By each node, to clients that come as soon as it listens."""
        for node in self.nodes:
            unwilling = self.radio(node, *wanted, fast_reply=False)
            radio = self.radio(node, *wanted)
            shown = [radio.expect("MESSAGE") for _ in wanted]
            self.assertEqual({message.get("destination"): message.body for message in shown}, wanted)
            for topic, body in wanted.items():
                self.assertEqual(ask(node.http, f"/channels{topic}").body, body)
                self.assertEqual(ask(node.http, poll_path(topic)).json["body"], body.decode())
                self.assert_shown_over_a_websocket(node, topic, body)
            node.wait_for("bus.caught_up")
            self.assertEqual((radio.so_far(), unwilling.so_far()), ([], []))
        self.assertEqual(self.cluster.faults, [])

    def assert_shown_over_a_websocket(self, node: Server, topic: str, body: bytes) -> None:
        radio = WebSocketRadio(node.http)
        self.addCleanup(radio.close)
        radio.say("CONNECT", {})
        radio.expect("CONNECTED")
        radio.subscribe(topic)
        self.assertEqual(radio.expect("MESSAGE").body, body)

    def test_the_nodes_and_memcached(self) -> None:
        wanted = self.publish()
        self.restart(broker=False)
        self.assert_shown(wanted)

    def test_the_broker_as_well(self) -> None:
        wanted = self.publish()
        self.restart(broker=True)
        self.assert_shown(wanted)

    def test_while_stations_publish(self) -> None:
        for broker in (False, True):
            with self.subTest(broker=broker):
                self.publish_and_restart(broker=broker)

    def publish_and_restart(self, *, broker: bool) -> None:
        stations = [
            _Station(node.address, tuple(f"{STATION}{number}/{broker}/{kind}" for kind in KINDS))
            for number, node in enumerate(self.nodes)
        ]
        for station in stations:
            station.start()
        until(lambda: all(min(station.confirmed.values()) > 20 for station in stations), 120.0)
        self.restart(broker=broker)
        for station in stations:
            station.join()
        confirmed = {topic: number for station in stations for topic, number in station.confirmed.items()}
        for node, (topic, number) in itertools.product(self.nodes, confirmed.items()):
            self.assertGreaterEqual(int(self.radio(node, topic).expect("MESSAGE").body), number)
        self.assertEqual(self.cluster.faults, [])


class TestWatchdog(Service):
    """``fallback.py`` is started anew, too, and memcached has forgotten which topics were alive."""

    names: ClassVar[tuple[str, ...]] = ("alive",)
    quick: ClassVar[dict[str, object]] = {**Service.quick, "FB_FALLBACK_TIME": 300}

    def test_the_last_slides_stay(self) -> None:
        node, fallback = self.make_node(**PATIENCE), self.make_fallback()
        with self.station(node) as station:
            for kind in KINDS:
                station.publish(channel(1) + kind, f"{kind} of a station".encode())
        node.kill()
        self.memcached.restart()
        fallback.start().wait_for("leader.leading")
        fallback.wait_for("topics.listed")
        node.start()
        radio = self.radio(node)
        for kind in KINDS:
            radio.subscribe(channel(1) + kind)
        self.assertEqual({radio.expect("MESSAGE").body for _ in KINDS}, {b"text of a station", b"image of a station"})
        self.assertEqual((radio.so_far(), fallback.events("defaults.sent")), ([], []))
        fallback.terminate()
