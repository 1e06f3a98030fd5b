"""Cases of the Autobahn test suite for WebSocket servers, at a real node: 5.6, 5.19, 5.20, and section 7 (closing).

The suite's server echoes. Here a STOMP frame with a receipt is the message, and its RECEIPT the echo.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from tests.acceptance.websocket_case import CONNECT, MASKED, NO_MASK, WebSocketCase
from tests.message_socket import MessageSocket
from tests.radio import frame

_VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
_INVALID = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
_CLOSED = "closed"


def close_frame(payload: bytes = b"") -> bytes:
    """A Close frame as a client sends it, valid or not."""
    length = bytes([MASKED | len(payload)]) if len(payload) < 126 else bytes([MASKED | 126, 0, len(payload)])
    return b"\x88" + length + NO_MASK + payload


class _Case(WebSocketCase):
    """No test waits for a time: what is closed only by the timer fails at the time limit of the socket."""

    settings = {"fanout.listeners.client_limits.LINGER_SECONDS": 60}  # noqa: RUF012

    def setUp(self) -> None:
        self.client = Connection(ConnectionType.CLIENT)
        self.socket = self.connected()

    def connected(self) -> MessageSocket:
        """A WebSocket over which a STOMP client has connected."""
        socket = self.open()
        socket.say(CONNECT)
        self.assertTrue(str(socket.message()).startswith("CONNECTED\n"))
        return socket

    def octets(self, *events: Event) -> bytes:
        return b"".join(self.client.send(event) for event in events)

    def heard(self, count: int) -> list[str]:
        """The next events in their order: ``pong`` and its payload, a message's first line, ``close`` and its code, or
        ``closed`` for the end of the connection. The client answers nothing of itself.
        """
        found: list[str] = []
        while len(found) < count:
            octets = self.socket.raw.recv(65_536)
            if not octets:
                found.append(_CLOSED)
                break
            self.client.receive_data(octets)
            found += _names(self.client.events())
        return found


def _names(events: Iterable[Event]) -> Iterable[str]:
    for event in events:
        if isinstance(event, Pong):
            yield f"pong {bytes(event.payload).decode()}"
        elif isinstance(event, TextMessage):
            yield event.data.partition("\n")[0]
        elif isinstance(event, CloseConnection):
            yield f"close {int(event.code)}"


class PingTests(_Case):
    """Pings between the fragments of a message."""

    def fragments(self) -> list[TextMessage]:
        """A SUBSCRIBE in five fragments."""
        text = frame("SUBSCRIBE", {"destination": self.topic(), "id": "1", "receipt": "1"}).decode()
        pieces = [text[:10], text[10:20], text[20:30], text[30:40], text[40:]]
        return [TextMessage(piece, message_finished=piece is pieces[-1]) for piece in pieces]

    def test_5_6_a_ping_between_two_fragments(self) -> None:
        first, *_, last = self.fragments()
        whole = first.data + "".join(each.data for each in self.fragments()[1:-1])
        self.socket.raw.sendall(self.octets(TextMessage(whole, message_finished=False), Ping(b"ping"), last))
        self.assertEqual(self.heard(2), ["pong ping", "RECEIPT"])

    def test_5_19_each_ping_is_answered_before_the_last_fragment(self) -> None:
        one, two, three, four, five = self.fragments()
        self.socket.raw.sendall(self.octets(one, two, Ping(b"pongme 1!")))
        self.assertEqual(self.heard(1), ["pong pongme 1!"])
        self.socket.raw.sendall(self.octets(three, four, Ping(b"pongme 2!"), five))
        self.assertEqual(self.heard(2), ["pong pongme 2!", "RECEIPT"])

    def test_5_20_the_same_in_one_piece(self) -> None:
        one, two, three, four, five = self.fragments()
        pings = Ping(b"pongme 1!"), Ping(b"pongme 2!")
        self.socket.raw.sendall(self.octets(one, two, pings[0], three, four, pings[1], five))
        self.assertEqual(self.heard(3), ["pong pongme 1!", "pong pongme 2!", "RECEIPT"])

    def test_an_answer_to_a_frame_that_an_unfinished_message_holds_comes_behind_the_pong(self) -> None:
        text = "".join(each.data for each in self.fragments())
        self.socket.raw.sendall(self.octets(Ping(b"first"), TextMessage(text, message_finished=False)))
        self.assertEqual(self.heard(2), ["pong first", "RECEIPT"])


class ClosingTests(_Case):
    """Section 7. A connection that is closed is closed at once, also where the client does not answer."""

    def assert_closes(self, octets: bytes, code: int) -> None:
        self.client, self.socket = Connection(ConnectionType.CLIENT), self.connected()
        self.socket.raw.sendall(octets)
        self.assertEqual(self.heard(2), [f"close {code}", _CLOSED], octets)

    def test_7_1_1_a_message_and_a_close(self) -> None:
        text = frame("SUBSCRIBE", {"destination": self.topic(), "receipt": "1", "id": "1"}).decode()
        self.socket.raw.sendall(self.octets(TextMessage(text), CloseConnection(1000)))
        self.assertEqual(self.heard(3), ["RECEIPT", "close 1000", _CLOSED])

    def test_7_1_2_to_7_1_5_what_follows_a_close_is_ignored(self) -> None:
        close = close_frame(struct.pack("!H", 1000))
        client = Connection(ConnectionType.CLIENT)
        for behind in (close, client.send(Ping(b"late")), client.send(TextMessage("late"))):
            self.assert_closes(close + behind, 1000)
        first = client.send(TextMessage("fragment", message_finished=False))
        self.assert_closes(first + close + client.send(TextMessage("fragment 2")), 1000)

    def test_7_1_6_a_long_message_a_close_and_a_ping(self) -> None:
        client = Connection(ConnectionType.CLIENT)
        long = client.send(TextMessage("\n" * 262_144))
        self.assert_closes(long + close_frame(struct.pack("!H", 1000)) + client.send(Ping()), 1000)

    def test_7_3_1_to_7_3_5_codes_and_reasons(self) -> None:
        self.assert_closes(close_frame(), 1005)
        self.assert_closes(close_frame(struct.pack("!H", 1000)), 1000)
        self.assert_closes(close_frame(struct.pack("!H", 1000) + b"Hello World!"), 1000)
        self.assert_closes(close_frame(struct.pack("!H", 1000) + b"*" * 123), 1000)

    def test_7_3_2_and_7_3_6_payloads_that_are_too_short_or_too_long(self) -> None:
        self.assert_closes(close_frame(b"a"), 1002)
        self.assert_closes(close_frame(struct.pack("!H", 1000) + b"*" * 124), 1002)

    def test_7_5_1_a_reason_that_is_not_utf_8(self) -> None:
        self.assert_closes(close_frame(struct.pack("!H", 1000) + b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), 1007)

    def test_7_7_valid_codes_are_sent_back(self) -> None:
        for code in _VALID:
            self.assert_closes(close_frame(struct.pack("!H", code)), code)

    def test_7_9_and_7_13_codes_that_are_not_for_the_wire(self) -> None:
        for code in _INVALID:
            self.assert_closes(close_frame(struct.pack("!H", code)), 1002)

    def test_after_a_protocol_error_the_connection_ends_without_an_answer(self) -> None:
        for octets, code in (
            (b"\x81\x05hello", 1002),  # not masked
            (bytes([0x83, MASKED]) + NO_MASK, 1002),  # a reserved opcode
            (bytes([0x81, MASKED | 4]) + NO_MASK + b"a\xff\xfeb", 1007),
            (bytes([0x82, MASKED | 127]) + struct.pack("!Q", 2**40) + NO_MASK + b"\n" * 1_048_577, 1009),
        ):
            self.assert_closes(octets, code)

    def test_the_reason_reaches_a_client_that_goes_on_sending(self) -> None:
        """Octets that nobody reads would make the kernel send a reset, which erases the Close frame."""
        self.socket.raw.sendall(b"\x81\x05hello" + b"x" * 65_536)
        for _ in range(30):
            self.socket.raw.sendall(b"x" * 65_536)
        self.assertEqual(self.heard(2), ["close 1002", _CLOSED])
