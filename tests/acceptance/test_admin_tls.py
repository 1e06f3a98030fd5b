"""The operators' listeners with TLS: of a node, of ``fallback.py``, and of several workers."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from tests import services
from tests.acceptance.cluster import node as cluster_node
from tests.acceptance.watched import until
from tests.authority import Authority
from tests.processes import Server, node
from tests.prometheus import parse
from tests.radiovis.commands.calling import call
from tests.radiovis.watchdog.daemon import Daemon
from tests.services import free_port, free_ports_in_a_row

HOST = "127.0.0.1"
TOKEN = "correct-horse-battery"


class Operator:
    """Asks over one connection, which is kept."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self._connection = http.client.HTTPSConnection(HOST, port, timeout=20, context=context)
        self._connection.connect()
        sock: Any = self._connection.sock
        self.serial: str = sock.getpeercert()["serialNumber"]

    def ask(self, path: str, token: str = TOKEN) -> tuple[int, bytes]:
        self._connection.putrequest("GET", path)
        if token:
            self._connection.putheader("authorization", f"Bearer {token}")
        self._connection.endheaders()
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


class AdminTlsCase(unittest.TestCase):
    """One process, with a certificate.

    :cvar port: the one with TLS.
    """

    server: ClassVar[Server]
    port: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="radiovis-admin-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority(cls.folder)
        cls.port = free_port()
        certificate = cls.authority.issue("node.pem", HOST)
        cls.server = cls.process(
            TLS_CERTIFICATE=certificate, STOMP_TLS_PORT=0, HTTPS_PORT=0, ADMIN_TOKEN=TOKEN, MONITORING_ENABLED=False
        )
        cls.addClassCleanup(cls.server.close)
        cls.begin()

    @classmethod
    def process(cls, **settings: object) -> Server:
        """What is tested, not yet started."""
        raise NotImplementedError

    @classmethod
    def begin(cls) -> None:
        """Start it, and wait until it listens."""
        cls.server.start()

    def operator(self) -> Operator:
        operator = Operator(self.authority.client(), self.port)
        self.addCleanup(operator.close)
        return operator

    def check_who_may_ask(self) -> None:
        operator = self.operator()
        self.assertEqual(operator.ask("/metrics")[0], 200)
        self.assertEqual(operator.ask("/metrics", token="guess")[0], 401)
        self.assertEqual(operator.ask("/metrics", token="")[0], 401)
        self.assertEqual(operator.ask("/healthz", token="")[0], 200)

    def check_health(self, *flags: str, **ports: int) -> None:
        """As a container asks, which has no curl."""
        nowhere = dict.fromkeys(("ADMIN_PORT", "ADMIN_TLS_PORT", "FB_ADMIN_PORT", "FB_ADMIN_TLS_PORT"), 0)
        settings = {name: str(number) for name, number in (nowhere | ports).items()}
        done = call("health", *flags, ADMIN_TOKEN=TOKEN, **settings)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def check_that_it_speaks_tls_only(self) -> None:
        plain = http.client.HTTPConnection(HOST, self.port, timeout=20)
        self.addCleanup(plain.close)
        plain.request("GET", "/healthz")
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            plain.getresponse()

    def check_a_new_certificate(self, **process: object) -> None:
        """With SIGHUP; who is connected stays so. A broken one is not taken."""
        old = self.operator()
        self.assertEqual(old.ask("/healthz")[0], 200)
        before = len(self.server.events("certificate.loaded", **process))
        self.authority.issue("node.pem", HOST)
        self.server.hang_up()
        self.server.wait_for("certificate.loaded", count=before + 1, **process)
        new = self.operator()
        self.assertNotEqual(new.serial, old.serial)
        self.assertEqual(old.ask("/metrics")[0], 200)
        (self.folder / "node.pem").write_bytes(b"not a certificate")
        self.server.hang_up()
        self.server.wait_for("certificate.refused", **process)
        self.assertEqual(self.operator().serial, new.serial)
        self.assertEqual(new.ask("/metrics")[0], 200)


class TestNode(AdminTlsCase):
    """Nothing in the clear."""

    @classmethod
    def process(cls, **settings: object) -> Server:
        return node(ADMIN_PORT=0, ADMIN_TLS_PORT=cls.port, **settings)

    def test_it_may_be_the_only_one(self) -> None:
        ready = self.server.wait_for("server.ready")
        self.assertEqual((ready["admin_tls"], ready.get("admin")), (f"{HOST}:{self.port}", None))
        self.check_who_may_ask()
        self.check_health("--ready", ADMIN_TLS_PORT=self.port)
        self.check_that_it_speaks_tls_only()


class TestFallback(AdminTlsCase):
    @classmethod
    def process(cls, **settings: object) -> Server:
        broker = services.rabbitmq()
        ports = {"FB_ADMIN_PORT": free_port(), "FB_ADMIN_TLS_PORT": cls.port}
        return Daemon(broker, f"radiovis.{uuid4()}", "--test", **ports, TEST_FB_QUEUE=f"fb.{uuid4()}", **settings)

    def test_who_may_ask(self) -> None:
        self.assertEqual(self.server.wait_for("fallback.ready")["admin_tls"], f"{HOST}:{self.port}")
        self.check_who_may_ask()
        self.check_health(FB_ADMIN_TLS_PORT=self.port)
        self.check_that_it_speaks_tls_only()

    def test_until_when_the_certificate_is_valid(self) -> None:
        told = parse(self.operator().ask("/metrics")[1])
        self.assertGreater(told["fanout_certificate_expires_timestamp_seconds"][()], time.time())

    def test_a_new_certificate(self) -> None:
        self.check_a_new_certificate()


class TestWorkers(AdminTlsCase):
    """Two, each with a port of its own, and nothing in the clear."""

    @classmethod
    def process(cls, **settings: object) -> Server:
        cls.port = free_ports_in_a_row(2)
        ports = {"ADMIN_PORT": 0, "ADMIN_TLS_PORT": cls.port}
        return cluster_node(services.rabbitmq(), f"radiovis.{uuid4()}", WORKERS=2, **ports, **settings)

    @classmethod
    def begin(cls) -> None:
        cls.server.launch()
        for worker in (0, 1):
            cls.server.wait_for("server.ready", worker=worker)
            cls.server.wait_for("bus.caught_up", worker=worker)

    def test_who_may_ask(self) -> None:
        self.check_who_may_ask()
        self.check_that_it_speaks_tls_only()

    def test_each_answers_at_its_port(self) -> None:
        for port in (self.port, self.port + 1):
            operator = Operator(self.authority.client(), port)
            self.addCleanup(operator.close)
            until(lambda operator=operator: operator.ask("/readyz")[0] == 200, "ready")
            self.assertEqual(parse(operator.ask("/metrics")[1])["fanout_ready"], {(): 1})
        self.check_health("--ready", ADMIN_TLS_PORT=self.port, WORKERS=2)

    def test_a_new_certificate(self) -> None:
        self.check_a_new_certificate(worker=0)


class TestRefused(unittest.TestCase):
    """One line says what is wrong, and the exit code is 2."""

    def refused(self, server: Server, text: str) -> None:
        self.addCleanup(server.close)
        server.launch()
        self.assertEqual(server.exit_code(), 2)
        self.assertEqual(len(server.text.splitlines()), 1, server.text)
        self.assertRegex(server.text, text)

    def test_fallback_without_a_token_or_a_certificate(self) -> None:
        nowhere = services.AmqpAddress(HOST, 1)
        for given in ({}, {"ADMIN_TOKEN": TOKEN}):
            daemon = Daemon(nowhere, "x", "--test", FB_ADMIN_TLS_PORT=free_port(), **given)
            self.refused(daemon, "FB_ADMIN_TLS_PORT: .*ADMIN_TOKEN and TLS_CERTIFICATE")

    def test_fallback_with_a_port_that_is_taken(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-admin-tls-"))
        self.addCleanup(shutil.rmtree, folder)
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            settings = {"ADMIN_TOKEN": TOKEN, "TLS_CERTIFICATE": Authority(folder).issue("node.pem", HOST)}
            daemon = Daemon(services.AmqpAddress(HOST, 1), "x", "--test", FB_ADMIN_TLS_PORT=port, **settings)
            self.refused(daemon, f"cannot listen on {HOST}:{port}")
