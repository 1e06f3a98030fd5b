"""What one client, one subscriber and all together may cost, at a real node; and IPv6 at every listener."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar

from tests.acceptance.case import NodeCase
from tests.authority import Authority
from tests.processes import Server, node
from tests.prometheus import parse
from tests.radio import Radio, frame
from tests.services import free_port
from tests.web import Events, Raw, ask, poll_path


class TestSubscriptions(NodeCase):
    settings: ClassVar[dict[str, Any]] = {
        "MAX_SUBSCRIPTIONS_PER_ADDRESS": 5,
        "MAX_SUBSCRIPTIONS_TOTAL": 6,
        "LOG_LEVEL": "DEBUG",
        "HTTP_POLL_TIMEOUT": 1,
        "ADMIN_PORT": free_port(),
        "HTTP_PORT": free_port(),
    }

    def refused(self) -> float:
        """So far, of an address, by the metrics."""
        found = parse(ask(self.server.admin, "/metrics").body)["fanout_subscriptions_refused_total"]
        return found[("limit", "subscriptions_per_address"),]

    def test_polls_and_streams_are_counted_as_well(self) -> None:
        before = self.refused()
        radio = self.radio()
        for number in range(4):
            radio.subscribe(self.topic(f"p{number}"), id=str(number))
        service = "/radiodns/push/1.0/id/tests._ebu.nowhere/topic1/stream"
        for path in (poll_path(self.topic("a"), self.topic("b")), service):
            self.assertEqual(ask(self.server.http, path).status, 503)
        self.assertEqual(self.refused(), before + 2)
        radio.say("UNSUBSCRIBE", {"id": "0"})
        self.assertEqual(radio.so_far(), [])
        with Events(self.server.http, service) as events:  # image and text
            self.assertEqual(events.status, 200)
            self.assertEqual(ask(self.server.http, poll_path(self.topic("a"))).status, 503)
        deadline = time.monotonic() + 20
        while ask(self.server.http, poll_path(self.topic("a"))).status == 503:
            self.assertLess(time.monotonic(), deadline, "what a stream held is not given back")

    def test_all_clients_of_one_address_share_its_cap_and_give_back_what_they_leave(self) -> None:
        for round_ in (1, 2):  # a second time: nothing is left of the first
            first, second = self.radio(version="1.2"), self.radio(version="1.2")
            for number in range(3):
                first.subscribe(self.topic(str(number)), id=str(number))
            second.subscribe(self.topic("a"), id="a")
            second.subscribe(self.topic("b"), id="b")
            late = self.radio()
            late.say("SUBSCRIBE", {"destination": self.topic("late"), "id": "late"})
            self.assert_error(late, "Too many subscriptions")
            first.say("UNSUBSCRIBE", {"id": "0", "receipt": "gone"})
            self.assertEqual(first.frame().get("receipt-id"), "gone")
            third = self.radio()
            third.subscribe(self.topic("late"), id="late")
            for radio in (first, second, late, third):
                radio.close()
            self.server.wait_for("client.gone", count=4 * round_)


class TestPace(NodeCase):
    settings: ClassVar[dict[str, Any]] = {"CONNECT_BURST": 5, "CONNECT_RATE": 0.001}

    def test_who_opens_connections_without_end_is_turned_away(self) -> None:
        for _ in range(5):
            self.radio().close()
        self.assertTrue(self.dial().ends())
        self.server.wait_for("client.turned_away", address="127.0.0.1")


class TestIPv6(unittest.TestCase):
    """One listener for both versions, as ``::`` is on Linux; and each listener at an address of IPv6."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="radiovis-ipv6-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority(cls.folder)
        cls.ports = {name: free_port() for name in ("STOMP_TLS_PORT", "HTTPS_PORT", "HTTP_PORT", "ADMIN_PORT")}
        certificate = cls.authority.issue("node.pem", "::1")
        cls.server = node(STOMP_IP="::", HTTP_IP="::", ADMIN_IP="::1", TLS_CERTIFICATE=certificate, **cls.ports)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    folder: ClassVar[Path]
    authority: ClassVar[Authority]
    ports: ClassVar[dict[str, int]]
    server: ClassVar[Server]

    def test_stomp_by_both_versions(self) -> None:
        for host in ("::1", "127.0.0.1"):
            radio = Radio((host, self.server.address[1]))
            self.addCleanup(radio.close)
            radio.send(frame("CONNECT", {"login": "1.test", "passcode": "wrong"}))
            self.assertEqual(radio.frame().command, "ERROR")
            self.server.wait_for("login.refused", address=host)  # not ::ffff:127.0.0.1

    def test_http_and_admin(self) -> None:
        self.assertEqual(ask(("::1", self.ports["HTTP_PORT"]), "/radiodns/vis/vis.json").status, 400)
        self.assertEqual(ask(("::1", self.ports["ADMIN_PORT"]), "/healthz").status, 200)

    def test_tls(self) -> None:
        for port, words, answer in (
            ("STOMP_TLS_PORT", frame("CONNECT"), b"CONNECTED"),
            ("HTTPS_PORT", b"GET /radiodns/vis/vis.json HTTP/1.0\r\n\r\n", b"400"),
        ):
            raw = socket.create_connection(("::1", self.ports[port]), timeout=20)
            with self.authority.client().wrap_socket(raw, server_hostname="::1") as secure:
                secure.sendall(words)
                self.assertIn(answer, secure.recv(65_536))

    def test_a_websocket(self) -> None:
        with Raw(("::1", self.ports["HTTP_PORT"])) as raw:
            raw.send(
                b"GET /stomp HTTP/1.1\r\nhost: [::1]\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
            )
            self.assertIn(b" 101 ", raw.until(b"\r\n"))


class TestOperatorsWithTLS(unittest.TestCase):
    """ADMIN_TLS_PORT: as the other listeners with TLS, behind a proxy too; over IPv6 here."""

    def test_with_a_token_and_the_certificates_end_is_told(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="radiovis-admin-tls-"))
        self.addCleanup(shutil.rmtree, folder)
        authority, port = Authority(folder), free_port()
        certificate = authority.issue("node.pem", "::1")
        settings = {
            "ADMIN_IP": "::1",
            "ADMIN_PORT": free_port(),
            "ADMIN_TLS_PORT": port,
            "ADMIN_TOKEN": "a-token-long-enough",
        }
        settings |= {"STOMP_TLS_PORT": free_port(), "HTTPS_PORT": free_port(), "PROXY_FROM": "::1"}
        with node(TLS_CERTIFICATE=certificate, **settings):
            for token, status in (("a-token-long-enough", b" 200 "), ("guess", b" 401 ")):
                raw = socket.create_connection(("::1", port), timeout=20)
                raw.sendall(b"PROXY TCP6 2001:db8::7 ::1 4000 443\r\n")
                with authority.client().wrap_socket(raw, server_hostname="::1") as secure:
                    secure.sendall(f"GET /metrics HTTP/1.0\r\nauthorization: Bearer {token}\r\n\r\n".encode())
                    answer = b"".join(iter(lambda: secure.recv(65_536), b""))
                self.assertIn(status, answer.split(b"\r\n")[0])
                if b" 200 " in status:
                    told = parse(answer.partition(b"\r\n\r\n")[2])
                    self.assertGreater(told["fanout_certificate_expires_timestamp_seconds"][()], time.time())

    def test_not_without_a_token(self) -> None:
        server = node(ADMIN_PORT=free_port(), ADMIN_TLS_PORT=free_port())
        self.addCleanup(server.close)
        server.launch()
        self.assertEqual(server.exit_code(), 2)
        self.assertIn("ADMIN_TLS_PORT", server.text)
