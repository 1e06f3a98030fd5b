"""The opening handshake of a WebSocket, and the way of a connection out of HTTP."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial import unittest
from twisted.web.http_headers import Headers

from fanout.http.dispatch import Dispatcher
from fanout.http.handshake import accept, agree
from fanout.http.response import HttpError, Upgrade
from fanout.http.routing import Request, Route, Routes
from fanout.http.server import HttpSite
from fanout.http.websocket import WebSocket, WebSocketServer
from fanout.listeners.limits import ConnectionLimit
from fanout.settings import WebSocketServerSettings
from tests.fanout.http.test_websocket import TopicSubscription
from webserver.config import SiteLimits

# The example of RFC 6455 §1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
GOOD = {
    "upgrade": ["websocket"],
    "connection": ["Upgrade"],
    "sec-websocket-version": ["13"],
    "sec-websocket-key": [KEY.decode()],
}


class TestAgree(unittest.TestCase):
    def agree(self, protocols: tuple[str, ...] = (), origins: tuple[str, ...] = (), **headers: str) -> str | None:
        given = {**GOOD, **{name.replace("_", "-"): [value] for name, value in headers.items()}}
        key, chosen = agree(Headers(given), protocols, frozenset(origins))
        self.assertEqual(key, KEY)
        return chosen

    def refused(self, **options: object) -> int:
        with self.assertRaises(HttpError) as refused:
            self.agree(**options)  # type: ignore[arg-type]
        return refused.exception.status

    def test_the_spellings_of_browsers_and_proxies(self) -> None:
        self.assertIsNone(self.agree(upgrade="WebSocket", connection="keep-alive, Upgrade"))
        self.assertIsNone(self.agree(upgrade="h2c , websocket", sec_websocket_version=" 13 "))

    def test_the_first_of_ours_that_is_offered(self) -> None:
        ours = ("v12.stomp", "v11.stomp")
        self.assertEqual(self.agree(ours, sec_websocket_protocol="v11.stomp,v12.stomp"), "v12.stomp")
        self.assertEqual(self.agree(ours, sec_websocket_protocol="x, v11.stomp"), "v11.stomp")
        self.assertIsNone(self.agree(ours))
        self.assertIsNone(self.agree(ours, sec_websocket_protocol=" , "))
        self.assertIsNone(self.agree((), sec_websocket_protocol="whatever"))

    def test_offers_in_several_headers(self) -> None:
        headers = Headers({**GOOD, "sec-websocket-protocol": ["x", "v11.stomp"]})
        self.assertEqual(agree(headers, ("v11.stomp",), frozenset())[1], "v11.stomp")

    def test_what_is_refused(self) -> None:
        self.assertEqual(self.refused(upgrade="h2c"), 426)
        self.assertEqual(self.refused(connection="close"), 426)
        self.assertEqual(self.refused(sec_websocket_version="8"), 426)
        self.assertEqual(self.refused(sec_websocket_key="c2hvcnQ="), 400)
        self.assertEqual(self.refused(sec_websocket_key="no base64 at all"), 400)
        self.assertEqual(self.refused(protocols=("a",), sec_websocket_protocol="b"), 400)
        self.assertEqual(self.refused(origins=("https://a",), origin="https://b"), 403)

    def test_origins(self) -> None:
        self.assertIsNone(self.agree(origin="https://anywhere"))
        self.assertIsNone(self.agree(origins=("https://a",), origin="https://a"))
        self.assertIsNone(self.agree(origins=("https://a",)))  # no browser


class TestUpgrade(unittest.TestCase):
    """Twisted's own HTTP server hands the connection over. This is the test that a new Twisted has to pass: the way out
    of its channel is one of its private names.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = WebSocketServer(
            self.clock, WebSocketServerSettings(), self.clock.seconds, lambda *_, **__: None, lambda *_: None
        )
        self.connection_limit = ConnectionLimit()
        dispatcher = Dispatcher(Routes([Route("/ears", GET=self.open)]))
        site = HttpSite(self.clock, dispatcher, self.connection_limit, SiteLimits(), lambda *_, **__: None)
        self.channel = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 4711))
        self.wire = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 4711))
        self.channel.makeConnection(self.wire)

    def open(self, request: Request) -> Upgrade:
        return Upgrade(
            WebSocket(self.server, TopicSubscription, request.address, request.port), accept(request, self.server)
        )

    def ask(self, line: bytes = b"GET /ears HTTP/1.1", behind: bytes = b"", **headers: str) -> bytes:
        given = {"host": ["x"], **GOOD, **{name: [value] for name, value in headers.items()}}
        lines = [f"{name}: {value}".encode() for name, values in given.items() for value in values]
        self.channel.dataReceived(b"\r\n".join([line, *lines, b"", b""]) + behind)
        return self.wire.value()

    def ear(self) -> TopicSubscription:
        (socket,) = self.server.sockets
        assert isinstance(socket._listener, TopicSubscription)
        return socket._listener

    def test_the_answer_of_the_rfc(self) -> None:
        head, _, rest = self.ask().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"HTTP/1.1 101 Switching Protocols")
        self.assertIn(b"Sec-WebSocket-Accept: " + ACCEPT, lines)
        self.assertEqual(rest, b"")

    def test_what_comes_with_the_request_and_after_it_reaches_the_socket(self) -> None:
        masked = bytes([0x81, 0x82]) + b"\0\0\0\0"
        self.ask(behind=masked + b"ab" + masked)
        self.channel.dataReceived(b"cd")
        self.assertEqual(self.ear().heard, b"abcd")
        self.assertEqual(self.ear().socket.address, "192.0.2.1")

    def test_back_pressure_and_the_end_reach_it_and_the_gate_counts_it_until_then(self) -> None:
        self.ask()
        ear = self.ear()
        self.wire.producer.pauseProducing()
        self.wire.producer.resumeProducing()
        self.assertEqual((ear.events, self.connection_limit.total), (["full", "drained"], 1))
        self.channel.connectionLost(None)
        self.assertEqual((ear.events[-1], self.connection_limit.total), ("gone", 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_open_socket_is_no_slow_request(self) -> None:
        self.ask()
        self.clock.advance(1_000)
        self.assertFalse(self.wire.disconnecting)

    def test_a_refusal_is_json_and_the_connection_goes_on_as_http(self) -> None:
        answer = self.ask(upgrade="h2c")
        self.assertTrue(answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n"), answer)
        self.assertIn(b'{"error": "Upgrade Required", "detail": "This address is a WebSocket."}', answer)
        self.wire.clear()
        self.assertTrue(self.ask().startswith(b"HTTP/1.1 101 "))

    def test_other_methods_and_versions(self) -> None:
        for line in (b"HEAD /ears HTTP/1.1", b"GET /ears HTTP/1.0"):
            self.setUp()
            self.assertIn(b" 400 Bad Request\r\n", self.ask(line))
