"""From an HTTP request to a WebSocket (RFC 6455 §4.2).

Twisted has a WebSocket of its own (``twisted.web.websocket``), but it agrees on no subprotocol, which browsers insist
on once they have offered one, and it bounds neither a message nor a silence. wsproto's handshake wants to parse the
request anew, and fails with other errors than its own on odd headers. What is left is this.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from wsproto.utilities import generate_accept_token

from fanout.doors.http_answer import REASONS, error_body
from fanout.doors.websocket import Listener, WebSocket, WebSocketDoor

_KEY_OCTETS = 16


class NotUpgraded(Exception):
    """The request does not become a WebSocket.

    :ivar status: the HTTP status.
    :ivar detail: what was wrong, and what to do.
    :ivar headers: that go with the answer.
    """

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def agree(headers: Headers, protocols: Sequence[str], origins: frozenset[str]) -> tuple[bytes, str | None]:
    """Check the client's half of the handshake.

    :param protocols: the subprotocols served, the best first; empty when there are none to speak of, and then what a
        client offers is not looked at.
    :param origins: web pages that may connect; empty for all.
    :return: the client's key, and the subprotocol; None when the client offered none.
    :raises NotUpgraded: it cannot be.
    """
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        raise NotUpgraded(426, "This address is a WebSocket.", ("upgrade", "websocket"), ("connection", "upgrade"))
    if _first(headers, "sec-websocket-version") != "13":
        raise NotUpgraded(426, "This server speaks version 13 of WebSocket.", ("sec-websocket-version", "13"))
    key = _first(headers, "sec-websocket-key")
    if not _is_key(key):
        raise NotUpgraded(400, "Sec-WebSocket-Key must be 16 octets in base64.")
    origin = _first(headers, "origin")
    if origins and origin and origin not in origins:
        raise NotUpgraded(403, "Pages of this origin may not connect; see WEBSOCKET_ORIGINS.")
    return key.encode(), _choose(_tokens(headers, "sec-websocket-protocol"), protocols)


def _choose(offered: Sequence[str], protocols: Sequence[str]) -> str | None:
    """A browser that offered protocols would refuse an answer without one, so it is told why instead."""
    if not offered or not protocols:
        return None
    for each in protocols:
        if each in offered:
            return each
    raise NotUpgraded(400, f"None of the offered subprotocols is served; there are {', '.join(protocols)}.")


def _tokens(headers: Headers, name: str) -> list[str]:
    """The values of a header that is a list, in lower case. Every token that matters is ASCII."""
    values = ",".join(headers.getRawHeaders(name, []))
    return [token for each in values.lower().split(",") if (token := each.strip())]


def _first(headers: Headers, name: str) -> str:
    return headers.getRawHeaders(name, [""])[0].strip()


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_OCTETS
    except (binascii.Error, ValueError):
        return False


class WebSocketResource(Resource):
    """An address under which clients open WebSockets. Subclasses say who talks to them."""

    isLeaf = True

    def __init__(self, door: WebSocketDoor, protocols: Sequence[str] = ()) -> None:
        """:param protocols: as for :func:`agree`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.door = door
        self._protocols = protocols

    def listener(self, request: Request) -> Callable[[WebSocket], Listener]:
        """What makes who talks to this client.

        :raises NotUpgraded: the request cannot be served.
        """
        raise NotImplementedError

    def render_GET(self, request: Request) -> bytes | int:
        """The handshake."""
        try:
            _check_request(request)
            key, subprotocol = agree(request.requestHeaders, self._protocols, self.door.origins)
            listener = self.listener(request)
        except NotUpgraded as refused:
            return _refuse(request, refused)
        channel: Any = request.channel
        socket = WebSocket(self.door, listener, channel.address, channel.port)
        _take_over(request, socket, _answer(key, subprotocol))
        return NOT_DONE_YET


def _check_request(request: Request) -> None:
    if request.method != b"GET" or request.clientproto != b"HTTP/1.1":
        raise NotUpgraded(400, "A WebSocket is opened with GET, in HTTP/1.1.")


def _refuse(request: Request, refused: NotUpgraded) -> bytes:
    request.setResponseCode(refused.status, REASONS.get(refused.status))
    request.setHeader("content-type", "application/json")
    for name, value in refused.headers:
        request.setHeader(name, value)
    return error_body(refused.status, refused.detail)


def _answer(key: bytes, subprotocol: str | None) -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + generate_accept_token(key),
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    return b"\r\n".join([*lines, b"", b""])


def _take_over(request: Request, protocol: Protocol, answer: bytes) -> None:
    """Give the request's connection to another protocol. The request is let go: it holds as much memory again."""
    channel: Any = request.channel
    channel.transport.write(answer)
    channel.transport.unregisterProducer()
    channel.requests.clear()
    # A client that did not wait for our answer: what it sent behind its request goes where it belongs.
    channel.rawDataReceived = protocol.dataReceived
    channel._protocolUpgradeForWebsockets(protocol)  # noqa: SLF001  (Twisted's, for its own WebSocket; it is pinned)
