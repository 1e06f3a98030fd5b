"""A receiver behind a load balancer: each of its polls may reach another node."""

from __future__ import annotations

import itertools
import json
import threading
import unittest
from collections.abc import Iterator

from tests import services
from tests.acceptance.cluster import Cluster, node
from tests.acceptance.device import Device
from tests.processes import Server
from tests.radio import Radio
from tests.web import Events, Poller, ask, poll_path

PUBLISHES = 1_000


class TestTwoNodes(unittest.TestCase):
    def setUp(self) -> None:
        self.cluster = Cluster(services.rabbitmq(), nodes=0)
        self.addCleanup(self.cluster.close)
        self.first, self.second = self.node(), self.node()

    def node(self, **settings: object) -> Server:
        """One more node, which hears the exchange."""
        settings = {"HTTP_PORT": services.free_port(), "HTTP_POLL_TIMEOUT": 3, **settings}
        started = node(services.rabbitmq(), self.cluster.exchange, **settings)
        self.cluster.nodes.append(started)
        started.start()
        started.wait_for("bus.caught_up")
        return started

    def tearDown(self) -> None:
        self.assertEqual(self.cluster.faults, [])

    def publisher(self, node: Server) -> Radio:
        radio = Radio.connect(node.address, "1.test", "test", version="1.2")
        self.addCleanup(radio.close)
        return radio

    def poll(self, *topics: str) -> Iterator[list[dict[str, str]]]:
        """What the answers of one receiver say, poll by poll, the nodes in turn."""
        last_id = None
        with Poller() as poller:
            for node in itertools.cycle((self.first, self.second)):
                answer = poller.ask(node.http, poll_path(*topics, last_id=last_id))
                if answer.status == 200:
                    found = answer.json if isinstance(answer.json, list) else [answer.json]
                    last_id = found[-1]["headers"]["RadioVIS-Message-ID"]
                    yield found
                else:
                    self.assertEqual(answer.status, 408)

    def bodies_until(self, last: str, *topics: str) -> list[str]:
        bodies: list[str] = []
        for answer in self.poll(*topics):
            bodies += [each["body"] for each in answer]
            if last in bodies:
                break
        return bodies

    def test_one_that_asks_them_in_turn_misses_none_of_a_thousand(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/thousand/image"
        radio = self.publisher(self.first)
        radio.publish(topic, b"SHOW 0")
        thread = threading.Thread(target=self._publish, args=(radio, topic))
        thread.start()
        bodies = self.bodies_until(f"SHOW {PUBLISHES}", topic)
        thread.join()
        self.assertEqual(bodies, [f"SHOW {number}" for number in range(int(bodies[0].split()[1]), PUBLISHES + 1)])

    def _publish(self, radio: Radio, topic: str) -> None:
        for number in range(1, PUBLISHES + 1):
            radio.say("SEND", {"destination": topic}, f"SHOW {number}".encode())

    def test_nor_when_they_were_published_in_turn_on_both(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/turns/image"
        radios = [self.publisher(node) for node in (self.first, self.second)]
        radios[0].publish(topic, b"SHOW 0")
        thread = threading.Thread(target=self._publish_in_turn, args=(radios, topic))
        thread.start()
        bodies = self.bodies_until(f"SHOW {PUBLISHES}", topic)
        thread.join()
        self.assertEqual(bodies, [f"SHOW {number}" for number in range(int(bodies[0].split()[1]), PUBLISHES + 1)])

    def _publish_in_turn(self, radios: list[Radio], topic: str) -> None:
        """Each waits until the broker has the other's, so that there is an order."""
        for number in range(1, PUBLISHES + 1):
            radios[number % 2].publish(topic, f"SHOW {number}".encode())

    def test_nor_of_several_topics(self) -> None:
        image, text = (
            "/topic/id/tests._ebu.nowhere/topic1/several/image",
            "/topic/id/tests._ebu.nowhere/topic1/several/text",
        )
        radio = self.publisher(self.first)
        radio.publish(image, b"SHOW 0")
        thread = threading.Thread(target=self._publish_both, args=(radio, image, text))
        thread.start()
        bodies = self.bodies_until("TEXT 300", image, text)
        thread.join()
        expected = ["SHOW 0", *(f"{word} {number}" for number in range(1, 301) for word in ("SHOW", "TEXT"))]
        self.assertEqual(bodies, expected[expected.index(bodies[0]) :])

    def _publish_both(self, radio: Radio, image: str, text: str) -> None:
        for number in range(1, 301):
            radio.say("SEND", {"destination": image}, f"SHOW {number}".encode())
            radio.say("SEND", {"destination": text}, f"TEXT {number}".encode())

    def test_a_node_that_hears_late_gives_nothing_old(self) -> None:
        """The second node stands still while the first one gives an id away."""
        topic = "/topic/id/tests._ebu.nowhere/topic1/late/image"
        radio = self.publisher(self.first)
        radio.publish(topic, b"SHOW 1", {"message-id": "1"})
        self.assertEqual(ask(self.second.http, poll_path(topic)).json["body"], "SHOW 1")
        self.second.pause()
        try:
            radio.publish(topic, b"SHOW 2", {"message-id": "2"})
            found = ask(self.first.http, poll_path(topic, last_id="1")).json
            self.assertEqual(found["body"], "SHOW 2")
            radio.publish(topic, b"SHOW 3", {"message-id": "3"})
        finally:
            self.second.resume()
        self.assertEqual(ask(self.second.http, poll_path(topic, last_id="2")).json["body"], "SHOW 3")

    def test_a_device_on_the_exchange_reaches_streams_and_one_resumes_on_the_other_node(self) -> None:
        with Device(services.rabbitmq(), self.cluster.exchange) as device:
            events = Events(self.first.http, "/radiodns/push/1.0/id/tests._ebu.nowhere/topic1/device")
            self.addCleanup(events.close)
            device.publish(
                {"topic": "/topic/id/tests._ebu.nowhere/topic1/device/image", "message-id": "d1"},
                b"SHOW http://a/1.png",
            )
            self.assertEqual(events.next().data, {"src": "http://a/1.png"})
            self.assertEqual(
                ask(self.second.http, poll_path("/topic/id/tests._ebu.nowhere/topic1/device/image")).status, 200
            )
            events.close()
            device.publish(
                {"topic": "/topic/id/tests._ebu.nowhere/topic1/device/image", "message-id": "d2"},
                b"SHOW http://a/2.png",
            )
            device.publish({"topic": "/topic/id/tests._ebu.nowhere/topic1/device/text", "message-id": "d3"}, b"TEXT x")
            again = Events(
                self.second.http, "/radiodns/push/1.0/id/tests._ebu.nowhere/topic1/device", last_event_id="d1"
            )
            self.addCleanup(again.close)
            self.assertEqual([again.next().id for _ in range(2)], ["d2", "d3"])

    def test_a_node_that_has_just_started_knows_the_slide(self) -> None:
        """Through memcached."""
        cache = str(services.memcached())
        kept = self.node(MEMCACHED_HOST=cache)
        topic = f"/topic/id/tests._ebu.nowhere/topic1/{self.cluster.exchange}/image"
        self.publisher(kept).publish(topic, b"SHOW http://a/1.png", {"message-id": "m1"})
        self.assertEqual(ask(kept.http, poll_path(topic)).status, 200)
        kept.terminate()
        kept.start()
        answer = ask(kept.http, poll_path(topic))
        self.assertEqual(answer.json["body"], "SHOW http://a/1.png")
        self.assertEqual(json.loads(ask(kept.http, poll_path(topic, last_id="0")).body)["body"], "SHOW http://a/1.png")
