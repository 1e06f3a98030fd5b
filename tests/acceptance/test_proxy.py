"""Behind a proxy that sends PROXY headers, and in front of those who only claim to be one."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from radiovis.directory.password import hash_password
from tests.authority import Authority
from tests.processes import Server
from tests.radio import Radio, frame
from tests.services import free_port
from tests.web import Raw

HOST = "127.0.0.1"
STATIONS = """
[[station]]
login = "1.rock"
password = "{password}"
networks = ["198.51.100.0/24", "2001:db8::/32"]
    [[station.channel]]
    topic = "/topic/id/tests._ebu.nowhere/topic1/"
"""


def v1(host: str, port: int = 4711) -> bytes:
    family = "TCP6 {} ::1" if ":" in host else "TCP4 {} 127.0.0.1"
    return f"PROXY {family.format(host)} {port} 61613\r\n".encode()


def v2(host: str, port: int = 4711) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    addresses = packed + packed + struct.pack("!HH", port, 61613)
    kind = 0x21 if ":" in host else 0x11
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, kind, len(addresses)) + addresses


class _Case(unittest.TestCase):
    settings: ClassVar[dict[str, Any]]
    server: ClassVar[Server]
    ports: ClassVar[dict[str, int]]
    authority: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-proxy-"))
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.authority = Authority(folder)
        certificate = cls.authority.issue("node.pem", HOST)
        (folder / "stations.toml").write_text(STATIONS.format(password=hash_password("geheim")))
        cls.ports = {name: free_port() for name in ("STOMP_TLS_PORT", "HTTPS_PORT", "HTTP_PORT")}
        cls.server = Server(
            STANDALONE=True,
            JOURNAL_FILE="",
            STATIONS_FILE=folder / "stations.toml",
            TLS_CERTIFICATE=certificate,
            **cls.ports,
            **cls.settings,
        )
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def tearDown(self) -> None:
        self.assertEqual(self.server.faults, [])

    def dial(self, header: bytes = b"") -> Radio:
        radio = Radio(self.server.address)
        self.addCleanup(radio.close)
        radio.send(header)
        return radio

    def login(self, radio: Radio) -> str:
        radio.send(frame("CONNECT", {"login": "1.rock", "passcode": "geheim"}))
        return radio.frame().command


class TestTrusted(_Case):
    settings: ClassVar[dict[str, Any]] = {
        "PROXY_FROM": "127.0.0.0/8, ::1",
        "fanout.listeners.client_limits.PROXY_HEADER_SECONDS": 1,
        "MAX_CONNECTIONS_PER_ADDRESS": 3,
    }

    def test_the_stations_networks_are_compared_with_the_real_address(self) -> None:
        for header in (v1, v2):
            for host, answer in {
                "198.51.100.7": "CONNECTED",
                "::ffff:198.51.100.8": "CONNECTED",
                "2001:db8::1": "CONNECTED",
                "203.0.113.1": "ERROR",
                "2001:db9::1": "ERROR",
            }.items():
                with self.subTest(header=header.__name__, host=host):
                    radio = self.dial(header(host))
                    self.assertEqual(self.login(radio), answer)
                    radio.close()

    def test_the_log_names_the_real_address(self) -> None:
        self.assertEqual(self.login(self.dial(v2("203.0.113.77"))), "ERROR")
        self.server.wait_for("login.refused", address="203.0.113.77")

    def test_in_pieces_and_with_the_clients_first_words_in_the_same_one(self) -> None:
        for header in (v1("198.51.100.20"), v2("2001:db8:20::1")):
            whole = header + frame("CONNECT", {"login": "1.rock", "passcode": "geheim"})
            one = self.dial(whole)
            self.assertEqual(one.frame().command, "CONNECTED")
            slow = self.dial()
            for octet in whole:
                slow.send(bytes([octet]))
            self.assertEqual(slow.frame().command, "CONNECTED")

    def test_a_cap_is_for_each_real_address(self) -> None:
        radios = [self.dial(v1(f"203.0.113.{number}") + frame("CONNECT")) for number in range(100, 110)]
        self.assertEqual({radio.frame().command for radio in radios}, {"CONNECTED"})
        crowd = [self.dial(v2(f"2001:db8:5:5::{number}") + frame("CONNECT")) for number in range(1, 4)]
        self.assertEqual({radio.frame().command for radio in crowd}, {"CONNECTED"})
        self.assertTrue(self.dial(v2("2001:db8:5:5:ffff::1")).ends())  # the same /64
        self.server.wait_for("client.turned_away", address="2001:db8:5:5:ffff::1")

    def test_the_header_comes_before_tls(self) -> None:
        with socket.create_connection((HOST, self.ports["STOMP_TLS_PORT"]), timeout=20) as raw:
            raw.sendall(v2("198.51.100.30"))
            with self.authority.client().wrap_socket(raw, server_hostname=HOST) as secure:
                secure.sendall(frame("CONNECT", {"login": "1.rock", "passcode": "geheim"}))
                self.assertIn(b"CONNECTED", secure.recv(65_536))

    def test_http_and_https(self) -> None:
        request = b"POST /services/publish HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        with Raw((HOST, self.ports["HTTP_PORT"]), v1("198.51.100.40") + request) as raw:
            self.assertIn(b"HTTP/1.1 4", raw.to_the_end())
        with socket.create_connection((HOST, self.ports["HTTPS_PORT"]), timeout=20) as plain:
            plain.sendall(v1("198.51.100.41"))
            with self.authority.client().wrap_socket(plain, server_hostname=HOST) as secure:
                secure.sendall(b"GET /radiodns/vis/vis.json HTTP/1.0\r\n\r\n")
                self.assertIn(b"HTTP/1.", secure.recv(65_536))

    def test_health_checks_of_the_proxy_itself(self) -> None:
        local = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20, 0, 0)
        for header in (local, b"PROXY UNKNOWN\r\n"):
            radio = self.dial(header + frame("CONNECT"))
            self.assertEqual(radio.frame().command, "CONNECTED")
            radio.close()

    def test_none_or_a_wrong_or_half_a_header_is_closed(self) -> None:
        wrong = (frame("CONNECT"), b"PROXY TCP4 198.51.100.1\r\n", b"PROXY " + b"x" * 200, v2("198.51.100.1")[:20], b"")
        for header in wrong:
            with self.subTest(header=header):
                self.assertTrue(self.dial(header).ends())
        self.server.wait_for("proxy.refused", address=HOST)

    def test_who_waits_for_ever_costs_nothing(self) -> None:
        before = self.server.open_files()
        waiting = [self.dial(b"PROXY TCP4 ") for _ in range(200)]
        self.assertTrue(all(radio.ends() for radio in waiting))
        self.assertLessEqual(self.server.open_files(), before + 5)


class TestUntrusted(_Case):
    """A header from somebody else is bad input, whatever it claims."""

    settings: ClassVar[dict[str, Any]] = {"PROXY_FROM": "10.0.0.0/8"}

    def test_over_stomp_nobody_becomes_somebody_else(self) -> None:
        for header in (v1("198.51.100.1"), v2("198.51.100.1")):
            radio = self.dial(header + frame("CONNECT", {"login": "1.rock", "passcode": "geheim"}))
            self.assertNotIn(b"CONNECTED", radio.rest())

    def test_over_tls_and_http(self) -> None:
        for header in (v1("198.51.100.1"), v2("198.51.100.1")):
            with Raw((HOST, self.ports["HTTP_PORT"]), header + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as raw:
                self.assertTrue(raw.to_the_end().startswith(b"HTTP/1.1 400 "))
            with (
                socket.create_connection((HOST, self.ports["STOMP_TLS_PORT"]), timeout=20) as plain,
                self.assertRaises((ssl.SSLError, ConnectionError)),
            ):
                plain.sendall(header)
                self.authority.client().wrap_socket(plain, server_hostname=HOST)

    def test_clients_without_a_header_are_served(self) -> None:
        radio = self.dial(frame("CONNECT"))
        self.assertEqual(radio.frame().command, "CONNECTED")
