"""A client of HTTP and of server-sent events, with blocking sockets that have time limits."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

SECONDS = 20.0

Address = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(address: Address, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own. ``content_type=…`` is the header ``content-type``."""
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return _read(connection.getresponse())
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def poll_path(*topics: str, last_id: str | None = None, **more: str) -> str:
    """A path of vis.json."""
    query = [("topic", topic) for topic in topics] + list(more.items())
    if last_id is not None:
        query.append(("last_id", last_id))
    return "/radiodns/vis/vis.json?" + urlencode(query)


def basic(login: str, password: str) -> str:
    """The value of ``authorization``."""
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


class Poller:
    """One receiver that keeps its connections, one for each node it asks."""

    def __init__(self) -> None:
        self._connections: dict[Address, http.client.HTTPConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def ask(self, address: Address, path: str) -> Answer:
        """A request, as :func:`ask`."""
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = http.client.HTTPConnection(*address, timeout=SECONDS)
        connection.request("GET", path)
        return _read(connection.getresponse())


class Raw:
    """A socket to a node, on which the test says what it likes."""

    def __init__(self, address: Address, data: bytes = b"", source: str = "") -> None:
        """:param source: the address that the client comes from; any if not given."""
        self.socket = socket.create_connection(address, SECONDS, (source, 0))
        self._received = b""
        if data:
            self.send(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        """Say that we will send no more, and read on."""
        self.socket.shutdown(socket.SHUT_WR)

    def until(self, end: bytes) -> bytes:
        """What comes up to this end, which is part of it. The end of the connection is an error."""
        while end not in self._received:
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError(f"the connection ended; before that: {self._received!r}")
            self._received += data
        found, _, self._received = self._received.partition(end)
        return found + end

    def octets(self, count: int) -> bytes:
        """The next ones, so many. The end of the connection is an error."""
        while len(self._received) < count:
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError(f"the connection ended; before that: {self._received!r}")
            self._received += data
        found, self._received = self._received[:count], self._received[count:]
        return found

    def to_the_end(self) -> bytes:
        """All that comes until the connection ends."""
        while data := self.socket.recv(65_536):
            self._received += data
        return self._received


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: Any
    id: str


class Events(Raw):
    """A stream, read from the raw octets: chunks, then lines.

    :ivar headers: of the answer, in lower case, in one piece.
    """

    def __init__(self, address: Address, path: str, **headers: str) -> None:
        lines = [
            f"GET {path} HTTP/1.1",
            "host: localhost",
            *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
        ]
        super().__init__(address, "\r\n".join([*lines, "", ""]).encode())
        self.headers = self.until(b"\r\n\r\n").decode().lower()
        self._stream = b""

    @property
    def status(self) -> int:
        return int(self.headers.split()[1])

    def _block(self) -> str:
        """The next piece that ends with an empty line."""
        while b"\n\n" not in self._stream:
            length = int(self.until(b"\r\n"), 16)
            if not length:
                raise EOFError("the stream has ended")
            while len(self._received) < length + 2:
                data = self.socket.recv(65_536)
                if not data:
                    raise EOFError("the connection ended")
                self._received += data
            self._stream += self._received[:length]
            self._received = self._received[length + 2 :]
        block, _, self._stream = self._stream.partition(b"\n\n")
        return block.decode()

    def next(self) -> Event:
        """The next event; comments and ``retry`` are passed over."""
        while True:
            fields = dict(line.split(": ", 1) for line in self._block().split("\n") if ": " in line)
            if "event" in fields:
                return Event(fields["event"], json.loads(fields["data"]), fields["id"])

    def comment(self) -> None:
        """The next thing must be a comment."""
        block = self._block()
        if block.startswith("retry"):
            block = self._block()
        if block != ":":
            raise AssertionError(f"not a comment: {block!r}")
