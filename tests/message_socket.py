"""The client's end of a WebSocket, over wsproto, for tests that want to see and do what no browser would.

    socket = MessageSocket.connect(node.http, "/stomp", subprotocols=["v12.stomp"])
    socket.say("CONNECT\\n\\n\\0")
    assert socket.message().startswith("CONNECTED")

:class:`WebSocketRadio` is a :class:`tests.radio.Radio` that speaks over one. Everything blocks, with a time limit.
"""

from __future__ import annotations

import base64
import os
import re
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import generate_accept_token

from tests.radio import Radio

SECONDS = 20.0
SUBPROTOCOLS = ("v10.stomp", "v11.stomp", "v12.stomp")
_HEAD = re.compile(rb"HTTP/1\.1 (\d+) [^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)


class NotUpgraded(Exception):
    """The server did not make a WebSocket of the request.

    :ivar body: of its answer.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"{status}: {body!r}")
        self.status = status
        self.headers = headers
        self.body = body


def handshake(path: str = "/stomp", key: bytes = b"", **headers: str) -> bytes:
    """A request; ``_`` stands for ``-`` in names, and an empty value leaves a header out."""
    lines = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": (key or base64.b64encode(os.urandom(16))).decode(),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return "\r\n".join(
        [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items() if value), "", ""]
    ).encode()


class MessageSocket:
    """A connected socket whose octets travel in messages.

    :ivar subprotocol: what the server chose.
    :ivar binary: whether :meth:`sendall` sends binary messages.
    :ivar messages: whole messages that came and were not read yet, text as str.
    :ivar pings: how many Pings came; :attr:`pongs`: the payloads of the Pongs.
    :ivar close_code: of the server's Close frame.
    """

    def __init__(self, connected: socket.socket, path: str, subprotocols: Sequence[str] = (), **headers: str) -> None:
        self.raw = connected
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small frames in a row wait for nothing
        self.binary = False
        self.messages: deque[str | bytes] = deque()
        self.pings = 0
        self.pongs: list[bytes] = []
        self.answers_pings = True
        self.close_code: int | None = None
        self._unfinished: Any = None
        key = base64.b64encode(os.urandom(16))
        if subprotocols:
            headers["Sec_WebSocket_Protocol"] = ", ".join(subprotocols)
        self.raw.sendall(handshake(path, key, **headers))
        status, self.headers, rest = self._read_head()
        if status != 101:
            raise NotUpgraded(status, self.headers, rest)
        assert self.headers["sec-websocket-accept"] == generate_accept_token(key).decode()
        self.subprotocol = self.headers.get("sec-websocket-protocol")
        self._frames = Connection(ConnectionType.CLIENT, trailing_data=rest)
        self._take(b"")

    @classmethod
    def connect(
        cls,
        address: tuple[str, int],
        path: str = "/stomp",
        subprotocols: Sequence[str] = (),
        *,
        receive_buffer: int | None = None,
        **headers: str,
    ) -> Self:
        """:param receive_buffer: octets the kernel keeps for us, for a client that reads slowly."""
        connected = socket.socket()
        if receive_buffer is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.settimeout(SECONDS)
        connected.connect(address)
        try:
            return cls(connected, path, subprotocols, **headers)
        except BaseException:
            connected.close()
            raise

    # Speaking

    def say(self, message: str | bytes, *, finished: bool = True) -> None:
        """Send a message, or a piece of one."""
        kind = TextMessage if isinstance(message, str) else BytesMessage
        self.raw.sendall(self._frames.send(kind(message, message_finished=finished)))

    def ping(self, payload: bytes) -> None:
        self.raw.sendall(self._frames.send(Ping(payload)))

    def leave(self, code: int = 1000) -> None:
        """Send a Close frame."""
        self.raw.sendall(self._frames.send(CloseConnection(code)))

    # Listening

    def message(self) -> str | bytes:
        """The next whole message."""
        while not self.messages:
            if not self._read():
                raise AssertionError(f"the connection ended, with {self.close_code}")
        return self.messages.popleft()

    def closed(self) -> int | None:
        """Wait for the end of the connection: the code of the server's Close frame, None if none came."""
        while self._read():
            pass
        return self.close_code

    def read(self) -> bool:
        """Wait for something, whatever it is. False at the end of the connection."""
        return self._read()

    # As tests.radio.Radio uses a socket

    def sendall(self, data: bytes) -> None:
        self.say(data if self.binary else data.decode())

    def recv(self, size: int) -> bytes:
        while not self.messages:
            if not self._read():
                return b""
        message = self.messages.popleft()
        return message.encode() if isinstance(message, str) else message

    def settimeout(self, seconds: float) -> None:
        self.raw.settimeout(seconds)

    def getsockname(self) -> Any:
        return self.raw.getsockname()

    def shutdown(self, how: int) -> None:
        self.raw.shutdown(how)

    def close(self) -> None:
        self.raw.close()

    # Inside

    def _read_head(self) -> tuple[int, dict[str, str], bytes]:
        data = b""
        while (head := _HEAD.match(data)) is None:
            came = self.raw.recv(65536)
            if not came:
                raise AssertionError(f"the connection ended in the handshake: {data!r}")
            data += came
        pairs = (line.partition(":") for line in head[2].decode().split("\r\n"))
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        rest = data[head.end() :]
        while len(rest) < int(headers.get("content-length", "0")):
            rest += self.raw.recv(65536)
        return int(head[1]), headers, rest

    def _read(self) -> bool:
        try:
            data = self.raw.recv(65536)
        except ConnectionResetError:
            return False
        if data:
            self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        if self._frames.state in (ConnectionState.CLOSED, ConnectionState.REMOTE_CLOSING):
            raise AssertionError(f"{data!r} came behind the Close frame")
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, TextMessage | BytesMessage):
                whole = event.data if self._unfinished is None else self._unfinished + event.data
                self._unfinished = None if event.message_finished else whole
                if event.message_finished:
                    self.messages.append(whole if isinstance(whole, str) else bytes(whole))
            elif isinstance(event, Ping):
                self.pings += 1
                if self.answers_pings:
                    self.raw.sendall(self._frames.send(event.response()))
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                self._take_close(event)

    def _take_close(self, event: CloseConnection) -> None:
        if self._frames.state is ConnectionState.OPEN:
            raise AssertionError(f"the server sent no WebSocket frame: {event.reason}")
        self.close_code = int(event.code)
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            self.raw.sendall(self._frames.send(event.response()))


class WebSocketRadio(Radio):
    """A radio over a WebSocket: everything one over TCP can do.

    :ivar socket: what its octets travel in.
    """

    def __init__(self, address: tuple[str, int], binary: bool = False, **options: Any) -> None:
        super().__init__(address, **options)
        self.socket = MessageSocket(self._socket, "/stomp", SUBPROTOCOLS)
        self.socket.binary = binary
        self._socket = self.socket  # type: ignore[assignment]
