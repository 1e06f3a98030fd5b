"""What the acceptance tests of WebSockets have in common: a node with HTTP, and clients that speak over them."""

from __future__ import annotations

from typing import Any

from tests.acceptance.case import NodeCase
from tests.message_socket import MessageSocket, WebSocketRadio
from tests.radio import frame
from tests.services import free_port

CONNECT = frame("CONNECT", {"accept-version": "1.2", "host": "localhost"}).decode()
MASKED = 0x80
NO_MASK = b"\0\0\0\0"


class WebSocketCase(NodeCase):
    """One node with HTTP."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {"HTTP_PORT": free_port(), **cls.settings}
        super().setUpClass()

    def open(self, path: str = "/stomp", subprotocols: tuple[str, ...] = (), **options: Any) -> MessageSocket:
        """A WebSocket on which nothing has been said."""
        socket = MessageSocket.connect(self.server.http, path, subprotocols, **options)
        self.addCleanup(socket.close)
        return socket

    def web_radio(self, version: str | None = None, **options: Any) -> WebSocketRadio:
        """An anonymous STOMP client over a WebSocket, connected."""
        radio = WebSocketRadio(self.server.http, **options)
        self.addCleanup(radio.close)
        radio.say("CONNECT", {"accept-version": version, "host": "localhost"} if version else {})
        radio.expect("CONNECTED")
        return radio

    def assert_nobody_else_minds(self) -> None:
        """A radio of each kind gets its slide."""
        topic = self.topic("innocent")
        radios = [self.radio(), self.web_radio()]
        for radio in radios:
            radio.subscribe(topic)
        self.station().publish(topic, b"SHOW http://s/innocent.png")
        self.assertEqual([radio.frame().body for radio in radios], [b"SHOW http://s/innocent.png"] * 2)
