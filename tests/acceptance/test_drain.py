"""A node is told to end: its clients leave one after the other, each told so, and nothing accepted is lost."""

from __future__ import annotations

import selectors
import signal
import socket
import time
import unittest
from typing import ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.cluster import node as clustered
from tests.processes import Address, Server, node
from tests.radio import Radio, frame
from tests.web import Raw, ask, poll_path

CROWD = 400
SPREAD = 2.0
"""Seconds: 200 clients a second are let go as fast as that."""
TOPIC = "/topic/id/tests._ebu.nowhere/topic1/drain/image"


class DrainCase(unittest.TestCase):
    def server(self, *flags: str, **settings: object) -> Server:
        server = node(*flags, **settings)
        self.addCleanup(server.close)
        return server.start()

    def crowd(self, address: Address, size: int = CROWD) -> list[socket.socket]:
        """Old radios that have connected."""
        sockets = [socket.create_connection(address, timeout=20) for _ in range(size)]
        for each in sockets:
            self.addCleanup(each.close)
            each.sendall(frame("CONNECT"))
        for each in sockets:
            self.assertTrue(each.recv(4096).startswith(b"CONNECTED"))
        return sockets

    def measures(self, server: Server, line: str) -> None:
        """Wait until its metrics say so."""
        deadline = time.monotonic() + 20
        while f"\n{line}\n".encode() not in ask(server.admin, "/metrics").body:
            self.assertLess(time.monotonic(), deadline, f"not within 20 s: {line}")

    def ends(self, sockets: list[socket.socket]) -> list[float]:
        """When each of them sees its end, in seconds, in order; all closed then."""
        selector, ends = selectors.DefaultSelector(), []
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        deadline = time.monotonic() + 20
        while len(ends) < len(sockets) and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                each = key.fileobj
                assert isinstance(each, socket.socket)
                self.assertEqual(each.recv(4096), b"")  # an ERROR could keep an old radio from coming back
                selector.unregister(each)
                each.close()
                ends.append(time.monotonic())
        return ends


class ACrowdLeaves(DrainCase):
    def test_spread_over_the_time_and_nobody_comes_in(self) -> None:
        server = self.server(DRAIN_SECONDS=SPREAD, ADMIN_PORT=services.free_port())
        sockets = self.crowd(server.address)
        self.assertEqual(ask(server.admin, "/readyz").status, 200)
        server.ask_to_end()
        draining = server.wait_for("server.draining")
        self.assertEqual((draining["clients"], draining["seconds"]), (CROWD, SPREAD))
        readiness = ask(server.admin, "/readyz")
        self.assertEqual(readiness.status, 503)
        self.assertIn(b"shutting down", readiness.body)
        with self.assertRaises(ConnectionError):
            socket.create_connection(server.address, timeout=5)
        ends = self.ends(sockets)
        self.assertEqual(len(ends), CROWD)
        self.assertGreater(ends[-1] - ends[0], SPREAD * 0.6)
        for index in range(0, CROWD, 10):
            together = sum(ends[index] <= each < ends[index] + 0.2 for each in ends)
            self.assertLess(together, CROWD / 2)
        self.assertEqual(server.exit_code(), 0)
        left = [each["clients"] for each in server.events("server.draining")]
        self.assertGreater(len(left), 1)
        self.assertEqual(left, sorted(left, reverse=True))
        self.assertEqual(len(server.events("server.stopped")), 1)
        self.assertEqual(server.faults, [])

    def test_they_hear_what_is_said_until_they_leave(self) -> None:
        server = self.server(DRAIN_SECONDS=SPREAD)
        radio = Radio.connect(server.address, version="1.2")
        self.addCleanup(radio.close)
        radio.subscribe(TOPIC)
        self.crowd(server.address)
        for each in range(20):
            station = Radio.connect(server.address, "1.test", "test", version="1.2")
            self.addCleanup(station.close)
            station.say("SEND", {"destination": TOPIC, "receipt": f"{each}"}, b"%d" % each)
        server.ask_to_end()
        server.exit_code()
        said = [each for each in radio.frames(21) if each.command == "MESSAGE"]
        self.assertEqual(sorted(int(each.body) for each in said), list(range(20)))

    def test_a_few_need_no_time(self) -> None:
        server = self.server(DRAIN_SECONDS=60)
        radio = Radio.connect(server.address, version="1.2")
        self.addCleanup(radio.close)
        began = time.monotonic()
        server.ask_to_end()
        radio.expect("ERROR", message="Server shutting down")
        self.assertTrue(radio.ends())
        radio.close()
        self.assertEqual(server.exit_code(), 0)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_second_signal_ends_it_at_once(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.server(DRAIN_SECONDS=60)
            self.crowd(server.address)
            server.ask_to_end()
            server.wait_for("server.draining")
            server.ask_to_end() if number == signal.SIGTERM else server.interrupt()
            self.assertEqual(server.exit_code(), -number)
            self.assertEqual(server.events("server.stopped"), [])
            server.start()  # and nothing it left behind is in the way of the next one
            server.close()


class OverHttp(DrainCase):
    def test_polls_are_answered_and_streams_end(self) -> None:
        server = self.server(HTTP_PORT=services.free_port(), ADMIN_PORT=services.free_port())
        with Raw(server.http) as poll, Raw(server.http) as stream:
            poll.send(f"GET {poll_path(TOPIC)} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            stream.send(f"GET /events?topic={TOPIC} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            stream.until(b"retry:")
            self.measures(server, 'fanout_clients{protocol="poll",version=""} 1.0')
            server.ask_to_end()
            self.assertIn(b" 408 ", poll.to_the_end().partition(b"\r\n")[0])
            stream.to_the_end()
        self.assertEqual(server.exit_code(), 0)
        self.assertEqual(server.faults, [])


class Publishers(DrainCase):
    broker: ClassVar[services.RabbitMQ]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = services.RabbitMQ()
        cls.broker.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.broker.close()

    def clustered(self) -> Server:
        settings = {"MONITORING_ENABLED": False, "ADMIN_PORT": services.free_port()}
        server = clustered(self.broker.address, f"radiovis.{uuid4()}", **settings)
        self.addCleanup(server.close)
        server.start()
        server.wait_for("bus.caught_up")
        return server

    def test_receipts_come_before_the_goodbye(self) -> None:
        server = self.clustered()
        station = Radio.connect(server.address, "1.test", "test", version="1.2")
        self.addCleanup(station.close)
        self.broker.pause()
        self.addCleanup(self.broker.resume)
        for number in range(20):
            station.say("SEND", {"destination": TOPIC, "receipt": f"{number}"}, b"x")
        self.measures(server, "fanout_bus_waiting 20.0")
        server.ask_to_end()
        server.wait_for("server.draining")
        self.broker.resume()
        for number in range(20):
            station.expect("RECEIPT", receipt_id=f"{number}")
        station.expect("ERROR", message="Server shutting down")
        self.assertTrue(station.ends())
        self.assertEqual(server.exit_code(), 0)

    def test_what_the_broker_does_not_take_in_time_is_said_to_be_lost(self) -> None:
        server = self.clustered()
        station = Radio.connect(server.address, "1.test", "test", version="1.2")
        self.addCleanup(station.close)
        self.broker.pause()
        self.addCleanup(self.broker.resume)
        station.say("SEND", {"destination": TOPIC, "receipt": "1"}, b"x")
        self.measures(server, "fanout_bus_waiting 1.0")
        server.ask_to_end()
        station.expect("ERROR", receipt_id="1")
        self.assertTrue(station.ends())
        self.assertEqual(server.exit_code(), 0)


class UnderSystemd(DrainCase):
    def test_it_is_told_all_the_way(self) -> None:
        systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(systemd.close)
        systemd.settimeout(20)
        name = f"radiovis-{uuid4().hex}"
        systemd.bind(f"\0{name}")
        server = self.server(NOTIFY_SOCKET=f"@{name}", WATCHDOG_USEC=200_000)
        self.assertTrue(systemd.recv(1000).startswith(b"READY=1\nSTATUS=0 clients; bus: "))
        radio = Radio.connect(server.address)
        self.addCleanup(radio.close)
        beats = [systemd.recv(1000) for _ in range(10)]
        self.assertTrue(all(each.startswith(b"WATCHDOG=1\n") for each in beats), beats)
        self.assertIn(b"STATUS=1 clients", beats[-1])
        server.hang_up()
        while not (said := systemd.recv(1000)).startswith(b"RELOADING=1\nMONOTONIC_USEC="):
            self.assertTrue(said.startswith(b"WATCHDOG=1"), said)
        self.assertTrue(systemd.recv(1000).startswith(b"READY=1"))
        server.ask_to_end()
        while (said := systemd.recv(1000)) != b"STOPPING=1":
            self.assertTrue(said.startswith(b"WATCHDOG=1"), said)
        self.assertEqual(server.exit_code(), 0)
