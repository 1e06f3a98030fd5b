"""WebSockets of a real node: what a STOMP client may do over one, who may open one, and who is let go."""

from __future__ import annotations

import socket
import unittest

from tests.acceptance.websocket_case import CONNECT, MASKED, NO_MASK, WebSocketCase
from tests.message_socket import SUBPROTOCOLS, NotUpgraded, handshake
from tests.radio import frame


class StompOverWebSocketTests(WebSocketCase):
    """What a STOMP client may do over a WebSocket, seen from outside."""

    def test_the_highest_offered_subprotocol_is_chosen(self) -> None:
        for offered, chosen in (
            (SUBPROTOCOLS, "v12.stomp"),
            (("v10.stomp", "V11.Stomp"), "v11.stomp"),
            (("soap", "v10.stomp", "wamp"), "v10.stomp"),
            ((), None),
        ):
            self.assertEqual(self.open(subprotocols=offered).subprotocol, chosen)

    def test_a_client_that_offers_only_others_is_told_which_there_are(self) -> None:
        with self.assertRaises(NotUpgraded) as refused:
            self.open(subprotocols=("soap", "mqtt"))
        self.assertEqual(refused.exception.status, 400)
        self.assertIn(b"v12.stomp, v11.stomp, v10.stomp", refused.exception.body)

    def test_a_frame_in_pieces_and_frames_in_one_message(self) -> None:
        topic = self.topic()
        socket = self.open()
        for octet in CONNECT:
            socket.say(octet)
        self.assertTrue(str(socket.message()).startswith("CONNECTED\n"))
        subscribe = frame("SUBSCRIBE", {"destination": topic, "id": "a", "receipt": "1"}).decode()
        again = frame("SUBSCRIBE", {"destination": topic, "id": "b", "receipt": "2"}).decode()
        socket.say(subscribe + "\n" + again[:20], finished=False)
        socket.say(again[20:30], finished=False)
        socket.say(again[30:])
        receipts = str(socket.message())
        while "receipt-id:2" not in receipts:
            receipts += str(socket.message())
        self.assertIn("receipt-id:1", receipts)

    def test_messages_that_come_together_are_a_message_each(self) -> None:
        socket = self.open()
        socket.say(CONNECT)
        socket.message()
        topics = [self.topic("image"), self.topic("text")]
        for number, topic in enumerate(topics):
            socket.say(frame("SUBSCRIBE", {"destination": topic, "id": str(number), "receipt": "r"}).decode())
            self.assertIn("RECEIPT", str(socket.message()))
        station = self.station()
        station.send(b"".join(frame("SEND", {"destination": topic}, b"SHOW x") for topic in topics))
        for topic in topics:
            message = str(socket.message())
            self.assertTrue(message.startswith(f"MESSAGE\ndestination:{topic}\n"), message)
            self.assertTrue(message.endswith("\n\nSHOW x\0\n"), message)

    def test_who_speaks_text_gets_text_except_what_is_none(self) -> None:
        topic = self.topic()
        text, octets = self.web_radio("1.2"), self.web_radio("1.2", binary=True)
        for radio in (text, octets):
            radio.subscribe(topic)
        station = self.station(version="1.2")
        station.publish(topic, "TEXT é".encode())
        station.publish(topic, b"TEXT \xe9")
        self.assertEqual([type(text.socket.message()) for _ in range(2)], [str, bytes])
        self.assertEqual([type(octets.socket.message()) for _ in range(2)], [bytes, bytes])

    def test_receipts_and_errors_are_those_of_tcp(self) -> None:
        radio = self.web_radio("1.1")
        radio.say("SEND", {"destination": self.topic(), "receipt": "7"}, b"SHOW x")
        error = radio.frame()
        self.assertEqual((error.command, error.get("receipt-id")), ("ERROR", "7"))
        self.assertEqual(radio.socket.closed(), 1000)

    def test_a_client_that_leaves_in_order_is_answered(self) -> None:
        radio = self.web_radio()
        radio.socket.leave(3001)
        self.assertEqual(radio.socket.closed(), 3001)

    def test_frames_right_behind_the_handshake_are_not_lost(self) -> None:
        payload = CONNECT.encode()
        with socket.create_connection(self.server.http, 20) as hasty:
            hasty.sendall(handshake() + bytes([0x81, MASKED | len(payload)]) + NO_MASK + payload)
            answer = b""
            while b"CONNECTED" not in answer:
                came = hasty.recv(65536)
                self.assertTrue(came, answer)
                answer += came


class SilentWebSocketTests(WebSocketCase):
    """Pings, and who does not answer them."""

    settings = {"fanout.http.limits.PING_SECONDS": 0.1, "fanout.http.limits.PONG_SECONDS": 1}  # noqa: RUF012

    def test_who_answers_stays_and_who_does_not_goes(self) -> None:
        for path in ("/stomp", "/topic/id/tests._ebu.nowhere/topic1"):
            alive, dead = self.open(path), self.open(path)
            if path == "/stomp":
                for socket in (alive, dead):
                    socket.say(CONNECT)
                    socket.message()
            dead.answers_pings = False
            while alive.pings < 4:
                self.assertTrue(alive.read())
            self.assertIsNone(dead.closed())
            self.assertEqual(dead.pings, 1)


class OriginTests(WebSocketCase):
    settings = {"WEBSOCKET_ORIGINS": "https://www.example.org, https://player.example.org"}  # noqa: RUF012

    def test_only_the_pages_named_may_connect_and_whatever_is_no_page(self) -> None:
        self.open(Origin="https://player.example.org")
        self.open()
        for origin in ("https://evil.example", "null", "http://www.example.org"):
            with self.assertRaises(NotUpgraded) as refused:
                self.open(Origin=origin)
            self.assertEqual(refused.exception.status, 403)


class ShutdownTests(unittest.TestCase):
    def test_everybody_is_told(self) -> None:
        class Case(WebSocketCase):
            def runTest(self) -> None:
                stomp_radio, player = self.web_radio("1.2"), self.open("/topic/id/tests._ebu.nowhere/topic1")
                player.message()
                self.server.terminate()
                self.assertEqual(stomp_radio.frame().get("message"), "Server shutting down")
                self.assertEqual(stomp_radio.socket.closed(), 1001)
                self.assertEqual(player.closed(), 1001)

        Case.setUpClass()
        try:
            case = Case()
            case.runTest()
        finally:
            case.doCleanups()
            Case.server.close()
