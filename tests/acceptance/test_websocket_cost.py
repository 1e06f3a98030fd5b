"""What clients over WebSockets cost a real node: those that are idle, and those that do not read."""

from __future__ import annotations

from tests.acceptance.websocket_case import CONNECT, WebSocketCase
from tests.message_socket import MessageSocket
from tests.radio import frame

MIB = 2**20


class IdleWebSocketTests(WebSocketCase):
    RADIOS = 400

    def test_a_radio_or_a_player_costs_a_few_kib(self) -> None:
        for path in ("/stomp", "/topic/id/tests._ebu.nowhere/topic1"):
            self.connect(path, 50)  # what the first ones cost is for all
            before = self.server.memory()
            self.connect(path, self.RADIOS)
            self.assertLess(self.server.memory() - before, self.RADIOS * 16 * 1024, path)

    def connect(self, path: str, count: int) -> None:
        for _ in range(count):
            if path == "/stomp":
                self.web_radio("1.2").subscribe("/topic/id/tests._ebu.nowhere/topic1/image")
            else:
                self.assertIn("HELLO", str(self.open(path).message()))


class SlowWebSocketTests(WebSocketCase):
    """A client that does not read, beside one that does."""

    settings = {"OUTBOX_BYTES": 65_536, "HISTORY_BYTES": 65_536}  # noqa: RUF012
    MESSAGES = 750
    """Those of both paths together are within the share of a second that a station has, however fast the machine is."""
    BODY = b"SHOW http://s/" + b"x" * 20_000

    def test_it_costs_bounded_memory_gets_no_torn_frame_and_the_newest_slide(self) -> None:
        for path in ("/stomp", self.topic("")[:-1]):
            topic = self.topic()
            slow, quick = self.slow_client(path, topic), self.radio()
            quick.subscribe(topic, fast_reply=False)
            station = self.station(version="1.2")
            station.publish(topic, self.BODY)
            quick.frame()
            before = self.server.memory()
            for number in range(self.MESSAGES):
                station.publish(topic, self.BODY + b"%d" % number)
                self.assertTrue(quick.frame().body.endswith(b"%d" % number))
            self.assertLess(self.server.memory() - before, 8 * MIB)
            last = b"%d" % (self.MESSAGES - 1)
            count = 0
            message = b""
            while not message.rstrip(b"\0\n").endswith(b"x" + last):
                message = _octets(slow.message())
                self.assertIn(b"\n\n" + self.BODY, message)
                count += 1
            self.assertLess(count, self.MESSAGES // 2)

    def slow_client(self, path: str, topic: str) -> MessageSocket:
        socket = self.open(path, receive_buffer=16_384)
        if path == "/stomp":
            socket.say(CONNECT)
            socket.message()
            socket.say(frame("SUBSCRIBE", {"destination": topic, "id": "1", "receipt": "r"}).decode())
        self.assertTrue(str(socket.message()).startswith(("RECEIPT", "RADIOVISWEBSOCKET:HELLO")))
        return socket


def _octets(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message
