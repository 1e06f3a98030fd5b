"""A socket whose octets travel in the messages of a WebSocket; the checks use it as any other."""

from __future__ import annotations

import contextlib
import socket
from collections import deque

from radiovis.client.websocket import ClientWebSocket


class MessageSocket:
    """Made of a connected socket; the handshake is done when it has been made."""

    def __init__(self, connected: socket.socket, host: str, path: str) -> None:
        """
        :param host: as for :class:`ClientWebSocket`.
        :raises OSError: the server opens no WebSocket there.
        """
        self._raw = connected
        self._socket = ClientWebSocket(host, path)
        self._came: deque[bytes] = deque()
        self._raw.sendall(self._socket.hello())
        while not self._socket.open:
            if not self._receive():
                raise ConnectionError("it closed the connection in the WebSocket's handshake")

    def sendall(self, octets: bytes) -> None:
        """Send octets, in one message."""
        self._raw.sendall(self._socket.wrapped(octets))

    def recv(self, size: int) -> bytes:
        """The next message, whatever its size; empty at the end."""
        while not self._came:
            if self._socket.ended or not self._receive():
                return b""
        return self._came.popleft()

    def _receive(self) -> bool:
        data = self._raw.recv(65_536)
        if data:
            self._came.extend(each for each in self._socket.receive(data) if each)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # It has been sent all it gets.
                self._raw.sendall(self._socket.answer())
        return bool(data)

    def settimeout(self, seconds: float) -> None:
        """As of a socket."""
        self._raw.settimeout(seconds)

    def close(self) -> None:
        """Hang up."""
        self._raw.close()
