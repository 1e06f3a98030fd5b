"""TLS to the servers a node depends on: a real broker, and a directory behind HTTPS."""

from __future__ import annotations

import shutil
import ssl
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from tests.authority import Authority
from tests.processes import Server
from tests.radio import Radio, frame
from tests.services import RabbitMQ, free_port

HOST = "127.0.0.1"


class _Case(unittest.TestCase):
    folder: ClassVar[Path]
    authority: ClassVar[Authority]
    stranger: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="radiovis-secure-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority(cls.folder)
        cls.stranger = Authority(cls.folder, "Stranger")

    def serve(self, *flags: str, **settings: object) -> Server:
        server = Server(*flags, **settings)
        self.addCleanup(server.close)
        return server.start()


class SecureRabbitMQ(RabbitMQ):
    """A broker that speaks AMQP over TLS as well, at ``secure_port``."""

    def __init__(self, authority: Path, certificate: Path, *, asks_clients: bool = False) -> None:
        super().__init__()
        self.secure_port = free_port()
        lines = (
            f"listeners.ssl.default = {HOST}:{self.secure_port}",
            f"ssl_options.cacertfile = {authority}",
            f"ssl_options.certfile = {certificate}",
            f"ssl_options.keyfile = {certificate}",
            f"ssl_options.verify = {'verify_peer' if asks_clients else 'verify_none'}",
            f"ssl_options.fail_if_no_peer_cert = {str(asks_clients).lower()}",
        )
        with (self.folder / "rabbitmq.conf").open("a") as settings:
            settings.write("\n".join(lines) + "\n")


class TestBroker(_Case):
    broker: ClassVar[SecureRabbitMQ]
    asks_clients: ClassVar[bool] = False

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        certificate = cls.authority.issue("broker.pem", HOST)
        cls.broker = SecureRabbitMQ(cls.authority.certificate, certificate, asks_clients=cls.asks_clients)
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def node(self, host: str = HOST, **settings: object) -> Server:
        broker = self.broker
        return self.serve(
            "--test",
            RABBITMQ_HOST=host,
            RABBITMQ_PORT=broker.secure_port,
            RABBITMQ_TLS=True,
            RABBITMQ_USER=broker.user,
            RABBITMQ_PASSWORD=broker.password,
            RABBITMQ_VHOST=broker.vhost,
            MONITORING_ENABLED=False,
            **settings,
        )

    def test_two_nodes_hear_each_other(self) -> None:
        one, other = (self.node(RABBITMQ_CA=self.authority.certificate) for _ in range(2))
        for server in (one, other):
            server.wait_for("bus.caught_up")
        radio = Radio.connect(other.address)
        self.addCleanup(radio.close)
        radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/image")
        station = Radio.connect(one.address, "1.test", "test")
        self.addCleanup(station.close)
        station.publish("/topic/id/tests._ebu.nowhere/topic1/image", b"SHOW http://s/1.png")
        self.assertEqual(radio.frame().body, b"SHOW http://s/1.png")

    def test_a_broker_others_vouch_for_gets_no_password(self) -> None:
        server = self.node(RABBITMQ_CA=self.stranger.certificate)
        self.assertIn("certificate verify failed", str(server.wait_for("bus.lost")["reason"]))
        self.assertEqual(server.events("bus.connected"), [])

    def test_a_broker_with_another_name_gets_no_password(self) -> None:
        server = self.node("localhost", RABBITMQ_CA=self.authority.certificate)
        _, _, reason = str(server.wait_for("bus.lost")["reason"]).partition(": ")  # Behind the host and its port.
        self.assertIn("localhost", reason)
        self.assertEqual(server.events("bus.connected"), [])


class TestBrokerThatAsksForACertificate(TestBroker):
    """The same, and nobody gets as far as a password without a certificate."""

    asks_clients: ClassVar[bool] = True

    def node(self, host: str = HOST, **settings: object) -> Server:
        return super().node(host, **{"RABBITMQ_CERT": self.authority.issue("node.pem", HOST), **settings})

    def test_one_without_a_certificate_gets_nowhere(self) -> None:
        server = self.node(RABBITMQ_CA=self.authority.certificate, RABBITMQ_CERT="")
        server.wait_for("bus.lost")
        self.assertEqual(server.events("bus.connected"), [])


class _PlugIt(BaseHTTPRequestHandler):
    """Knows everybody, and no topic."""

    def do_GET(self) -> None:
        body = b'{"result": true}' if "check_auth" in self.path else b'{"list": [], "topics": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


class TestDirectory(_Case):
    port: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cls.authority.issue("plugit.pem", HOST))
        plugit = ThreadingHTTPServer((HOST, 0), _PlugIt)
        plugit.socket = context.wrap_socket(plugit.socket, server_side=True)
        threading.Thread(target=plugit.serve_forever, daemon=True).start()
        cls.addClassCleanup(plugit.server_close)
        cls.addClassCleanup(plugit.shutdown)
        cls.port = plugit.server_address[1]

    def login(self, authority: Authority, host: str = HOST) -> str:
        server = self.serve(
            RABBITMQ_LOOPBACK=True,
            RADIODNS_API_URL=f"https://{host}:{self.port}/action/radiovis/api/secret-of-plugit/",
            DIRECTORY_CA=authority.certificate,
            **{"radiovis.directory.plugit_http.ATTEMPTS": 1},
        )
        radio = Radio(server.address)
        self.addCleanup(radio.close)
        radio.send(frame("CONNECT", {"login": "1.rock", "passcode": "geheim"}))
        answer = radio.frame().command
        self.assertNotIn("secret-of-plugit", server.text)
        return answer

    def test_one_we_trust(self) -> None:
        self.assertEqual(self.login(self.authority), "CONNECTED")

    def test_one_we_do_not_trust_lets_nobody_in(self) -> None:
        self.assertEqual(self.login(self.stranger), "ERROR")

    def test_one_with_another_name_lets_nobody_in(self) -> None:
        self.assertEqual(self.login(self.authority, "localhost"), "ERROR")
