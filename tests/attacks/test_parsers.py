"""Octets that cost a node much more than the client that sends them, and requests with two possible ends."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.artcast.server import ArtcastServer
from tests.attacks.case import AttackCase, Figures, size
from tests.processes import Address
from tests.radio import Radio, frame
from tests.web import Raw
from tests.webserver.test_cli import Process

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/parsers/image"
FILLED = 15_000
"""Octets of one header, below the limit for a line."""
HEAD = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n"


def request(path: str, *headers: bytes) -> bytes:
    return b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"host: 127.0.0.1", *headers, b"", b""])


class TestParsers(AttackCase):
    def ask(self, figures: Figures, octets: bytes) -> bytes:
        """The status line of the answer; the server may have closed before it has read all."""
        figures.sent += len(octets)
        with Raw(self.server.http) as raw:
            try:
                raw.send(octets)
            except (BrokenPipeError, ConnectionResetError):
                return b""
            return raw.until(b"\r\n")

    def test_accept_of_escaped_quotes(self) -> None:
        accept = b'accept: "' + b'\\"' * (FILLED // 2)
        with self.attack("Accept of escaped quotes") as figures:
            for _ in range(size(3, 20)):
                self.assertIn(b" 431 ", self.ask(figures, request("/channels", accept)))

    def test_accept_of_many_ranges(self) -> None:
        accept = b"accept: " + b"a/b;c=d," * (1_000 // 8)
        with self.attack("Accept of many ranges") as figures:
            for _ in range(size(20, 500)):
                self.assertIn(b" 406 ", self.ask(figures, request("/channels", accept)))

    def test_logins_of_secret_words(self) -> None:
        """A refused login is logged, with its name."""
        login = "token" * (FILLED // 5)
        with self.attack("logins of secret words") as figures:
            for _ in range(size(3, 20)):
                octets = frame("CONNECT", {"login": login, "passcode": "x"})
                figures.sent += len(octets)
                with Radio(self.server.address) as radio:
                    radio.send(octets)
                    radio.expect("ERROR")

    def test_headers_of_many_lines(self) -> None:
        lines = request("/", b"x: y", *[b" "] * 30_000)
        with self.attack("headers of many lines") as figures:
            for _ in range(size(3, 50)):
                self.assertIn(self.ask(figures, lines)[9:13], (b"400 ", b"431 ", b""))

    def test_empty_lines_behind_a_refusal(self) -> None:
        with self.attack("empty lines behind a refusal") as figures:
            for _ in range(size(2, 20)):
                self.ask(figures, b"\0\r\n" + b"\r\n" * 1_000_000)

    def test_frames_behind_an_error(self) -> None:
        with self.attack("line ends behind an ERROR") as figures:
            for _ in range(size(2, 20)):
                octets = b"BAD\n\n\0" + b"\n" * 1_000_000
                figures.sent += len(octets)
                with Radio(self.server.address) as radio:
                    try:
                        radio.send(octets)
                        radio.expect("ERROR")
                    except (OSError, AssertionError):
                        pass


UNCLEAR = {
    "more digits than Python reads": [b"content-length: " + b"1" * 4_301],
    "a number that no memory holds": [b"content-length: " + b"9" * 19],
    "a sign": [b"content-length: +5"],
    "two in one": [b"content-length: 5, 5"],
    "none": [b"content-length:"],
    "two lengths": [b"content-length: 5", b"content-length: 5"],
    "identity": [b"transfer-encoding: identity"],
    "identity and a length": [b"transfer-encoding: identity", b"content-length: 5"],
    "chunked and a length": [b"transfer-encoding: chunked", b"content-length: 5"],
    "a length and chunked": [b"content-length: 5", b"transfer-encoding: chunked"],
    "chunked twice": [b"transfer-encoding: chunked", b"transfer-encoding: chunked"],
    "chunked in a list": [b"transfer-encoding: gzip, chunked"],
    "chunked with an odd octet": [b"transfer-encoding: \x0bchunked"],
    "a blank before the colon": [b"transfer-encoding : chunked"],
    "a header of two lines": [b"transfer-encoding:", b" chunked"],
    "a line end within a header": [b"x: y\ntransfer-encoding: chunked"],
}
"""Headers that leave open where a request ends, or that nobody can read."""


class TestUnclearEnds(AttackCase):
    """On each listener of HTTP: 400, and the connection is closed, so that nothing behind it is a request."""

    def check(self, address: Address) -> None:
        for name, headers in UNCLEAR.items():
            with self.subTest(name), Raw(address) as raw:
                raw.send(
                    b"\r\n".join([b"POST / HTTP/1.1", b"host: 127.0.0.1", *headers, b"", b"5\r\nhello\r\n0\r\n\r\n"])
                )
                raw.send(HEAD + b"\r\n")
                said = raw.to_the_end()
                self.assertTrue(said.startswith(b"HTTP/1.1 400 "), said[:200])
                self.assertEqual(len(re.findall(rb"HTTP/1.1 \d", said)), 1, said)
        with Raw(address, b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n") as raw:
            self.assertTrue(raw.to_the_end().startswith(b"HTTP/1.1 400 "), "chunked in HTTP/1.0")

    def test_public_and_admin(self) -> None:
        with self.attack("requests with two possible ends"):
            self.check(self.server.http)
            self.check(self.server.admin)

    def test_artcast(self) -> None:
        with ArtcastServer() as server:
            self.check(server.client)
            self.assertEqual(server.faults, [])

    def test_webserver(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "SITE.toml").write_text('[server]\nip = "127.0.0.1"\nport = 0\n[topics]\n')
        site = Process("webserver", f"{folder.name}/SITE.toml")
        self.addCleanup(site.end)
        self.check(site.address)
