"""The opening handshake of a WebSocket (RFC 6455 §4.2): from an HTTP request to an
:class:`~fanout.http.websocket.WebSocket`.

Twisted has a WebSocket of its own (``twisted.web.websocket``), but it agrees on no subprotocol, which browsers insist
on once they have offered one, and it bounds neither a message nor a silence. wsproto's handshake parses the request
anew, and fails with exceptions that it does not document on odd headers. So the handshake stands here, and wsproto does
the frames.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from twisted.web.http_headers import Headers
from wsproto.utilities import generate_accept_token

from fanout.http.response import HttpError
from fanout.http.routing import Request
from fanout.http.websocket import WebSocketServer

_KEY_OCTETS = 16


def accept(request: Request, server: WebSocketServer, protocols: Sequence[str] = ()) -> bytes:
    """The head of the response that makes a request a WebSocket: for an :class:`~fanout.http.response.Upgrade`.

    :param protocols: as for :func:`agree`.
    :raises HttpError: the request does not become one.
    """
    if request.method != "GET" or request.version != "HTTP/1.1":
        raise HttpError(400, "A WebSocket is opened with GET, in HTTP/1.1.")
    return _head(*agree(request.http.requestHeaders, protocols, server.origins))


def _head(key: bytes, subprotocol: str | None) -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + generate_accept_token(key),
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    return b"\r\n".join([*lines, b"", b""])


def agree(headers: Headers, protocols: Sequence[str], origins: frozenset[str]) -> tuple[bytes, str | None]:
    """Check the client's half of the handshake.

    :param protocols: the subprotocols served, the best first. If there are none, what a client offers is ignored.
    :param origins: web pages that may connect; empty for all.
    :return: the client's key, and the subprotocol; None when the client offered none.
    :raises HttpError: the request does not become a WebSocket.
    """
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        raise HttpError(426, "This address is a WebSocket.", Upgrade="websocket", Connection="upgrade")
    if _first(headers, "sec-websocket-version") != "13":
        raise HttpError(426, "This server speaks version 13 of WebSocket.", Sec_WebSocket_Version="13")
    key = _first(headers, "sec-websocket-key")
    if not _is_key(key):
        raise HttpError(400, "Sec-WebSocket-Key must be 16 octets in base64.")
    origin = _first(headers, "origin")
    if origins and origin and origin not in origins:
        raise HttpError(403, "Pages of this origin may not connect; see WEBSOCKET_ORIGINS.")
    return key.encode(), _choose(_tokens(headers, "sec-websocket-protocol"), protocols)


def _choose(offered: Sequence[str], protocols: Sequence[str]) -> str | None:
    """The subprotocol. A browser that offered some would refuse an answer without one, so it is told why instead."""
    if not offered or not protocols:
        return None
    for each in protocols:
        if each in offered:
            return each
    raise HttpError(400, f"None of the offered subprotocols is served; there are {', '.join(protocols)}.")


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
