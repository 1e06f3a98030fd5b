"""health, against listeners that answer well, badly, and not at all."""

from __future__ import annotations

import http.server
import json
import threading
import unittest
from collections.abc import Callable

from tests.radiovis.commands.calling import Done, call
from tests.services import free_port, free_ports_in_a_row

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def answering(status: int, body: object) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(json.dumps(body).encode())

    return answer


class Health(unittest.TestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    def listen_in_a_row(self, *answers: Answer) -> str:
        """Listeners at ports that follow each other, the one behind them free; the first port."""
        first = free_ports_in_a_row(len(answers) + 1)
        for number, answer in enumerate(answers, first):
            self.listen(answer, number)
        return str(first)

    def listen(self, answer: Answer, number: int = 0) -> str:
        """An operators' listener that answers so; its port. What all were asked is in :attr:`asked`."""
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", number), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        for clean in (server.server_close, thread.join, server.shutdown):
            self.addCleanup(clean)
        return str(server.server_address[1])

    def failed(self, done: Done, text: str) -> None:
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"server.py: health: {text}\n")

    def test_alive(self) -> None:
        port = self.listen(answering(200, {"live": True}))
        done = call("health", ADMIN_PORT=port)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "alive\n", ""))
        self.assertEqual(self.asked, [("/healthz", None)])

    def test_ready_with_a_token_and_who_listens_everywhere_is_asked_here(self) -> None:
        port = self.listen(answering(200, {"ready": True}))
        done = call("health", "--ready", "--admin-ip", "0.0.0.0", ADMIN_PORT=port, ADMIN_TOKEN="sixteen-letters-")
        self.assertEqual((done.returncode, done.stdout), (0, "ready\n"))
        self.assertEqual(self.asked, [("/readyz", "Bearer sixteen-letters-")])

    def test_not_ready_and_why(self) -> None:
        port = self.listen(answering(503, {"ready": False, "reasons": ["bus: refused", "stations: never read"]}))
        done = call("health", "--ready", ADMIN_PORT=port)
        self.failed(done, "/readyz answers 503; bus: refused; stations: never read")
        port = self.listen(answering(503, {"ready": False}))
        self.failed(call("health", "--ready", ADMIN_PORT=port), "/readyz answers 503")

    def test_the_watchdog_where_no_node_listens(self) -> None:
        port = self.listen(answering(200, {"live": True}))
        done = call("health", ADMIN_PORT=str(free_port()), FB_ADMIN_PORT=port)
        self.assertEqual((done.returncode, len(self.asked)), (0, 1))

    def test_nobody(self) -> None:
        ports = [str(free_port()), str(free_port())]
        done = call("health", ADMIN_PORT=ports[0], FB_ADMIN_PORT=ports[1])
        self.failed(done, f"nothing listens at 127.0.0.1:{ports[0]} or 127.0.0.1:{ports[1]}")
        done = call("health", ADMIN_PORT="0", FB_ADMIN_PORT="0")
        self.failed(done, "there is no port to ask: ADMIN_PORT and FB_ADMIN_PORT are 0")

    def test_who_does_not_answer(self) -> None:
        release = threading.Event()
        port = self.listen(lambda _: (bool(release.wait(20)) and None) or None)
        self.addCleanup(release.set)
        self.failed(call("health", "--seconds", "0.2", ADMIN_PORT=port), f"127.0.0.1:{port} does not answer: timed out")

    def test_who_is_something_else(self) -> None:
        port = self.listen(lambda handler: (handler.wfile.write(b"220 mail.example ESMTP\r\n") and None) or None)
        done = call("health", ADMIN_PORT=port)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"127.0.0.1:{port} does not answer: ", done.stderr)

    def test_every_worker_is_asked(self) -> None:
        first = self.listen_in_a_row(answering(200, {"ready": True}), answering(200, {"ready": True}))
        done = call("health", "--ready", ADMIN_PORT=first, WORKERS="2")
        self.assertEqual((done.returncode, done.stdout, len(self.asked)), (0, "ready\n", 2))

    def test_one_worker_that_is_not_ready(self) -> None:
        first = self.listen_in_a_row(answering(200, {"ready": True}), answering(503, {"reasons": ["bus: refused"]}))
        done = call("health", "--ready", ADMIN_PORT=first, WORKERS="2")
        self.failed(done, "worker 1: /readyz answers 503; bus: refused")

    def test_one_worker_that_does_not_listen(self) -> None:
        first = self.listen_in_a_row(answering(200, {"live": True}))
        done = call("health", ADMIN_PORT=first, WORKERS="2", FB_ADMIN_PORT=str(free_port()))
        self.failed(done, f"nothing listens at 127.0.0.1:{int(first) + 1}")

    def test_wrong_usage(self) -> None:
        for words in (["--secnds", "1"], ["--admin-port", "x"], ["--seconds", "never"]):
            self.assertEqual(call("health", *words).returncode, 2)
