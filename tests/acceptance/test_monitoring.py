"""Monitoring events of a real node, as their reader finds them; and what a node does without the broker."""

from __future__ import annotations

import json
import socket
import time
import unittest
from typing import Any
from uuid import uuid4

from tests import services
from tests.acceptance.case import NodeCase
from tests.acceptance.cluster import node as cluster_node
from tests.fanout.bus.queue_reader import Taken, take_until
from tests.processes import Server, node
from tests.radio import Radio
from tests.radiovis.watchdog.daemon import Daemon

LABEL = "radiovis.global."
CC, GCC = "/topic/fm/ch/ffff/99999/text", "/topic/fm/4e1/ffff/99999/text"


def monitored(port: int, queue: str = "radiovis", **settings: object) -> Server:
    """A node by itself that sends events to the broker at this port."""
    return node(MONITORING_ENABLED=True, MONITORING_PORT=port, MONITORING_QUEUE=queue, **settings)


def event(body: bytes) -> tuple[str, Any]:
    """Label and metadata; the rest is checked here."""
    found = json.loads(body)
    if list(found) != ["type", "label", "timestamp", "server", "metadata"] or found["type"] != "log":
        raise AssertionError(f"not the contract's form: {body!r}")
    return found["label"].removeprefix(LABEL), found["metadata"]


class _Events(unittest.TestCase):
    """With a broker that is well, an exchange and a queue of one's own."""

    def setUp(self) -> None:
        self.broker = services.rabbitmq()
        self.queue = f"radiovis-{uuid4().hex}"

    def start(self, **settings: object) -> Server:
        server = monitored(self.broker.port, self.queue, MONITORING_EXCHANGE=self.queue, **settings).start()
        self.addCleanup(server.close)
        server.wait_for("publisher.connected")
        return server

    def events(self, last: str, count: int = 1) -> list[tuple[str, Any]]:
        """All events up to the last one of this label."""
        return [event(body) for _, body in self.taken(last, count)]

    def taken(self, last: str, count: int = 1) -> list[Taken]:
        def enough(came: list[Taken]) -> bool:
            return sum(event(body)[0] == last for _, body in came) >= count

        return take_until(self.broker, self.queue, enough)


class TestEvents(_Events):
    def test_a_radio_from_its_coming_to_its_going(self) -> None:
        server = self.start(MONITORING_SERVER_ID="a@x,b@y")
        radio = Radio.connect(server.address)
        who = {"session_id": radio.session, "ip": f"127.0.0.1:{radio.port}"}
        radio.subscribe(CC)
        radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/image", id="7")
        radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/text")
        radio.say("UNSUBSCRIBE", {"destination": "/topic/id/tests._ebu.nowhere/topic1/text"})
        self.assertEqual(radio.so_far(), [])
        radio.close()
        self.assertEqual(
            self.events("disconnections"),
            [
                ("servers", ""),
                ("connections", who),
                ("subscriptions", {"topic": GCC, **who}),
                ("subscriptions", {"topic": "/topic/id/tests._ebu.nowhere/topic1/image", **who}),
                ("subscriptions", {"topic": "/topic/id/tests._ebu.nowhere/topic1/text", **who}),
                ("unsubscriptions", {"topic": "/topic/id/tests._ebu.nowhere/topic1/image", **who}),
                ("unsubscriptions", {"topic": GCC, **who}),
                ("disconnections", who),
            ],
        )
        server.terminate()
        self.assertEqual(server.faults, [])

    def test_octets_and_headers_of_the_first_event(self) -> None:
        before = time.time()
        self.start(MONITORING_SERVER_ID="a@x,b@y")
        [(properties, body)] = self.taken("servers")
        when = json.loads(body)["timestamp"]
        self.assertTrue(before <= when <= time.time(), when)
        expected = (
            f'{{"type":"log","label":"{LABEL}servers","timestamp":{when!r},"server":["a@x","b@y"],"metadata":""}}'
        )
        self.assertEqual(body.decode(), expected)
        self.assertEqual(properties.headers, {"when": str(int(when))})

    def test_who_never_logged_in_is_no_connection(self) -> None:
        server = self.start()
        stranger = Radio(server.address)
        stranger.say("CONNECT", {"login": "1.test", "passcode": "wrong"})
        stranger.expect("ERROR")
        self.assertTrue(stranger.ends())
        Radio.connect(server.address).close()
        self.assertEqual(
            [label for label, _ in self.events("disconnections")], ["servers", "connections", "disconnections"]
        )

    def test_deliveries_are_counted(self) -> None:
        server = self.start()
        radios = [Radio.connect(server.address) for _ in range(3)]
        for radio in radios:
            radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/text")
        station = Radio.connect(server.address, "1.test", "test")
        for number in range(40):
            station.publish("/topic/id/tests._ebu.nowhere/topic1/text", b"TEXT %d" % number)
            station.publish("/topic/id/tests._ebu.nowhere/topic2/text", b"TEXT nobody listens")
        for radio in radios:
            radio.frames(40)
        server.terminate()  # What was counted in the last second is sent before the end.
        self.assertEqual(server.faults, [])
        taken = take_until(self.broker, self.queue, lambda came: counted(came) >= 120)
        self.assertEqual(counted(taken), 120)
        messages = [metadata for label, metadata in (event(body) for _, body in taken) if label == "messages"]
        self.assertEqual({tuple(metadata) for metadata in messages}, {("topic", "count")})
        self.assertEqual({metadata["topic"] for metadata in messages}, {"/topic/id/tests._ebu.nowhere/topic1/text"})

    def test_one_event_per_delivery_when_asked_for(self) -> None:
        server = self.start(MONITORING_PER_DELIVERY=True)
        radios = [Radio.connect(server.address) for _ in range(2)]
        for radio in radios:
            radio.subscribe(CC)
            radio.subscribe(GCC)  # One copy, as the client negotiated nothing.
        station = Radio.connect(server.address, "3.test", "test")
        station.publish(CC, b"TEXT caf\xc3\xa9")
        expected = [
            {"topic": GCC, "session_id": radio.session, "body": "TEXT café", "ip": f"127.0.0.1:{radio.port}"}
            for radio in radios
        ]
        station.close()
        found = [metadata for label, metadata in self.events("disconnections") if label == "messages"]
        self.assertEqual(found, expected)


def counted(came: list[Taken]) -> int:
    """How many deliveries the events tell of."""
    return sum(metadata["count"] for label, metadata in (event(body) for _, body in came) if label == "messages")


TINY = {"radiovis.node.build.MONITORING_MESSAGES": 10}


class NobodyTakesTheEvents:
    """Mixed into the cases below. Their buffer is tiny, so that it overflows."""

    def test_the_node_serves_as_ever(self: Any) -> None:
        station = self.station()
        radios = [self.radio() for _ in range(20)]
        for radio in radios:
            radio.subscribe(self.topic())
        slowest = 0.0
        for number in range(100):
            began = time.monotonic()
            station.publish(self.topic(), b"SHOW http://s/%d.png" % number)
            slowest = max(slowest, time.monotonic() - began)
        for radio in radios:
            self.assertEqual(radio.frames(100)[-1].body, b"SHOW http://s/99.png")
        self.assertLess(slowest, 2.0)
        self.server.wait_for("publisher.dropped")


class TestRefused(NobodyTakesTheEvents, NodeCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = monitored(services.free_port(), MONITORING_PER_DELIVERY=True, **TINY).start()


class TestSilent(NobodyTakesTheEvents, NodeCase):
    """Somebody accepts the connection, and that is all: a frozen broker, a firewall."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.silent = socket.create_server(("127.0.0.1", 0))
        cls.addClassCleanup(cls.silent.close)
        port = cls.silent.getsockname()[1]
        cls.server = monitored(port, MONITORING_PER_DELIVERY=True, **TINY).start()


class TestEnabled(unittest.TestCase):
    """A host turns the events on, wherever it is set; MONITORING_ENABLED wins over that (contract §2, change 16).

    The monitoring broker would be at the default host, and at a port on which the test listens.
    """

    def setUp(self) -> None:
        self.broker = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.broker.close)
        self.port = self.broker.getsockname()[1]

    def start(self, server: Server, config: str = "") -> Server:
        self.addCleanup(server.close)
        (server.folder / "config.py").write_text(config)
        return server.start()

    def assert_connects(self, server: Server, config: str = "") -> None:
        self.start(server, config)
        self.broker.settimeout(30)
        connection, _ = self.broker.accept()
        connection.close()

    def assert_nobody_connects(self, *servers: Server) -> None:
        """Nothing is built: no connection is tried, no line logged."""
        self.broker.setblocking(False)
        with self.assertRaises(BlockingIOError):
            self.broker.accept()
        for server in servers:
            self.assertEqual([event for event in server.log if event["event"].startswith("publisher.")], [])

    def publish(self, server: Server) -> None:
        with Radio.connect(server.address, "1.test", "test") as station:
            station.publish("/topic/id/tests._ebu.nowhere/topic1/text", b"TEXT x")

    def test_by_default_neither_a_node_nor_a_watchdog_connects(self) -> None:
        broker, exchange = services.rabbitmq(), f"radiovis.{uuid4()}"
        server = self.start(cluster_node(broker, exchange, MONITORING_PORT=self.port))
        daemon = self.start(Daemon(broker, exchange, "--test", MONITORING_ENABLED=None, MONITORING_PORT=self.port))
        server.wait_for("bus.caught_up")
        daemon.wait_for("defaults.sent")
        self.publish(server)
        self.assert_nobody_connects(server, daemon)
        for process in (server, daemon):
            warning = "MONITORING_PORT: without effect, because MONITORING_HOST is not set."
            process.wait_for("settings.warning", warning=warning)

    def test_a_host_that_is_set_and_false(self) -> None:
        server = self.start(node(MONITORING_HOST="127.0.0.1", MONITORING_PORT=self.port, MONITORING_ENABLED=False))
        self.publish(server)
        self.assert_nobody_connects(server)

    def test_an_empty_host_counts_as_not_set(self) -> None:
        server = self.start(node(MONITORING_HOST="", MONITORING_PORT=self.port))
        self.publish(server)
        self.assert_nobody_connects(server)

    def test_true_without_a_host(self) -> None:
        self.assert_connects(node(MONITORING_ENABLED=True, MONITORING_PORT=self.port))

    def test_a_host_in_the_environment(self) -> None:
        self.assert_connects(node(MONITORING_HOST="127.0.0.1", MONITORING_PORT=self.port))

    def test_a_host_as_a_flag(self) -> None:
        self.assert_connects(node("--monitoring-host", "127.0.0.1", MONITORING_PORT=self.port))

    def test_a_host_in_config_py(self) -> None:
        self.assert_connects(node(MONITORING_PORT=self.port), 'MONITORING_HOST = "127.0.0.1"\n')

    def test_a_host_in_the_dictionary_of_the_originals_config_py(self) -> None:
        self.assert_connects(node(), f'monitoring = {{"host": "127.0.0.1", "port": "{self.port}"}}\n')

    def test_a_host_of_a_watchdog(self) -> None:
        broker, exchange = services.rabbitmq(), f"radiovis.{uuid4()}"
        monitoring = {"MONITORING_ENABLED": None, "MONITORING_HOST": "127.0.0.1", "MONITORING_PORT": self.port}
        self.assert_connects(Daemon(broker, exchange, "--test", **monitoring))
