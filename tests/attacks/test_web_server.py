"""Strangers against web servers: ``python -m webserver`` with bodies, downloads that are given up, and foreign names;
a node with requests in a row, answers that nobody reads, and heads that are held.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import stat
import statistics
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.attacks.case import FULL, MAX_GROWTH, MAX_MEDIAN_MS, PAUSE_SECONDS, STRANGER, AttackCase, Figures, size
from tests.web import Raw, ask, poll_path
from tests.webserver.test_cli import SECONDS, Process

BODY = size(2, 16) * 2**20
TOKEN = "a token of sixteen letters"
THREADS = 4
MAX_NOISE = 10_000_000
"""Octets by which the memory of an idle server was seen to grow."""
SITE = """
[server]
port = 0
[limits]
body_bytes = {body}
[topics]
token = "{token}"
[[uploads]]
folder = "uploads"
token = "{token}"
[[wsgi]]
at = "/app"
application = "downloads:application"
python_path = ["."]
threads = {threads}
seconds = 2
[[files]]
folder = "public"
"""
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/hello":
        return [b"hello"]
    return (b"x" * 65_536 for _ in range(1_000_000))
"""


class WebCase(unittest.TestCase):
    """A web server of its own for each test. The bystander reads a file over and over, from another address."""

    token = TOKEN

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        home = Path(folder.name)
        (home / "public").mkdir()
        (home / "uploads").mkdir()
        (home / "public" / "page.txt").write_text("a page")
        (home / "downloads.py").write_text(APPLICATION)
        (home / "SITE.toml").write_text(SITE.format(body=BODY, token=self.token, threads=THREADS))
        self.process = Process("webserver", str(home / "SITE.toml"))
        self.addCleanup(self.process.end)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """One request, on a connection of its own."""
        connection = http.client.HTTPConnection(*self.process.address, SECONDS, source_address=("127.0.0.2", 0))
        try:
            connection.request(method, path, body or None, {**headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def connect(self, head: str) -> socket.socket:
        """A client that has sent the head of a request."""
        client = socket.create_connection(self.process.address, SECONDS)
        self.addCleanup(client.close)
        client.sendall(head.replace("\n", "\r\n").encode())
        return client

    def held(self) -> int:
        """Octets of physical memory, and of unnamed files."""
        process = Path(f"/proc/{self.process.pid}")
        memory = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        found = 0
        for each in (process / "fd").iterdir():
            try:
                status = each.stat()
            except FileNotFoundError:
                continue
            found += status.st_size if stat.S_ISREG(status.st_mode) and not status.st_nlink else 0
        return memory + found

    @contextmanager
    def attack(self, name: str) -> Iterator[Figures]:
        """Do what is inside, and judge the server afterwards."""
        figures, over = Figures(name), threading.Event()
        latencies: list[float] = []
        wrong: list[object] = []
        most = [self.held()]

        def read() -> None:
            try:
                while not over.wait(PAUSE_SECONDS) or not latencies:
                    began = time.monotonic()
                    answer = self.ask("GET", "/page.txt")
                    latencies.append(time.monotonic() - began)
                    most.append(self.held())
                    if answer != (200, b"a page"):
                        wrong.append(answer)
            except OSError as error:
                wrong.append(error)

        bystander, began = threading.Thread(target=read), time.monotonic()
        bystander.start()
        try:
            yield figures
        finally:
            figures.seconds = time.monotonic() - began
            over.set()
            bystander.join()
        figures.growth, figures.publishes = max(*most, self.held()) - most[0], len(latencies)
        figures.median_ms, figures.worst_ms = statistics.median(latencies) * 1e3, max(latencies) * 1e3
        self.assertEqual(wrong, [])
        self.assertLess(figures.growth, MAX_GROWTH, str(figures))
        if FULL in os.environ:
            with Path(os.environ[FULL]).open("a") as file:
                file.write(json.dumps(asdict(figures)) + "\n")
            self.assertLess(figures.median_ms, MAX_MEDIAN_MS, str(figures))


def answer_to(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    found = b""
    while piece := client.recv(65_536):
        found += piece
    return found


class TestBodies(WebCase):
    def send_bodies(self, attack: Figures, head: str, count: int = 20) -> list[socket.socket]:
        """Clients that send all of a body but its last octet, or as much as the server lets them."""
        clients = [self.connect(head) for _ in range(count)]
        piece = bytes(65_536)
        for client in clients:
            try:
                for _ in range(BODY // len(piece) - 1):
                    client.sendall(piece)
                    attack.sent += len(piece)
            except OSError:  # it was refused
                continue
        return clients

    def test_of_strangers_are_not_read(self) -> None:
        for path in ("/uploads/x", "/channels/x"):
            head = f"PUT {path} HTTP/1.1\nhost: localhost\ncontent-length: {BODY}\n\n"
            with self.subTest(path):
                with self.attack(f"web server: bodies of strangers for {path}") as attack:
                    clients = self.send_bodies(attack, head)
                self.assertLess(attack.growth, BODY + MAX_NOISE)
                self.assertTrue(answer_to(self.connect(head)).startswith(b"HTTP/1.1 401 "))
                for client in clients:
                    client.close()

    def test_of_one_address_leave_room_for_others(self) -> None:
        head = f"PUT /uploads/x HTTP/1.1\nhost: localhost\nauthorization: Bearer {TOKEN}\ncontent-length: {BODY}\n\n"
        with self.attack("web server: unfinished bodies of one address") as attack:
            clients = self.send_bodies(attack, head)
            status, _ = self.ask("PUT", "/uploads/mine", bytes(BODY), Authorization=f"Bearer {TOKEN}")
            self.assertEqual(status, 201)
            del clients

    def test_whose_route_or_method_is_wrong_are_not_asked_for(self) -> None:
        for line, status in (("PUT /nothing", 405), ("POST /page.txt", 405), ("BREW /page.txt", 501)):
            client = self.connect(f"{line} HTTP/1.1\nhost: localhost\nexpect: 100-continue\ncontent-length: 9\n\n")
            with self.subTest(line):
                self.assertTrue(answer_to(client).startswith(b"HTTP/1.1 %d " % status))

    def test_a_chunked_body_is_refused_as_well(self) -> None:
        client = self.connect("PUT /uploads/x HTTP/1.1\nhost: localhost\ntransfer-encoding: chunked\n\n")
        self.assertTrue(answer_to(client).startswith(b"HTTP/1.1 401 "))


class TestForeignNames(WebCase):
    token = ""

    def test_a_page_whose_name_leads_here_gets_nothing(self) -> None:
        for method, path in (
            ("GET", "/page.txt"),
            ("PUT", "/channels/x"),
            ("PUT", "/uploads/x"),
            ("GET", "/app/hello"),
        ):
            with self.subTest(path):
                status, _ = self.ask(method, path, b"x" if method == "PUT" else b"", Host="rebound.example:8000")
                self.assertEqual(status, 421)

    def test_its_own_names_work(self) -> None:
        for name in ("localhost", "127.0.0.1:8000", "[::1]:8000", os.uname().nodename, "192.0.2.1"):
            with self.subTest(name):
                self.assertEqual(self.ask("GET", "/page.txt", Host=name), (200, b"a page"))


class TestDownloads(WebCase):
    """The threads of a WSGI application."""

    def give_up(self, attack: Figures, method: str) -> None:
        head = f"{method} /app/endless HTTP/1.1\nhost: localhost\n\n"
        for _ in range(THREADS * size(2, 5)):
            client = self.connect(head)
            client.recv(100_000)
            client.close()
            attack.sent += len(head)

    def test_that_are_given_up_free_their_thread(self) -> None:
        for method in ("GET", "HEAD"):
            with self.subTest(method), self.attack(f"web server: cancelled downloads, {method}") as attack:
                self.give_up(attack, method)
                self.assertEqual(self.ask("GET", "/app/hello"), (200, b"hello"))


HEAD = "HTTP/1.1\r\nhost: localhost\r\n\r\n"
STATION = "/topic/fm/4e1/ffff/99999/"
"""Station 3. Its topics may be written in capitals."""
SLIDE = b"TEXT " + bytes(b"x" * 250_000)
BLOCKED_SECONDS = 0.3
"""Seconds without room for another octet, after which the node reads no more."""


class NodeCase(AttackCase):
    """Strangers and stations against the HTTP server of a node. Strangers do not read unless a test says so."""

    def stranger(self, data: str = "") -> Raw:
        """A connection over which this was sent."""
        raw = Raw(self.server.http, source=STRANGER)
        self.addCleanup(raw.close)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.send(data.encode())
        return raw

    def push(self, raw: Raw, piece: bytes, attack: Figures, most: int) -> None:
        """Send over and over, until the node takes no more, or so many octets."""
        raw.socket.settimeout(BLOCKED_SECONDS)
        try:
            for _ in range(most // len(piece)):
                raw.send(piece)
                attack.sent += len(piece)
        except OSError:  # it is full, or has closed
            return

    def worked_off(self) -> None:
        """What was sent before has been read."""
        self.assertEqual(ask(self.server.http, "/nothing").status, 404)


class TestRequestsInARow(NodeCase):
    """A client that sends requests without waiting for the answers."""

    request = f"GET /nothing {HEAD}"

    def test_behind_a_poll_that_is_held_after_answers_that_are_not_read(self) -> None:
        self.radio("3.test", "test").publish(STATION + "text", SLIDE)
        answered, held = (f"GET {poll_path(STATION + name)} {HEAD}" for name in ("text", "image"))
        with self.attack("HTTP: octets behind a held poll") as attack:
            raw = self.stranger(60 * answered + held)
            self.push(raw, bytes(65_536), attack, size(150, 2_000) * 2**20)
            self.worked_off()
        self.assertLess(attack.growth, 30 * 2**20, str(attack))

    def test_behind_polls_of_many(self) -> None:
        with self.attack("HTTP: octets behind many held polls") as attack:
            poll = f"GET {poll_path(STATION + 'text')} {HEAD}"
            polls = [self.stranger(poll) for _ in range(size(1_500, 10_000))]
            for octets in (16_000, 65_536):  # the first of them do not stop the reading
                for raw in polls:
                    raw.socket.setblocking(False)
                    with contextlib.suppress(OSError):  # it was closed, or is full
                        attack.sent += raw.socket.send(bytes(octets))
                self.worked_off()

    def test_whose_long_answers_are_not_read(self) -> None:
        self.radio("3.test", "test").publish(STATION + "text", SLIDE)
        poll = f"GET {poll_path(STATION + 'text')} {HEAD}"
        with self.attack("HTTP: answers of one that are not read") as attack:
            self.push(self.stranger(), 100 * poll.encode(), attack, size(60_000, 1_000_000))
            self.worked_off()
        self.assertLess(attack.growth, 15 * 2**20, str(attack))

    def test_whose_answers_are_short_do_not_hold_up_others(self) -> None:
        with self.attack("HTTP: short answers that are not read") as attack:
            self.push(self.stranger(), 100 * self.request.encode(), attack, size(100_000, 10_000_000))
            self.worked_off()

    def test_of_one_who_reads_are_all_answered(self) -> None:
        number = 3_000
        with self.attack("HTTP: requests in a row, answers read"):
            raw = Raw(self.server.http, self.request.encode())
            self.addCleanup(raw.close)
            raw.send((number - 2) * self.request.encode())
            raw.send(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            self.assertEqual(raw.to_the_end().count(b"HTTP/1.1 404 "), number)


class TestHeads(NodeCase):
    def test_of_polls_that_are_held(self) -> None:
        head = f"GET {poll_path(*(f'{STATION}{number:0900}' for number in range(16)))} {HEAD}"
        clients = size(400, 10_000)
        with self.attack("HTTP: heads of held polls") as attack:
            for _ in range(clients):
                self.stranger(head)
                attack.sent += len(head)
            self.worked_off()
        self.assertLess(attack.growth, clients * 2 * len(head), str(attack))

    def test_with_cookies_of_bodies_that_do_not_come(self) -> None:
        head = "GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n"
        head += "".join(f"cookie: {';'.join(f'{number}=' for number in range(2_000))}\r\n" for _ in range(4)) + "\r\n"
        with self.attack("HTTP: cookies of unfinished requests") as attack:
            for _ in range(size(1_000, 3_000)):
                self.stranger(head)
                attack.sent += len(head)
            self.worked_off()
        self.assertLess(attack.growth, 60 * 2**20, str(attack))


class TestPolls(NodeCase):
    def test_that_name_a_topic_in_many_ways_and_read_no_answer(self) -> None:
        ways = ["".join(each) for each in itertools.product("fF", repeat=4)]
        topics = [f"{STATION.replace('ffff', way)}text" for way in ways]
        station = self.radio("3.test", "test")
        with self.attack("HTTP: polls for 16 spellings of a topic") as attack:
            polls = [self.stranger(f"GET {poll_path(*topics)} {HEAD}") for _ in range(size(60, 1_000))]
            self.worked_off()
            station.publish(STATION + "text", SLIDE)
            attack.sent = len(SLIDE)
            for poll in polls:
                poll.until(b"\r\n")

    def test_whose_answers_many_do_not_read(self) -> None:
        self.radio("3.test", "test").publish(STATION + "text", SLIDE)
        poll = f"GET {poll_path(STATION + 'text')} {HEAD}"
        with self.attack("HTTP: answers of many that are not read") as attack:
            for _ in range(size(600, 10_000)):
                self.stranger(poll)
                attack.sent += len(poll)
            self.worked_off()
            neighbour = http.client.HTTPConnection(*self.server.http, SECONDS, source_address=("127.0.0.2", 0))
            neighbour.request("GET", poll_path(STATION + "text"))
            self.assertGreater(len(neighbour.getresponse().read()), len(SLIDE))
            neighbour.close()
