"""Everything a node needs fails, each in every way it can: shown in /readyz and in metrics, and healed by itself.

Meanwhile radios stay connected, and what is published is kept: it arrives once and in order.
"""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable
from typing import ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.plugit_process import PlugItProcess
from tests.network import Network
from tests.processes import Server
from tests.prometheus import parse
from tests.radio import Radio, frame
from tests.radiovis.directory.plugit_server import BASE
from tests.web import ask

ROCK = "/topic/fm/4e1/ffff/99999/"
KNOWN = {
    "channels": {"1": [ROCK]},
    "passwords": {"1.rock": "rock-passcode"},
    "all_channels": [[ROCK, 12]],
    "vis_channels": [[ROCK, 12]],
}
QUICK: dict[str, object] = {
    "RABBITMQ_HEARTBEAT": 1,
    "fanout.bus.broker_settings.CONNECT_SECONDS": 1.0,
    "fanout.bus.broker_settings.LAST_RETRY_SECONDS": 0.5,
    "DIRECTORY_TIMEOUT": 0.5,
    "DIRECTORY_FRESH_SECONDS": 1,
    "FB_CHANNEL_CACHE": 1,
}
SECONDS = 20.0


class _Case(unittest.TestCase):
    """A node, and a network to each of its servers. One of each for all tests."""

    broker: ClassVar[services.RabbitMQ]
    memcached: ClassVar[services.Memcached]
    plugit: ClassVar[PlugItProcess]
    server: ClassVar[Server]
    networks: ClassVar[dict[str, Network]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker, cls.memcached, cls.plugit = services.RabbitMQ(), services.Memcached(), PlugItProcess()
        cls.addClassCleanup(cls.broker.close)
        cls.addClassCleanup(cls.memcached.close)
        cls.addClassCleanup(cls.plugit.stop)
        cls.broker.start()
        cls.memcached.start()
        cls.plugit.know(**KNOWN)
        ports = {"bus": cls.broker.port, "memcached": cls.memcached.port, "directory": cls.plugit.port}
        cls.networks = {name: Network(services.HOST, port) for name, port in ports.items()}
        for network in cls.networks.values():
            cls.addClassCleanup(network.close)
        cls.server = Server(**cls.settings()).start()
        cls.addClassCleanup(cls.server.close)

    @classmethod
    def settings(cls) -> dict[str, object]:
        (host, broker), (_, memcached), (_, plugit) = (each.address for each in cls.networks.values())
        return QUICK | {
            "RABBITMQ_HOST": host,
            "RABBITMQ_PORT": broker,
            "RABBITMQ_EXCHANGE": f"radiovis.{uuid4()}",
            "ADMIN_PORT": services.free_port(),
            "MEMCACHED_HOST": f"{host}:{memcached}",
            "RADIODNS_API_URL": f"http://{host}:{plugit}{BASE}",
        }

    def setUp(self) -> None:
        self.topic = f"{ROCK}{uuid4().hex}"
        self.radio, self.station = self.client(), self.client("1.rock", "rock-passcode", version="1.2")
        self.radio.subscribe(self.topic)
        self.shown("bus", well=True)

    def client(self, *login: str, version: str | None = None) -> Radio:
        radio = Radio.connect(self.server.address, *login, version=version)
        self.addCleanup(radio.close)
        return radio

    def shown(self, name: str, *, well: bool, reason: str = "") -> None:
        """Wait until /readyz and metrics say so of this condition, and why."""
        deadline = time.monotonic() + SECONDS
        while True:
            readiness = ask(self.server.admin, "/readyz")
            condition = readiness.json["conditions"][name]
            metrics = parse(ask(self.server.admin, "/metrics").body)
            told = metrics["fanout_condition_well"][("condition", name),] == 1
            if condition["well"] is told is well and reason in condition["reason"]:
                ready = well or not condition["needed"]
                self.assertEqual((readiness.status == 200, metrics["fanout_ready"][()] == 1), (ready, ready))
                return
            self.assertLess(time.monotonic(), deadline, f"{name} is not {'well' if well else 'ill'}: {condition}")
            self.client().subscribe(f"{ROCK}{uuid4().hex}")  # Something to do, for everything it needs.

    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.station.send(frame("SEND", {"destination": self.topic, "receipt": body.decode()}, body))

    def assert_came(self, *bodies: bytes) -> None:
        """Receipts for the station, and for the radio the messages; nothing else, and both are still there."""
        self.assertEqual(
            [self.station.expect("RECEIPT").get("receipt-id") for _ in bodies], [b.decode() for b in bodies]
        )
        self.assertEqual([self.radio.expect("MESSAGE").body for _ in bodies], list(bodies))
        self.assertEqual((self.radio.so_far(), self.station.so_far()), ([], []))


class TestTheBroker(_Case):
    def fails(self, begin: Callable[[], object], end: Callable[[], object], reason: str) -> None:
        """It does, and comes back."""
        self.send(b"before")
        self.assert_came(b"before")
        try:
            begin()
            self.send(b"1", b"2")
            self.shown("bus", well=False, reason=reason)
            self.send(b"3")
        finally:
            end()
        self.shown("bus", well=True)
        self.assert_came(b"1", b"2", b"3")

    def test_is_killed(self) -> None:
        self.fails(self.broker.kill, self.broker.start, "")

    def test_is_frozen(self) -> None:
        self.fails(self.broker.pause, self.broker.resume, "")

    def test_is_cut_off(self) -> None:
        self.fails(self.networks["bus"].part, self.networks["bus"].heal, "")

    def test_is_short_of_memory(self) -> None:
        def limit(share: str) -> Callable[[], object]:
            return lambda: self.broker.ctl("set_vm_memory_high_watermark", share)

        self.fails(limit("0.0000001"), limit("0.4"), "low on memory")

    def test_is_short_of_disk(self) -> None:
        def limit(free: str) -> Callable[[], object]:
            return lambda: self.broker.ctl("set_disk_free_limit", free)

        self.fails(limit("100000GB"), limit("1MB"), "low on disk")

    def test_does_not_accept_our_password_any_more(self) -> None:
        def password(word: str) -> Callable[[], object]:
            change = f'rabbit_auth_backend_internal:change_password(<<"guest">>, <<"{word}">>, <<"tests">>)'
            close = 'rabbit_networking:close_all_user_connections(<<"guest">>, "tests")'
            # "catch": when one of our two connections is closed we close the other, which may be gone before its turn.
            return lambda: self.broker.ctl("eval", f"{change}, catch {close}.")

        self.fails(password("another"), password("guest"), "does not accept the password of user 'guest'")

    def connects(self) -> float:
        return parse(ask(self.server.admin, "/metrics").body)["fanout_rabbitmq_connects_total"][()]

    def test_deletes_our_queue(self) -> None:
        """Too short a time for /readyz to be asked; the count of connections tells."""
        before = self.connects()
        self.broker.ctl("delete_queue", self.server.events("bus.connected")[-1]["queue"])
        host, port = self.networks["bus"].address
        lost = self.server.wait_for("bus.lost", reason=f"{host}:{port}: our queue was deleted")
        self.assertEqual(lost["level"], "warning")
        self.server.wait_for("bus.connected", count=int(before) + 1)
        self.shown("bus", well=True)
        after = self.connects()
        self.assertEqual(after, before + 1)
        self.send(b"1")
        self.assert_came(b"1")


class TestTheOthers(_Case):
    """A node is of use without them: ready, and degraded. PlugIt that refuses connections: test_plugit.py."""

    def fails(self, name: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
        begin()
        try:
            self.shown(name, well=False, reason="does not answer")
            self.send(b"1")
            self.assert_came(b"1")
            newcomer = self.client()
            newcomer.subscribe(self.topic)
            self.assertEqual(newcomer.expect("MESSAGE").body, b"1")
        finally:
            end()
        self.shown(name, well=True)
        self.send(b"2")
        self.assert_came(b"2")

    def test_memcached_is_killed(self) -> None:
        self.fails("memcached", self.memcached.kill, self.memcached.start)

    def test_memcached_is_frozen(self) -> None:
        self.fails("memcached", self.memcached.pause, self.memcached.resume)

    def test_memcached_is_cut_off(self) -> None:
        self.fails("memcached", self.networks["memcached"].part, self.networks["memcached"].heal)

    def test_plugit_is_frozen(self) -> None:
        self.fails("directory", self.plugit.pause, self.plugit.resume)

    def test_plugit_is_cut_off(self) -> None:
        self.fails("directory", self.networks["directory"].part, self.networks["directory"].heal)
