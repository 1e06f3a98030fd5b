"""The operators' listener of real processes: who may ask, and what the dashboard asks."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from tests import services
from tests.acceptance.admin_case import AdminCase, admin_port, until
from tests.processes import node
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import ask, basic

TOKEN = "correct-horse-battery"


class TestOverview(AdminCase):
    settings: ClassVar[dict[str, Any]] = {"OUTBOX_BYTES": 4096}

    def test_status_counts_clients_of_services(self) -> None:
        channel = self.topic("")
        both, text = self.radio(), self.radio()
        both.subscribe(channel + "image", fast_reply=False)
        for radio in (both, text):
            radio.subscribe(channel + "text", fast_reply=False)
        until(lambda: f"2 {channel}".encode() in self.ask("/status").body.splitlines())
        lines = self.ask("/status").body.decode().splitlines()
        self.assertEqual(lines[0], "OK")
        self.assertRegex(lines[1], r"^\d+ clients$")

    def test_last_messages(self) -> None:
        station = self.station(version="1.2")
        station.publish(self.topic(), b"SHOW http://s/<b>.png", {"link": "http://l/", "message-id": "7"})
        (topic,) = self.ask("/api/topics?prefix=" + self.topic("")).json["topics"]
        self.assertEqual((topic["topic"], topic["clients"]), (self.topic(), {}))
        last = topic["last"]
        self.assertEqual((last["message_id"], last["body"]), ("7", "SHOW http://s/<b>.png"))
        self.assertEqual(last["headers"], [["link", "http://l/"]])

    def test_the_slowest_client(self) -> None:
        self.slow_radio()
        station = self.station()

        def slow() -> list[Any]:
            for _ in range(20):
                station.publish(self.topic(), b"x" * 3000)
            return [each for each in self.overview()["slowest"] if each["dropped"]]

        until(lambda: bool(slow()))
        (found,) = slow()
        self.assertEqual((found["address"], found["protocol"], found["blocked"]), ("127.0.0.1", "stomp", True))
        self.assertGreater(found["octets"], 3000)
        self.assertGreater(self.value("fanout_dropped_messages_total"), 0)

    def test_rates(self) -> None:
        self.station().publish(self.topic(), b"1")
        until(lambda: any(self.overview()["rates"]["messages"]))
        rates = self.overview()["rates"]
        self.assertEqual(len({len(rates[name]) for name in ("times", "messages", "deliveries", "clients")}), 1)
        self.assertEqual(self.ask(f"/api/overview?since={rates['times'][-1] + 3600}").json["rates"]["times"], [])

    def test_questions_that_make_no_sense(self) -> None:
        for path in ("topics?limit=0", "topics?limit=1001", "topics?limit=x", "topics?limit=nan", "overview?since=x"):
            with self.subTest(path=path):
                answer = self.ask(f"/api/{path}")
                self.assertEqual((answer.status, sorted(answer.json)), (400, ["detail", "error"]))
        self.assertEqual(self.ask("/api/topics?prefix=%FF").status, 400)
        self.assertEqual(self.ask("/api/journal").status, 404)  # A node of a cluster keeps none.
        self.assertEqual(ask(self.server.admin, "/status", method="POST").status, 405)

    def test_a_page_elsewhere_cannot_read_it(self) -> None:
        answer = self.ask("/status", host="evil.example", origin="http://evil.example")
        self.assertEqual(answer.status, 403)
        self.assertNotIn("access-control-allow-origin", self.ask("/status", origin="http://evil.example").headers)

    def test_radios_do_not_find_it(self) -> None:
        for path in ("/metrics", "/readyz", "/api/overview"):
            self.assertEqual(ask(self.server.http, path).status, 404)


class TestToken(unittest.TestCase):
    def test_an_address_of_others_needs_a_token(self) -> None:
        for program, server in (
            ("server.py", node(ADMIN_IP="0.0.0.0", **admin_port())),
            ("fallback.py", Daemon(services.AmqpAddress("127.0.0.1", 1), "x", "--test", **open_port())),
        ):
            with self.subTest(program=program):
                self.addCleanup(server.close)
                server.launch()
                self.assertEqual(server.exit_code(), 2, server.text)
                self.assertRegex(server.text, rf"^{program}: ADMIN_IP = 0\.0\.0\.0: .*ADMIN_TOKEN.*$")

    def test_a_short_token_is_none(self) -> None:
        server = node(ADMIN_TOKEN="secret")
        self.addCleanup(server.close)
        server.launch()
        self.assertEqual(server.exit_code(), 2)
        self.assertRegex(server.text, r"^server.py: ADMIN_TOKEN = \*+ \(environment\): should be 16 characters.*$")

    def test_who_knows_the_token(self) -> None:
        with node(ADMIN_IP="0.0.0.0", ADMIN_TOKEN=TOKEN, **admin_port()) as server:
            address = ("127.0.0.1", server.admin[1])
            for path in ("/metrics", "/status", "/api/overview", "/api/topics", "/nothing", "/"):
                answer = ask(address, path)
                self.assertEqual((path, answer.status), (path, 401))
                self.assertIn("Basic", answer.headers["www-authenticate"])
            self.assertEqual(ask(address, "/metrics", authorization="Bearer wrong").status, 401)
            self.assertEqual(ask(address, "/metrics", authorization=f"Bearer {TOKEN}").status, 200)
            self.assertEqual(ask(address, "/status", authorization=basic("anybody", TOKEN)).status, 200)
            # Load balancers know no token; they learn what they need, and no more.
            self.assertEqual(ask(address, "/healthz").json, {"live": True})
            self.assertEqual(ask(address, "/readyz").json, {"ready": True})
            self.assertIn("bus", ask(address, "/readyz", authorization=f"Bearer {TOKEN}").json["conditions"])
            self.assertNotIn(TOKEN, server.text)


def open_port() -> dict[str, object]:
    """Settings of a daemon that others could ask."""
    return {"ADMIN_IP": "0.0.0.0", "FB_ADMIN_PORT": services.free_port()}


class TestTakenPort(unittest.TestCase):
    """Several processes on one machine start without any setting; a port somebody chose has to be free."""

    def test_a_chosen_one(self) -> None:
        with node(**admin_port()) as first:
            second = node(ADMIN_PORT=first.admin[1])
            self.addCleanup(second.close)
            second.launch()
            self.assertEqual(second.exit_code(), 2)
            self.assertIn(f"server.py: cannot listen on 127.0.0.1:{first.admin[1]}: ", second.text)
