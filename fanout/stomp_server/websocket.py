"""STOMP over WebSocket: the same session as over TCP, in messages.

One frame may come in several messages, and one message may hold several frames: to the session all of it is one stream.
What we send is the friendlier kind, a message for each frame, because small clients take one for the other.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.server import Request

from fanout.http.websocket import WebSocket, WebSocketResource, WebSocketServer
from fanout.stomp_server.connection import Connection, connect
from fanout.stomp_server.server import StompServer

SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


class StompWebSocket(WebSocketResource):
    """Where STOMP clients connect. The version is agreed on in CONNECT; the subprotocol repeats it for browsers."""

    def __init__(self, stomp: StompServer, server: WebSocketServer) -> None:
        super().__init__(server, SUBPROTOCOLS)
        self._stomp = stomp

    def listener(self, request: Request) -> Callable[[WebSocket], Connection]:
        """A session of its own for each client."""
        return self._connect

    def _connect(self, socket: WebSocket) -> Connection:
        return connect(self._stomp, socket, socket.address, socket.port)
