"""One WebSocket, with a clock in the place of the reactor and octets in the place of a network."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial import unittest
from twisted.web.http_headers import Headers
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from fanout.http import websocket
from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import HttpSite
from fanout.http.limits import WebSocketSettings
from fanout.http.response import HttpError, Upgrade
from fanout.http.routing import Request, Route, Routes
from fanout.http.websocket import WebSocket, WebSocketServer, accept, agree, binary, text
from fanout.listeners.client_limits import TURN_FRAMES, ConnectionLimit
from webserver.site_config import SiteLimits


class RecordingListener:
    """A listener that keeps what it is told."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.heard = b""
        self.events: list[str] = []

    def received(self, data: bytes) -> None:
        self.heard += data

    def full(self) -> None:
        self.events.append("full")

    def drained(self) -> None:
        self.events.append("drained")

    def gone(self) -> None:
        self.events.append("gone")


class RecordingTransport(StringTransport):
    """A transport that remembers how it was closed."""

    aborted = False
    write_ended = False

    def abortConnection(self) -> None:
        self.aborted = True

    def loseWriteConnection(self) -> None:
        self.write_ended = True


def _raising(error: Exception) -> Callable[[float], None]:
    def look(_: float) -> None:
        raise error

    return look


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.patch(websocket, "MESSAGE_BYTES", 1_000)
        self.clock = Clock()
        self.client_warnings: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.websockets = WebSocketServer(
            self.clock,
            WebSocketSettings(),
            self.clock.seconds,
            lambda event, address, **fields: self.client_warnings.append({"event": event, **fields}),
            lambda socket, error: self.failures.append(error),
        )
        self.open()

    def open(self) -> None:
        self.client = Connection(ConnectionType.CLIENT)
        self.transport = RecordingTransport()
        self.socket = WebSocket(self.websockets, RecordingListener)
        self.socket.makeConnection(self.transport)
        listener = self.socket._listener
        assert isinstance(listener, RecordingListener)
        self.listener = listener

    def say(self, event: Event) -> None:
        self.socket.dataReceived(self.client.send(event))

    def answers(self) -> list[Event]:
        self.client.receive_data(self.transport.value())
        self.transport.clear()
        return list(self.client.events())

    def lose(self) -> None:
        self.socket.connectionLost(Failure(ConnectionDone()))

    def wait(self, seconds: float) -> None:
        """Time passes, and the wheel turns."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            self.websockets.tick()

    def assert_closed_with(self, code: int) -> None:
        self.assertEqual([event.code for event in self.answers() if isinstance(event, CloseConnection)], [code])


class TestMessages(_Case):
    def test_pieces_are_passed_on_as_they_come(self) -> None:
        self.say(TextMessage("caf", message_finished=False))
        self.assertEqual(self.listener.heard, b"caf")
        self.say(TextMessage("é"))
        self.say(BytesMessage(b"\0\xff"))
        self.assertEqual(self.listener.heard, "café".encode() + b"\0\xff")

    @given(st.lists(st.integers(1, 400), max_size=30))
    def test_however_the_network_splits_the_octets(self, sizes: list[int]) -> None:
        self.open()
        octets = b"".join(
            self.client.send(event)
            for event in (TextMessage("é" * 300), Ping(b"x"), BytesMessage(b"\0" * 200, message_finished=False))
        ) + self.client.send(BytesMessage(b"."))
        for size in sizes:
            self.socket.dataReceived(octets[:size])
            octets = octets[size:]
        self.socket.dataReceived(octets)
        self.clock.advance(0)
        self.assertEqual(self.listener.heard, ("é" * 300).encode() + b"\0" * 200 + b".")

    def test_the_client_is_spoken_to_as_it_speaks_first(self) -> None:
        self.assertIs(self.socket.framing, text)
        self.say(TextMessage("x"))
        self.say(BytesMessage(b"x"))
        self.assertIs(self.socket.framing, text)
        self.open()
        self.say(BytesMessage(b"x"))
        self.assertIs(self.socket.framing, binary)

    def test_what_is_no_text_goes_as_binary(self) -> None:
        self.socket.write(text("é".encode()) + text(b"\xff") + binary(b"x"))
        self.assertEqual(self.answers(), [TextMessage("é"), BytesMessage(b"\xff"), BytesMessage(b"x")])

    def test_a_message_may_have_as_many_octets_as_the_limit_says(self) -> None:
        for _ in range(3):
            self.say(TextMessage("é" * 500))
        self.assertEqual(self.answers(), [])
        self.say(TextMessage("é" * 500, message_finished=False))
        self.say(TextMessage("."))
        self.assert_closed_with(1009)
        self.assertEqual(len(self.listener.heard), 4_000)

    def test_a_huge_length_is_refused_when_the_limit_is_passed_and_not_kept(self) -> None:
        head = bytes([0x82, 0xFF]) + struct.pack("!Q", 2**40) + b"\0\0\0\0"
        self.socket.dataReceived(head + b"x" * 1_000)
        self.assertEqual(self.answers(), [])
        self.socket.dataReceived(b"x")
        self.assert_closed_with(1009)


class TestFaults(_Case):
    def fault(self, octets: bytes, code: int) -> None:
        self.open()
        self.socket.dataReceived(octets)
        self.assert_closed_with(code)
        self.assertEqual(self.client_warnings[-1]["code"], code)

    def test_each_has_its_code(self) -> None:
        self.fault(b"\x81\x02hi", 1002)  # not masked
        self.fault(b"\x81\x82\0\0\0\0\xff\xff", 1007)  # no UTF-8
        self.fault(b"\x83\x80\0\0\0\0", 1002)  # reserved opcode
        self.fault(b"\xf1\x80\0\0\0\0", 1002)  # reserved bits

    def test_nothing_behind_it_is_heard_or_kept(self) -> None:
        self.socket.dataReceived(b"\x81\x02hi" + self.client.send(TextMessage("later")))
        for _ in range(100):
            self.socket.dataReceived(self.client.send(TextMessage("x" * 1_000)))
        self.assertEqual(self.listener.heard, b"")
        self.assertLess(len(self.socket._frames._proto._frame_decoder.buffer), 1_000)

    def test_our_side_ends_at_once_and_a_client_that_stays_is_cut_off(self) -> None:
        self.socket.dataReceived(b"\x81\x02hi")
        self.assertTrue(self.transport.write_ended)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(0.75)
        self.assertFalse(self.transport.aborted)
        self.clock.advance(0.25)
        self.assertTrue(self.transport.aborted)

    def test_no_timer_is_left_of_a_client_that_goes(self) -> None:
        self.socket.dataReceived(b"\x81\x02hi")
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TestClose(_Case):
    def test_the_clients_close_is_answered_with_its_code(self) -> None:
        self.say(CloseConnection(3_005, "bye"))
        self.clock.advance(0)
        self.assert_closed_with(3_005)
        self.assertTrue(self.transport.disconnecting)

    def test_a_close_without_a_code(self) -> None:
        self.socket.dataReceived(b"\x88\x80\0\0\0\0")
        self.clock.advance(0)
        self.assert_closed_with(1_005)

    def test_what_the_listener_answers_in_the_same_turn_goes_before_the_close(self) -> None:
        self.clock.callLater(0, self.socket.write, text(b"RECEIPT"))
        self.say(CloseConnection(1_000))
        self.clock.advance(0)
        message, close = self.answers()
        self.assertEqual((message, type(close)), (TextMessage("RECEIPT"), CloseConnection))

    def test_a_listener_that_closes_at_the_same_time_as_the_client(self) -> None:
        self.say(CloseConnection(1_000))
        self.socket.finish(1_001)
        self.clock.advance(0)
        self.assert_closed_with(1_001)
        self.assertTrue(self.transport.disconnecting)
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_goes_before_its_close_is_answered(self) -> None:
        self.say(CloseConnection(1_000))
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ours_ends_when_the_client_has_answered(self) -> None:
        self.socket.finish(1_001)
        (close,) = self.answers()
        assert isinstance(close, CloseConnection)
        self.assertFalse(self.transport.disconnecting)
        self.say(close.response())
        self.assertTrue(self.transport.disconnecting)

    def test_what_comes_after_our_close_is_not_passed_on_and_nothing_is_written(self) -> None:
        self.socket.finish()
        self.answers()
        self.socket.dataReceived(Connection(ConnectionType.CLIENT).send(TextMessage("late")))
        self.socket.write(text(b"late"))
        self.assertEqual((self.listener.heard, self.transport.value()), (b"", b""))

    def test_both_at_once(self) -> None:
        theirs = self.client.send(CloseConnection(1_000))
        self.socket.finish(1_001)
        self.socket.dataReceived(theirs)
        self.assert_closed_with(1_001)
        self.assertTrue(self.transport.disconnecting)

    def test_a_second_close_and_octets_behind_the_first_are_nothing(self) -> None:
        self.say(CloseConnection(1_000))
        self.clock.advance(0)
        self.answers()
        self.socket.finish()
        self.socket.dataReceived(b"\x88\x80\0\0\0\0")
        self.assertEqual(self.transport.value(), b"")

    def test_the_listener_is_told_once_and_no_timer_is_left(self) -> None:
        self.socket.finish()
        self.lose()
        self.assertEqual(self.listener.events, ["gone"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.websockets.sockets, set())

    def test_who_leaves_a_node_that_shuts_down_is_told_so(self) -> None:
        self.websockets.go_away()
        self.socket.finish()
        self.assert_closed_with(1_001)


class TestPings(_Case):
    def test_a_ping_is_answered_and_of_many_the_last(self) -> None:
        self.say(Ping(b"a"))
        self.assertEqual(self.answers(), [Pong(b"a")])
        self.socket.dataReceived(b"".join(self.client.send(Ping(b"%d" % number)) for number in range(1_000)))
        self.assertEqual(self.answers(), [])
        self.clock.advance(0)
        self.assertEqual(self.answers(), [Pong(b"999")])

    def test_a_flood_is_worked_on_in_slices_and_not_read_meanwhile(self) -> None:
        octets = b"".join(self.client.send(BytesMessage(b"%03d" % number)) for number in range(1_000))
        self.socket.dataReceived(octets)
        self.assertEqual((len(self.listener.heard) // 3, self.transport.producerState), (TURN_FRAMES, "paused"))
        self.assertEqual(self.websockets.input_memory.total, len(octets))
        self.clock.advance(0)
        self.assertEqual(self.listener.heard, b"".join(b"%03d" % number for number in range(1_000)))
        self.assertEqual((self.transport.producerState, self.websockets.input_memory.total), ("producing", 0))

    def test_what_a_client_sent_before_it_went_is_worked_off(self) -> None:
        self.socket.dataReceived(b"".join(self.client.send(BytesMessage(b"x")) for _ in range(1_000)))
        self.lose()
        self.assertEqual(self.listener.events[-1], "gone")
        self.clock.advance(0)
        self.assertEqual((len(self.listener.heard), self.websockets.input_memory.total), (1_000, 0))
        self.assertIsNone(self.socket.listener)

    def test_one_that_has_sent_too_much_is_told_so(self) -> None:
        self.socket.dataReceived(b"".join(self.client.send(BytesMessage(b"x")) for _ in range(1_000)))
        self.socket.give_up()
        self.assert_closed_with(1013)
        self.clock.advance(0)
        self.assertEqual((len(self.listener.heard), self.failures), (TURN_FRAMES, []))

    def test_a_client_that_does_not_read_gets_its_pong_when_it_does(self) -> None:
        self.socket.pauseProducing()
        for number in range(1_000):
            self.say(Ping(b"%d" % number))
        self.clock.advance(0)
        self.assertEqual(self.answers(), [])
        self.socket.resumeProducing()
        self.assertEqual(self.answers(), [Pong(b"999")])
        self.assertEqual(self.listener.events, ["full", "drained"])

    def test_a_silent_client_is_pinged_and_stays_while_it_answers(self) -> None:
        for _ in range(5):
            self.wait(24.5)
            self.assertEqual(self.answers(), [])
            self.wait(1)
            self.assertEqual(self.answers(), [Ping()])
            self.say(Pong())
        self.assertFalse(self.transport.aborted)

    def test_anything_it_says_is_a_sign_of_life(self) -> None:
        for _ in range(10):
            self.wait(20)
            self.say(TextMessage("x"))
        self.assertEqual(self.answers(), [])

    def test_who_does_not_answer_is_cut_off(self) -> None:
        self.wait(55.5)
        self.assertEqual(self.answers(), [Ping()])
        self.assertTrue(self.transport.aborted)
        self.assertEqual([each["event"] for each in self.client_warnings], ["websocket.silent"])
        self.assertIn(self.client_warnings[0]["seconds"], (55, 56))

    def test_who_reads_nothing_is_cut_off_without_a_ping_on_top(self) -> None:
        self.socket.pauseProducing()
        self.wait(30)
        self.assertEqual(self.transport.value(), b"")
        self.wait(26)
        self.assertTrue(self.transport.aborted)

    def test_who_reads_slowly_is_alive(self) -> None:
        for _ in range(10):
            self.socket.pauseProducing()
            self.wait(40)
            self.socket.resumeProducing()
        self.assertFalse(self.transport.aborted)

    def test_who_cannot_be_heard_because_of_us_is_not_blamed(self) -> None:
        self.socket.pause()
        self.wait(300)
        self.socket.resume()
        self.wait(20)
        self.assertFalse(self.transport.aborted)
        self.assertEqual(self.answers(), [])

    def test_one_that_breaks_is_reported_and_the_others_are_looked_at(self) -> None:
        broken, fault = self.socket, OSError("broken")
        self.patch(broken, "on_timer", _raising(fault))
        self.open()
        self.wait(26)
        self.assertEqual(self.failures, [fault])
        self.assertIsInstance(self.answers()[0], Ping)


# The opening handshake of a WebSocket, and the way of a connection out of HTTP.

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
            self.clock, WebSocketSettings(), self.clock.seconds, lambda *_, **__: None, lambda *_: None
        )
        self.connection_limit = ConnectionLimit()
        dispatcher = Dispatcher(Routes([Route("/socket", GET=self.open)]))
        site = HttpSite(self.clock, dispatcher, self.connection_limit, SiteLimits(), lambda *_, **__: None)
        self.channel = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 4711))
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 4711))
        self.channel.makeConnection(self.transport)

    def open(self, request: Request) -> Upgrade:
        return Upgrade(
            WebSocket(self.server, RecordingListener, request.address, request.port), accept(request, self.server)
        )

    def ask(self, line: bytes = b"GET /socket HTTP/1.1", behind: bytes = b"", **headers: str) -> bytes:
        given = {"host": ["x"], **GOOD, **{name: [value] for name, value in headers.items()}}
        lines = [f"{name}: {value}".encode() for name, values in given.items() for value in values]
        self.channel.dataReceived(b"\r\n".join([line, *lines, b"", b""]) + behind)
        return self.transport.value()

    def listener(self) -> RecordingListener:
        (socket,) = self.server.sockets
        assert isinstance(socket._listener, RecordingListener)
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
        self.assertEqual(self.listener().heard, b"abcd")
        self.assertEqual(self.listener().socket.address, "192.0.2.1")

    def test_back_pressure_and_the_end_reach_it_and_the_gate_counts_it_until_then(self) -> None:
        self.ask()
        listener = self.listener()
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.assertEqual((listener.events, self.connection_limit.total), (["full", "drained"], 1))
        self.channel.connectionLost(None)
        self.assertEqual((listener.events[-1], self.connection_limit.total), ("gone", 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_open_socket_is_no_slow_request(self) -> None:
        self.ask()
        self.clock.advance(1_000)
        self.assertFalse(self.transport.disconnecting)

    def test_a_refusal_is_json_and_the_connection_goes_on_as_http(self) -> None:
        answer = self.ask(upgrade="h2c")
        self.assertTrue(answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n"), answer)
        self.assertIn(b'{"error": "Upgrade Required", "detail": "This address needs a WebSocket."}', answer)
        self.transport.clear()
        self.assertTrue(self.ask().startswith(b"HTTP/1.1 101 "))

    def test_other_methods_and_versions(self) -> None:
        for line in (b"HEAD /socket HTTP/1.1", b"GET /socket HTTP/1.0"):
            self.setUp()
            self.assertIn(b" 400 Bad Request\r\n", self.ask(line))
