"""STOMP over WebSocket: the same session as over TCP, in messages.

One frame may come in several messages, and one message may hold several frames: to the session they are one stream. The
server sends a message for each frame, because small clients take one for the other.
"""

from __future__ import annotations

from fanout.http.handshake import accept
from fanout.http.response import Upgrade
from fanout.http.routing import Request
from fanout.http.websocket import WebSocket, WebSocketServer
from fanout.stomp_server.connection import Connection, connect
from fanout.stomp_server.server import StompServer

SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


class StompWebSocket:
    """The handler of the path where STOMP clients connect. The version is agreed on in CONNECT; the subprotocol repeats
    it for browsers.
    """

    def __init__(self, stomp: StompServer, websockets: WebSocketServer) -> None:
        self._stomp = stomp
        self._websockets = websockets

    def open(self, request: Request) -> Upgrade:
        """A session of its own for each client. :raises HttpError: the request is no handshake."""
        head = accept(request, self._websockets, SUBPROTOCOLS)
        return Upgrade(WebSocket(self._websockets, self._connect, request.address, request.port), head)

    def _connect(self, socket: WebSocket) -> Connection:
        return connect(self._stomp, socket, socket.address, socket.port)
