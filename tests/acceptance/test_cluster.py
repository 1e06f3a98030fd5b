"""Two nodes on one RabbitMQ: what is published on one is heard on both."""

from __future__ import annotations

import unittest
from uuid import uuid4

from tests import services
from tests.acceptance.cluster import Cluster, node
from tests.acceptance.device import Device
from tests.radio import Radio, frame

TOPICS = ("/topic/id/tests._ebu.nowhere/topic1/text", "/topic/id/tests._ebu.nowhere/topic2/text")
PUBLISHES = 1_000


class TestTwoNodes(unittest.TestCase):
    cluster: Cluster

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = Cluster(services.rabbitmq()).__enter__()
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self) -> None:
        self.addCleanup(lambda: self.assertEqual(self.cluster.faults, []))
        self.settle()

    def settle(self) -> None:
        """Until both nodes have heard what other tests published: a receipt says that the broker has it, not they."""
        body = uuid4().hex.encode()
        radios = [self.radio(node, *TOPICS) for node in (0, 1)]
        for topic in TOPICS:
            self.station(0).publish(topic, body)
        for radio in radios:
            heard: list[str | None] = []
            while len(heard) < len(TOPICS):
                message = radio.expect("MESSAGE")
                heard += [message.get("destination")] if message.body == body else []
            radio.close()

    def radio(self, node: int, *topics: str, version: str | None = None) -> Radio:
        """A radio on one of the nodes that has seen the last slide of no topic."""
        radio = Radio.connect(self.cluster.nodes[node].address, version=version)
        self.addCleanup(radio.close)
        for topic in topics:
            radio.subscribe(topic, fast_reply=False)
        return radio

    def station(self, node: int, version: str | None = "1.2", login: str = "1.test") -> Radio:
        station = Radio.connect(self.cluster.nodes[node].address, login, "test", version=version)
        self.addCleanup(station.close)
        return station

    def test_published_on_one_received_on_both(self) -> None:
        for here in (0, 1):
            radios = [self.radio(node, TOPICS[0]) for node in (0, 1)]
            self.station(here).publish(TOPICS[0], b"TEXT caf\xc3\xa9", {"link": "http://l/?a=1", "message-id": "ID:7"})
            for radio in radios:
                heard = radio.expect("MESSAGE", destination=TOPICS[0], link="http://l/?a=1", message_id="ID:7")
                self.assertEqual(heard.body, b"TEXT caf\xc3\xa9")
                self.assertEqual(radio.so_far(), [])

    def test_every_version_publishes_to_every_version_on_the_other_node(self) -> None:
        versions = (None, "1.1", "1.2")
        radios = [self.radio(1, TOPICS[0], version=version) for version in versions]
        for version in versions:
            self.station(0, version).publish(TOPICS[0], str(version).encode())
        for radio in radios:
            self.assertEqual([each.body for each in radio.frames(3)], [b"None", b"1.1", b"1.2"])

    def test_a_receipt_means_that_the_exchange_has_it(self) -> None:
        with Device(services.rabbitmq(), self.cluster.exchange) as device:
            device.listen()
            station = self.station(0)
            for number in range(20):
                station.publish(TOPICS[0], str(number).encode())
            self.assertEqual([device.hear()[1] for _ in range(20)], [str(number).encode() for number in range(20)])

    def test_broadcast_reaches_every_channel_on_the_other_node_with_one_id(self) -> None:
        radio = self.radio(1, *TOPICS)
        self.station(0).publish("/topic/*/text", b"TEXT all")
        heard = radio.frames(2)
        self.assertEqual(sorted(each.get("destination") for each in heard), sorted(TOPICS))
        self.assertEqual(len({each.get("message-id") for each in heard}), 1)
        self.assertEqual(radio.so_far(), [])

    def test_country_on_one_node_is_its_code_on_the_other(self) -> None:
        radio = self.radio(1, "/topic/fm/4e1/ffff/99999/text")
        self.station(0, login="3.test").publish("/topic/fm/ch/ffff/99999/text", b"TEXT cc")
        self.assertEqual(radio.expect("MESSAGE", destination="/topic/fm/4e1/ffff/99999/text").body, b"TEXT cc")

    def test_a_binary_body_crosses_the_cluster(self) -> None:
        body = bytes(range(256)) * 100
        radio = self.radio(1, TOPICS[0], version="1.2")
        self.station(0).publish(TOPICS[0], body, {"content-length": str(len(body))})
        self.assertEqual(radio.expect("MESSAGE").body, body)

    def test_a_thousand_publishes_each_arrive_once_and_in_order_on_both_nodes(self) -> None:
        """One publisher on each node at the same time; every radio hears each of them in his order."""
        radios = [self.radio(node, *TOPICS) for node in (0, 1)]
        stations = [self.station(node) for node in (0, 1)]
        for station, topic in zip(stations, TOPICS, strict=True):
            headers = {"destination": topic}
            for number in range(PUBLISHES):
                station.send(frame("SEND", headers | {"receipt": str(number)}, str(number).encode()))
        numbers = [str(number) for number in range(PUBLISHES)]
        for station in stations:
            self.assertEqual([each.get("receipt-id") for each in station.frames(PUBLISHES)], numbers)
        for radio in radios:
            heard = radio.frames(2 * PUBLISHES)
            for topic in TOPICS:
                self.assertEqual([each.body.decode() for each in heard if each.get("destination") == topic], numbers)
            self.assertEqual(radio.so_far(), [])

    def test_a_third_node_started_later_hears_and_is_heard(self) -> None:
        with node(services.rabbitmq(), self.cluster.exchange) as third:
            third.wait_for("bus.caught_up")
            radio, other = Radio.connect(third.address), self.radio(0, TOPICS[0])
            radio.subscribe(TOPICS[0], fast_reply=False)
            self.station(1).publish(TOPICS[0], b"TEXT to the third")
            Radio.connect(third.address, "1.test", "test", version="1.2").publish(TOPICS[0], b"TEXT from it")
            for each in (radio, other):
                self.assertEqual([one.body for one in each.frames(2)], [b"TEXT to the third", b"TEXT from it"])

    def test_a_node_that_ends_takes_nothing_along(self) -> None:
        """What it has given a RECEIPT for is heard by the others; what it has not, it says so."""
        radio = self.radio(0, TOPICS[0])
        with node(services.rabbitmq(), self.cluster.exchange) as leaving:
            leaving.wait_for("bus.caught_up")
            station = Radio.connect(leaving.address, "1.test", "test", version="1.2")
            for number in range(50):
                station.publish(TOPICS[0], str(number).encode())
            leaving.terminate()
        self.assertEqual([each.body for each in radio.frames(50)], [str(number).encode() for number in range(50)])
