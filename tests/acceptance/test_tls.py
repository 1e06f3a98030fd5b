"""TLS on every listener of a real node, to a real broker, and to a directory behind HTTPS."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from tests.acceptance.case import NodeCase
from tests.authority import Authority
from tests.message_socket import handshake
from tests.processes import Server, node
from tests.radio import Radio, frame
from tests.services import free_port
from tests.web import ask

HOST = "127.0.0.1"


class TlsRadio(Radio):
    """A radio that speaks STOMP over TLS."""

    context: ClassVar[ssl.SSLContext]

    def __init__(self, address: tuple[str, int], **options: Any) -> None:
        super().__init__(address, **options)
        self._socket = self.context.wrap_socket(self._socket, server_hostname=HOST)

    @property
    def certificate(self) -> Any:
        """The server's."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.getpeercert()

    @property
    def cipher(self) -> tuple[str, str, int] | None:
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.cipher()


class _Case(NodeCase):
    """A node with TLS."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="radiovis-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority(cls.folder)
        cls.file = cls.authority.issue("node.pem", HOST)
        TlsRadio.context = cls.authority.client()
        ports = {"STOMP_TLS_PORT": free_port(), "HTTPS_PORT": free_port(), "HTTP_PORT": free_port()}
        cls.settings = {"TLS_CERTIFICATE": cls.file, **ports, **cls.settings}
        cls.ports = ports
        super().setUpClass()

    folder: ClassVar[Path]
    authority: ClassVar[Authority]
    file: ClassVar[Path]
    ports: ClassVar[dict[str, int]]

    def secure_radio(self, login: str = "", passcode: str = "", version: str | None = None) -> TlsRadio:
        radio = TlsRadio.connect((HOST, self.ports["STOMP_TLS_PORT"]), login, passcode, version=version)
        self.addCleanup(radio.close)
        return radio

    def hello(self, context: ssl.SSLContext, port: str = "STOMP_TLS_PORT") -> ssl.SSLSocket:
        raw = socket.create_connection((HOST, self.ports[port]), timeout=20)
        self.addCleanup(raw.close)
        return context.wrap_socket(raw, server_hostname=HOST)


class TestClosingWebSockets(_Case):
    settings: ClassVar[dict[str, Any]] = {"fanout.listeners.client_limits.LINGER_SECONDS": 60}

    def test_after_a_protocol_error_tls_ends_at_once(self) -> None:
        client = self.hello(self.authority.client(), "HTTPS_PORT")
        client.sendall(handshake() + b"\x81\x05hello")  # not masked
        heard = b""
        while octets := client.recv(65_536):
            heard += octets
        self.assertIn(b"\r\n\r\n\x88", heard)
        self.assertIn((1002).to_bytes(2), heard)


class TestListeners(_Case):
    settings: ClassVar[dict[str, Any]] = {"ADMIN_PORT": free_port()}

    def test_a_station_and_a_radio_over_tls(self) -> None:
        radio = self.secure_radio()
        radio.subscribe(self.topic())
        plain = self.radio()
        plain.subscribe(self.topic())
        self.secure_radio("1.test", "test").publish(self.topic(), b"SHOW http://s/1.png")
        self.assertEqual(radio.frame().body, b"SHOW http://s/1.png")
        self.assertEqual(plain.frame().body, b"SHOW http://s/1.png")

    def test_a_refused_client_reads_why_though_it_goes_on_sending(self) -> None:
        """A reset would erase the ERROR; TLS closes its way."""
        for _ in range(20):
            radio = TlsRadio((HOST, self.ports["STOMP_TLS_PORT"]))
            self.addCleanup(radio.close)
            radio.send(frame("CONNECT", {"login": "1.test", "passcode": "wrong"}))
            radio.flood(b"SEND\n" * 2_000)
            self.assertEqual(radio.frame().get("message"), "Wrong credentials")
            self.assertTrue(radio.ends())

    def test_the_end_is_a_proper_one(self) -> None:
        """With a close_notify, so that nobody can cut a connection short unseen."""
        secure = self.hello(self.authority.client())
        secure.sendall(frame("CONNECT") + frame("DISCONNECT", {"receipt": "7"}))
        self.assertIn(b"receipt-id:7", b"".join(iter(lambda: secure.recv(65_536), b"")))

    def test_what_was_sent_before_an_abrupt_end_is_published(self) -> None:
        radio = self.radio()
        radio.subscribe(self.topic())
        station = self.secure_radio("1.test", "test")
        sends = [frame("SEND", {"destination": self.topic()}, b"TEXT %d" % number) for number in range(500)]
        station.send(b"".join(sends))
        station.close()
        self.assertEqual([radio.frame().body for _ in sends], [b"TEXT %d" % number for number in range(500)])

    def test_a_megabyte_each_way(self) -> None:
        radio = self.secure_radio(version="1.2")
        radio.subscribe(self.topic())
        station = self.secure_radio("1.test", "test", "1.2")
        bodies = [b"TEXT " + bytes([97 + number]) * 100_000 for number in range(10)]
        for body in bodies:
            station.publish(self.topic(), body)
            self.assertEqual(radio.frame().body, body)

    def test_https(self) -> None:
        self.secure_radio("1.test", "test").publish(self.topic(), b"TEXT Hello")
        connection = http.client.HTTPSConnection(
            HOST, self.ports["HTTPS_PORT"], timeout=20, context=self.authority.client()
        )
        self.addCleanup(connection.close)
        for _ in range(2):  # kept alive
            connection.request("GET", f"/radiodns/vis/vis.json?topic={self.topic()}")
            answer = connection.getresponse()
            self.assertEqual((answer.status, b"Hello" in answer.read()), (200, True))
        connection.request("GET", "/" + "x" * 20_000)
        answer = connection.getresponse()
        self.assertEqual((answer.status, json.loads(answer.read())["error"]), (414, "Request-URI Too Long"))

    def test_websockets_over_tls(self) -> None:
        import websocket  # noqa: PLC0415  (a client of its own)

        client = websocket.create_connection(
            f"wss://{HOST}:{self.ports['HTTPS_PORT']}/stomp",
            subprotocols=["v12.stomp"],
            sslopt={"ca_certs": str(self.authority.certificate)},
            timeout=20,
        )
        self.addCleanup(client.close)
        client.send(frame("CONNECT", {"accept-version": "1.2", "host": "x"}).decode())
        self.assertIn("CONNECTED", client.recv())

    def test_clients_are_counted_by_how_they_come(self) -> None:
        self.secure_radio()
        self.secure_radio()
        counts = ask(self.server.admin, "/api/overview").json["clients"]["by_protocol"]
        self.assertGreaterEqual(sum(each["clients"] for each in counts if each["protocol"] == "stomp-tls"), 2)

    def test_one_that_speaks_no_tls_is_one_line(self) -> None:
        with socket.create_connection((HOST, self.ports["STOMP_TLS_PORT"]), timeout=20) as plain:
            plain.sendall(frame("CONNECT"))
            while plain.recv(65_536):
                pass
        self.server.wait_for("tls.refused", address=HOST)


class TestStrength(_Case):
    def test_nothing_older_than_1_2(self) -> None:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            context = self.authority.client()
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = version
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.hello(context)

    def test_1_2_and_1_3(self) -> None:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = self.authority.client()
            context.minimum_version = context.maximum_version = version
            for port in ("STOMP_TLS_PORT", "HTTPS_PORT"):
                self.assertEqual(self.hello(context, port).version(), name)

    def test_no_cipher_without_forward_secrecy_or_authenticated_encryption(self) -> None:
        for weak in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"):
            context = self.authority.client()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"{weak}:@SECLEVEL=0")
            with self.assertRaises((ssl.SSLError, ConnectionError), msg=weak):
                self.hello(context)


class TestRenewal(_Case):
    """Certificates change while clients are connected."""

    def serial(self, radio: TlsRadio) -> str:
        return str(radio.certificate["serialNumber"])

    def test_a_new_certificate_is_for_those_who_come_and_a_broken_one_is_for_nobody(self) -> None:
        old = self.secure_radio()
        old.subscribe(self.topic())
        self.file.write_bytes(b"not a certificate")
        self.server.wait_for("certificate.refused")
        self.assertEqual(self.serial(self.secure_radio()), self.serial(old))
        self.authority.issue("node.pem", HOST)
        self.server.wait_for("certificate.loaded")
        new = self.secure_radio("1.test", "test")
        self.assertNotEqual(self.serial(new), self.serial(old))
        new.publish(self.topic(), b"TEXT still here")
        self.assertEqual(old.frame().body, b"TEXT still here")
        (refused,) = self.server.events("certificate.refused")
        self.assertIn("does not contain a certificate in PEM form", refused["error"])
        self.server.log.remove(refused)  # it is an error, and this test's own

    def test_who_renews_it_may_say_so_with_sighup(self) -> None:
        before = len(self.server.events("certificate.loaded"))
        self.server.hang_up()
        loaded = self.server.wait_for("certificate.loaded", count=before + 1)
        self.assertRegex(str(loaded["expires"]), r"^\d{4}-\d\d-\d\dT")


class TestStart(unittest.TestCase):
    """A certificate that cannot be used stops the start, and says why."""

    def refused(self, server: Server) -> str:
        self.addCleanup(server.close)
        server.launch()
        self.assertEqual(server.exit_code(), 2)
        return server.text

    def test_no_such_file(self) -> None:
        self.assertIn("nowhere.pem cannot be read: No such file", self.refused(node(TLS_CERTIFICATE="nowhere.pem")))

    def test_a_key_that_does_not_belong_to_it(self) -> None:
        server = node(TLS_CERTIFICATE="one.pem", TLS_KEY="two.pem")
        authority = Authority(server.folder)
        authority.issue("one.pem")
        authority.issue("two.pem")
        self.assertIn("the key in two.pem does not belong to the first certificate in one.pem", self.refused(server))

    def test_half_a_pair(self) -> None:
        self.assertIn("TLS_KEY needs TLS_CERTIFICATE", self.refused(node(TLS_KEY="two.pem")))
