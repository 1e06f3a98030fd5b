"""The end of ``python -m webserver``: what happens to clients after a SIGTERM."""

from __future__ import annotations

import socket
import tempfile
import time
import unittest
from pathlib import Path

from tests.web import Events, Raw
from tests.webserver.test_cli import SECONDS, Process

SITE = """
[server]
port = 0
{server}
[topics]
[[uploads]]
folder = "uploads"
[[wsgi]]
at = "/app"
application = "slow:application"
python_path = ["."]
seconds = 120
[[files]]
folder = "."
"""
APPLICATION = """
import pathlib, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return made(pathlib.Path(__file__).with_name("go"))

def made(go):
    yield b"first"
    while not go.exists():
        time.sleep(0.01)
    yield b"last"
"""
HOST = b" HTTP/1.1\r\nhost: localhost\r\n"


class EndCase(unittest.TestCase):
    server = ""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = Path(temporary.name)
        (self.home / "uploads").mkdir()
        (self.home / "slow.py").write_text(APPLICATION)
        (self.home / "large").write_bytes(b"x" * 30_000_000)
        (self.home / "SITE.toml").write_text(SITE.format(server=self.server))
        self.process = Process("webserver", str(self.home / "SITE.toml"))
        self.addCleanup(self.process.kill)

    def client(self, data: bytes) -> Raw:
        raw = Raw(self.process.address, data)
        self.addCleanup(raw.close)
        return raw

    def octets(self, client: Raw) -> int:
        """How many come to the end, those that came with the head included. They are not kept."""
        return len(client._received) + sum(iter(lambda: len(client.socket.recv(1_000_000)), 0))

    def upload(self) -> Raw:
        """Half an upload, of which the server knows."""
        raw = self.client(b"PUT /uploads/x" + HOST + b"content-length: 10\r\nexpect: 100-continue\r\n\r\n")
        raw.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        raw.send(b"12345")
        return raw


class InOrder(EndCase):
    server = "grace_seconds = 120"  # of a busy machine; the default is in the reference of all keys

    def test_running_answers_end_and_then_the_process_does(self) -> None:
        streamed = self.client(b"GET /app/" + HOST + b"\r\n")
        streamed.until(b"first\r\n")
        download = self.client(b"GET /large" + HOST + b"\r\n")
        head = download.until(b"\r\n\r\n")
        upload = self.upload()
        asking = self.client(b"GET /slow.py HTTP/1.1\r\nho")
        idle = self.client(b"HEAD /slow.py" + HOST + b"\r\n")
        idle.until(b"\r\n\r\n")
        poll = self.client(b"GET /channels/a?wait=60" + HOST + b"\r\n")
        events = Events(self.process.address, "/channels/a", accept="text/event-stream")
        self.addCleanup(events.close)
        events.until(b"retry: 3000")

        self.process.ask_to_end("http.ending")
        with self.assertRaises(OSError), socket.create_connection(self.process.address, timeout=SECONDS):
            pass
        self.assertEqual(idle.to_the_end(), b"")
        self.assertTrue(poll.to_the_end().startswith(b"HTTP/1.1 204 No Content\r\n"))
        self.assertTrue(events.to_the_end().endswith(b"\r\n0\r\n\r\n"))
        upload.send(b"67890")
        answer = upload.to_the_end().lower()
        self.assertTrue(answer.startswith(b"http/1.1 201 created\r\n"))
        self.assertIn(b"\r\nconnection: close\r\n", answer)
        self.assertEqual((self.home / "uploads" / "x").read_bytes(), b"1234567890")
        asking.send(b"st: localhost\r\n\r\n" + b"GET /large" + HOST + b"\r\n")
        answer = asking.to_the_end()
        self.assertIn(b"Connection: close\r\n", answer)
        self.assertTrue(answer.endswith(APPLICATION.encode()))
        self.assertEqual(self.octets(download), 30_000_000, head)
        (self.home / "go").touch()
        self.assertEqual(streamed.to_the_end(), b"4\r\nlast\r\n0\r\n\r\n")
        self.assertEqual(self.process.exit_code(), 0)
        self.assertEqual(self.process.said("http.cut_off"), "")

    def test_without_clients_it_ends_at_once(self) -> None:
        begun = time.monotonic()
        self.assertEqual(self.process.end(), 0)
        self.assertLess(time.monotonic() - begun, 60)


class CutOff(EndCase):
    server = "grace_seconds = 1"

    def test_a_client_that_does_not_read_and_an_application_that_does_not_end(self) -> None:
        download = self.client(b"GET /large" + HOST + b"\r\n")
        head = download.until(b"\r\n\r\n")
        streamed = self.client(b"GET /app/" + HOST + b"\r\n")
        streamed.until(b"first\r\n")
        dripping = self.upload()
        begun = time.monotonic()
        self.process.ask_to_end("http.ending")
        self.assertEqual(self.process.exit_code(), 0)
        self.assertGreater(time.monotonic() - begun, 1)
        self.assertRegex(self.process.said("http.cut_off"), r'"connections": 3\b')
        for client in (streamed, dripping):
            with self.assertRaises(ConnectionError):
                client.to_the_end()
        self.assertIn(b"content-length: 30000000\r\n", head.lower())
        self.assertEqual(list((self.home / "uploads").iterdir()), [])


class AtOnce(EndCase):
    server = "grace_seconds = 0"

    def test_nobody_is_waited_for(self) -> None:
        streamed = self.client(b"GET /app/" + HOST + b"\r\n")
        streamed.until(b"first\r\n")
        self.assertEqual(self.process.end(), 0)
        with self.assertRaises(ConnectionError):
            streamed.to_the_end()
