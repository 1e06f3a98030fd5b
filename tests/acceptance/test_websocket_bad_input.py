"""What nobody should send over a WebSocket, at a real node."""

from __future__ import annotations

import contextlib
import struct

from tests.acceptance.websocket_case import MASKED, NO_MASK, WebSocketCase
from tests.message_socket import MessageSocket, NotUpgraded

MIB = 2**20


class BadWebSocketTests(WebSocketCase):
    """Each ends the connection with the code RFC 6455 has for it, and nobody else notices."""

    settings = {  # noqa: RUF012
        "fanout.http.limits.MESSAGE_BYTES": 65_536,
        "fanout.listeners.client_limits.LINGER_SECONDS": 0.1,
    }

    def tearDown(self) -> None:
        self.assert_nobody_else_minds()
        super().tearDown()

    def test_an_unmasked_frame(self) -> None:
        socket = self.open()
        socket.raw.sendall(b"\x81\x05hello")
        self.assertEqual(socket.closed(), 1002)

    def test_a_message_over_the_limit_at_once_and_in_fragments(self) -> None:
        whole, pieces = self.web_radio().socket, self.web_radio().socket
        with contextlib.suppress(ConnectionError):
            whole.say("\n" * 65_537)
        self.assertEqual(whole.closed(), 1009)
        with contextlib.suppress(ConnectionError):
            for _ in range(66):
                pieces.say("\n" * 1_000, finished=False)
        self.assertEqual(pieces.closed(), 1009)

    def test_a_length_nobody_has_memory_for(self) -> None:
        before = self.server.memory()
        sockets = [self.web_radio().socket for _ in range(20)]
        for each in sockets:
            each.raw.sendall(bytes([0x82, MASKED | 127]) + struct.pack("!Q", 2**62) + NO_MASK + b"\n" * 1_000)
        for each in sockets:
            each.raw.sendall(b"\n" * 66_000)
            self.assertEqual(each.closed(), 1009)
        self.assertLess(self.server.memory() - before, 8 * MIB)

    def test_a_stomp_frame_over_its_limit_is_a_stomp_error(self) -> None:
        radio = self.web_radio("1.2")
        with contextlib.suppress(ConnectionError):
            radio.send(b"SEND\ndestination:" + b"x" * 20_000)
        self.assertEqual(radio.frame().command, "ERROR")
        self.assertEqual(radio.socket.closed(), 1000)

    def test_text_that_is_not_utf_8(self) -> None:
        socket = self.open()
        socket.raw.sendall(bytes([0x81, MASKED | 4]) + NO_MASK + b"a\xff\xfeb")
        self.assertEqual(socket.closed(), 1007)

    def test_frames_no_version_of_the_protocol_has(self) -> None:
        for octets in (
            bytes([0x83, MASKED]) + NO_MASK,  # a reserved opcode
            bytes([0xC1, MASKED]) + NO_MASK,  # a reserved bit
            bytes([0x80, MASKED | 1]) + NO_MASK + b"x",  # a continuation of nothing
            bytes([0x09, MASKED]) + NO_MASK,  # a ping in fragments
            bytes([0x89, MASKED | 126, 0, 126]) + NO_MASK,  # a ping that is too long
            bytes([0x88, MASKED | 1]) + NO_MASK + b"x",  # half a close code
            bytes([0x88, MASKED | 2]) + NO_MASK + struct.pack("!H", 1005),  # a code nobody may send
        ):
            broken = self.open()
            broken.raw.sendall(octets)
            self.assertEqual(broken.closed(), 1002, octets)

    def test_a_flood_of_pings_is_no_flood_of_pongs(self) -> None:
        radio = self.web_radio()
        ping = bytes([0x89, MASKED | 4]) + NO_MASK
        radio.socket.raw.sendall(b"".join(ping + struct.pack("!I", number) for number in range(20_000)))
        radio.subscribe(self.topic())
        self.assertEqual(radio.socket.pongs[-1], struct.pack("!I", 19_999))
        self.assertLess(len(radio.socket.pongs), 2_000)

    def test_pings_from_a_client_that_does_not_read_cost_no_memory(self) -> None:
        radio = self.web_radio(receive_buffer=4_096)
        before = self.server.memory()
        pings = (bytes([0x89, MASKED | 125]) + NO_MASK + b"p" * 125) * 500
        radio.socket.raw.settimeout(1)
        with contextlib.suppress(TimeoutError):  # the server stops reading, or answers a few of them for ever
            for _ in range(300):
                radio.socket.raw.sendall(pings)
        self.assertLess(self.server.memory() - before, 8 * MIB)

    def test_five_thousand_tiny_frames(self) -> None:
        radio = self.web_radio()
        radio.socket.raw.sendall((bytes([0x81, MASKED | 1]) + NO_MASK + b"\n") * 5_000)
        radio.socket.raw.sendall((bytes([0x01, MASKED]) + NO_MASK) + (bytes([0x00, MASKED]) + NO_MASK) * 5_000)
        radio.socket.raw.sendall(bytes([0x80, MASKED]) + NO_MASK)
        radio.subscribe(self.topic())

    def test_a_client_that_shuts_down_its_side_and_one_that_vanishes(self) -> None:
        topic = self.topic()
        files = self.server.open_files()
        half, reset = self.web_radio(), self.web_radio()
        for radio in (half, reset):
            radio.subscribe(topic)
        half.half_close()
        self.assertIsNone(half.socket.closed())
        reset.close()
        self.station().publish(topic, b"SHOW x")
        self.assert_nobody_else_minds()
        self.doCleanups()
        for _ in range(1_000):  # the case's radios are closing; a leak would not go away
            if self.server.open_files() <= files:
                return
            self.radio().close()
        self.fail(f"{self.server.open_files()} files are open, after {files}")

    def test_handshakes_that_are_none(self) -> None:
        for headers, status in (
            ({"Upgrade": ""}, 426),
            ({"Connection": "close"}, 426),
            ({"Sec_WebSocket_Version": "8"}, 426),
            ({"Sec_WebSocket_Key": ""}, 400),
            ({"Sec_WebSocket_Key": "short"}, 400),
            ({"Sec_WebSocket_Key": "\xff"}, 400),
            ({"Sec_WebSocket_Protocol": "\xff\xfe, \x7f"}, 400),
            ({"Sec_WebSocket_Protocol": ", ,x" * 1_000}, 400),
        ):
            with self.assertRaises(NotUpgraded) as refused:
                MessageSocket.connect(self.server.http, **{"Sec_WebSocket_Key": "overridden", **headers})
            self.assertEqual(refused.exception.status, status, headers)
            self.assertIn(b'"detail"', refused.exception.body)
