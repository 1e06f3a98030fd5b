"""Blocking connections to a server: TCP, TLS, or the messages of a WebSocket, all of them used like a socket.

They are for code that chooses the octets it sends, such as the checks of ``radiovis/conformance``: this file knows
nothing about STOMP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
from collections import deque
from functools import cache
from typing import Protocol

from radiovis.client.server_address import ServerAddress
from radiovis.client.websocket import ClientWebSocket

_READ_BYTES = 65_536


class BlockingSocket(Protocol):
    """The methods of ``socket.socket`` that every connection has."""

    def sendall(self, octets: bytes, /) -> None:
        """Send octets."""

    def recv(self, size: int, /) -> bytes:
        """Wait for octets; empty at the end of the connection."""

    def settimeout(self, seconds: float, /) -> None:
        """Set how many seconds to wait."""

    def close(self) -> None:
        """Close the connection."""


class MessageSocket:
    """A connection whose octets travel in the messages of a WebSocket."""

    def __init__(self, connected: socket.socket, host: str, path: str) -> None:
        """Do the handshake on a connected socket.

        :param host: as for :class:`ClientWebSocket`.
        :param path: path of the WebSocket.
        :raises OSError: the server does not open a WebSocket.
        """
        self._raw = connected
        self._websocket = ClientWebSocket(host, path)
        self._came: deque[bytes] = deque()
        self._raw.sendall(self._websocket.hello())
        while not self._websocket.open:
            if not self._receive():
                raise ConnectionError("it closed the connection during the WebSocket handshake")

    def sendall(self, octets: bytes) -> None:
        """Send octets, in one message."""
        self._raw.sendall(self._websocket.wrapped(octets))

    def recv(self, size: int) -> bytes:
        """The next message, of any size; empty at the end of the connection."""
        while not self._came:
            if self._websocket.ended or not self._receive():
                return b""
        return self._came.popleft()

    def _receive(self) -> bool:
        data = self._raw.recv(_READ_BYTES)
        if data:
            self._came.extend(each for each in self._websocket.receive(data) if each)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # Earlier messages are still to be read.
                self._raw.sendall(self._websocket.answer())
        return bool(data)

    def settimeout(self, seconds: float) -> None:
        """Set how many seconds to wait."""
        self._raw.settimeout(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


def open_tcp(host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection that sends small frames at once.

    :param seconds: time limit for connecting, and for every later operation.
    :raises OSError: it cannot be opened.
    """
    connection = socket.create_connection((host, port), seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def open_socket(server: ServerAddress, seconds: float) -> BlockingSocket:
    """A connection to a server, with the transport of its address.

    :param seconds: time limit for each step, and for every later operation.
    :raises OSError: it cannot be opened.
    """
    connection = open_tcp(server.host, server.port, seconds)
    try:
        if server.tls:
            connection = _tls(server.ca).wrap_socket(connection, server_hostname=server.host)
        return MessageSocket(connection, server.authority, server.path) if server.path else connection
    except BaseException:
        connection.close()
        raise


@cache
def _tls(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca or None)


def certificate_complaint(server: ServerAddress, seconds: float) -> str | None:
    """Connect to find out why a certificate is refused, because Twisted does not report the reason. Blocks.

    :param seconds: time limit of the connection, and of the handshake.
    :return: the reason in words; None if the certificate is not refused.
    """
    try:
        open_socket(dataclasses.replace(server, path=""), seconds).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return None
    return None


def connect_error(server: ServerAddress, error: OSError) -> str:
    """The reason why :func:`open_socket` failed, in one line for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{server}: its certificate is not trusted: {error.verify_message}"
    # The text of getaddrinfo's errors has a number in front.
    reason = error.strerror or ("no answer" if isinstance(error, TimeoutError) else str(error))
    return f"cannot connect to {server}: {reason}"
