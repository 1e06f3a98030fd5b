"""Stations that log in with a client certificate: over STOMP with TLS, HTTPS and wss://."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import tempfile
import unittest
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from radiovis.directory.password import StoredPassword
from tests.authority import Authority
from tests.message_socket import MessageSocket
from tests.processes import Server
from tests.radio import Radio, frame
from tests.services import free_port
from tests.web import basic

HOST = "127.0.0.1"
TOPIC = "/topic/id/rock.example/1/"
NOBODYS = StoredPassword(1024, 8, 1, bytes(16), bytes(32))


class TlsRadio(Radio):
    """A radio over TLS, with a certificate or without."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(address)
        self._socket = context.wrap_socket(self._socket, server_hostname=HOST)

    def log_in(self, login: str, passcode: str = "") -> str:
        """The command of the answer."""
        self.send(frame("CONNECT", {"login": login, "passcode": passcode} if login else {}))
        return self.frame().command


class TestClientCertificates(unittest.TestCase):
    def setUp(self) -> None:
        self.ports = {"STOMP_TLS_PORT": free_port(), "HTTPS_PORT": free_port()}
        self.folder = Path(tempfile.mkdtemp(prefix="radiovis-clients-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.authority = Authority(self.folder)
        self.clients = Authority(self.folder, "Clients")
        self.file = self.clients.issue("rock.pem")
        certificate = x509.load_pem_x509_certificate(self.file.read_bytes())
        self.fingerprint = "sha256:" + certificate.fingerprint(hashes.SHA256()).hex()
        self.subject = certificate.subject.rfc4514_string()

    def serve(self, known: str, head: str = "") -> Server:
        """A node whose station has this certificate, and no password."""
        certificate = self.authority.issue("node.pem", HOST)
        settings: dict[str, Any] = {"TLS_CERTIFICATE": certificate, "STATIONS_FILE": "stations.toml", **self.ports}
        server = Server(RABBITMQ_LOOPBACK=True, **settings)
        self.addCleanup(server.close)
        (server.folder / "stations.toml").write_text(
            f'{head}\n[[station]]\nlogin = "1.rock"\n{known}\n[[station.channel]]\ntopic = "{TOPIC}"\n'
            f'[[station]]\nlogin = "2.jazz"\npassword = "{NOBODYS}"\n'
        )
        return server.start()

    def context(self, file: Path | None) -> ssl.SSLContext:
        context = self.authority.client()
        if file is not None:
            context.load_cert_chain(file)
        return context

    def radio(self, file: Path | None) -> TlsRadio:
        radio = TlsRadio((HOST, self.ports["STOMP_TLS_PORT"]), self.context(file))
        self.addCleanup(radio.close)
        return radio

    def post(self, file: Path | None, password: str = "") -> int:
        connection = http.client.HTTPSConnection(HOST, self.ports["HTTPS_PORT"], timeout=20, context=self.context(file))
        self.addCleanup(connection.close)
        headers = {"content-type": "application/x-www-form-urlencoded", "authorization": basic("1.rock", password)}
        connection.request("POST", "/services/1", "text=x", headers)
        return connection.getresponse().status

    def test_by_fingerprint_over_stomp(self) -> None:
        server = self.serve(f'certificates = ["{self.fingerprint}"]')
        self.assertEqual(self.radio(self.file).log_in("1.rock"), "CONNECTED")
        server.wait_for("login.accepted", login="1.rock", address=HOST, interface="stomp-tls")
        self.assertEqual(self.radio(self.file).log_in("2.jazz"), "ERROR")
        self.assertEqual(self.radio(self.clients.issue("other.pem")).log_in("1.rock"), "ERROR")
        self.assertEqual(self.radio(None).log_in("1.rock", "x"), "ERROR")
        self.assertEqual(self.radio(None).log_in(""), "CONNECTED")
        self.assertEqual(server.faults, [])

    def test_by_fingerprint_over_https(self) -> None:
        server = self.serve(f'certificates = ["{self.fingerprint}"]')
        self.assertEqual((self.post(self.file), self.post(None)), (202, 401))
        server.wait_for("login.accepted", login="1.rock", interface="https")

    def test_by_fingerprint_over_a_websocket(self) -> None:
        self.serve(f'certificates = ["{self.fingerprint}"]')
        address = (HOST, self.ports["HTTPS_PORT"])
        for file, answer in ((self.file, "CONNECTED"), (None, "ERROR")):
            with self.subTest(answer):
                connected = self.context(file).wrap_socket(socket.create_connection(address), server_hostname=HOST)
                self.addCleanup(connected.close)
                websocket = MessageSocket(connected, "/stomp")
                websocket.say("CONNECT\nlogin:1.rock\npasscode:\n\n\0")
                self.assertTrue(str(websocket.message()).startswith(answer))

    def test_by_subject(self) -> None:
        head = f'client_ca = "{self.clients.certificate}"'
        self.serve(f'certificates = ["{self.subject}"]', head)
        self.assertEqual(self.radio(self.file).log_in("1.rock"), "CONNECTED")
        forger = Authority(self.folder, "Forger")
        self.assertEqual(self.radio(forger.issue("forged.pem")).log_in("1.rock"), "ERROR")

    def test_without_certificates_in_the_file_none_is_asked_for(self) -> None:
        """A browser would ask its user which one to show."""
        server = self.serve(f'password = "{NOBODYS}"')
        self.assertEqual(self.radio(self.file).log_in("1.rock"), "ERROR")
        self.assertEqual(server.faults, [])
