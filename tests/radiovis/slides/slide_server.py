"""A server of slides in this process, which does to its guests what the path says."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from PIL import Image
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


def drawn(kind: str = "PNG", size: tuple[int, int] = (320, 240)) -> bytes:
    octets = io.BytesIO()
    Image.new("RGB", size, "red").save(octets, kind)
    return octets.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def decoy_png(side: int) -> bytes:
    """Its head is that of a small picture, and its second one that of a large one, with too few pixels."""
    small, large = (struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0) for size in ((320, 240), (side, side)))
    pixels = zlib.compress(bytes(10_000_000), 9)
    chunks = ((b"IHDR", small), (b"IHDR", large), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def decoy_jpeg(side: int) -> bytes:
    """The same: of several SOF segments the last one counts for Pillow."""
    picture = drawn("JPEG")
    at = picture.index(b"\xff\xc0")
    segment = picture[at : at + 2 + int.from_bytes(picture[at + 2 : at + 4], "big")]
    second = segment[:5] + struct.pack(">HH", side, side) + segment[9:]
    return picture[: at + len(segment)] + second + picture[at + len(segment) :]


def answer(content: bytes, kind: str | None = "image/png", length: int | None = -1, more: str = "") -> bytes:
    """An HTTP answer. :param length: what it says of itself; -1 the truth, None nothing."""
    head = "HTTP/1.1 200 OK\r\nConnection: close\r\n" + more
    if kind is not None:
        head += f"Content-Type: {kind}\r\n"
    if length is not None:
        head += f"Content-Length: {len(content) if length == -1 else length}\r\n"
    return head.encode() + b"\r\n" + content


class SlideServer(Factory):
    """Listens on 127.0.0.1.

    :ivar asked: how often each path was.
    :ivar open: connections nobody has closed.
    """

    noisy = False

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.open: set[_Guest] = set()
        self.closed: list[Deferred[None]] = []
        self.pages: dict[str, Callable[[_Guest], None]] = {
            "/good.png": lambda guest: guest.end(answer(drawn())),
            "/good.jpg": lambda guest: guest.end(answer(drawn("JPEG"), "image/jpeg")),
            "/large.png": lambda guest: guest.end(answer(drawn(size=(640, 480)))),
            "/as-text.png": lambda guest: guest.end(answer(drawn(), "text/plain")),
            "/no-type": lambda guest: guest.end(answer(drawn(), None)),
            "/no-length": lambda guest: guest.end(answer(drawn(), length=None)),
            "/cut": lambda guest: guest.end(answer(drawn()[:-40])),
            "/too-short": lambda guest: guest.end(answer(drawn(), length=5_000)),
            "/too-long": lambda guest: guest.end(answer(drawn(), length=100)),
            "/heavy": lambda guest: guest.end(answer(drawn() + bytes(60_000))),
            "/bomb": lambda guest: guest.end(answer(drawn(size=(30_000, 20)))),
            "/gzip": lambda guest: guest.end(answer(b"\x1f\x8b" + bytes(99), more="Content-Encoding: gzip\r\n")),
            "/missing": lambda guest: guest.end(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "/silent": lambda guest: None,
            "/stops": lambda guest: guest.say(answer(drawn()[:100], length=5_000)),
            "/50MB": lambda guest: guest.say(answer(b"", length=50_000_000)),
            "/flood": lambda guest: guest.flood(answer(b"", length=None), bytes(65_536)),
            "/headers": lambda guest: guest.flood(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 8_000 + b"\r\n"),
            "/no-http": lambda guest: guest.end(b"220 mail.example ESMTP\r\n"),
            "/loop": lambda guest: guest.end(moved("/loop")),
        }

    async def start(self, context: Any = None) -> None:
        """:param context: speaks TLS with it."""
        listen: Any = reactor
        if context is None:
            self._port = listen.listenTCP(0, self, interface="127.0.0.1")
        else:
            self._port = listen.listenSSL(0, self, context, interface="127.0.0.1")

    @property
    def port(self) -> int:
        number: int = self._port.getHost().port
        return number

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def buildProtocol(self, _address: object) -> Protocol:
        return _Guest(self)

    def deserted(self) -> Deferred[None]:
        """Fires when nobody is connected any more."""
        done: Deferred[None] = Deferred()
        self.closed.append(done)
        self.check_deserted()
        return done

    def check_deserted(self) -> None:
        if not self.open:
            waiting, self.closed = self.closed, []
            for each in waiting:
                each.callback(None)

    async def stop(self) -> None:
        for guest in list(self.open):
            guest.transport.abortConnection()
        await maybeDeferred(self._port.stopListening)
        await self.deserted()


def moved(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 99\r\n\r\nand no more".encode()


class _Guest(Protocol):
    transport: Any

    def __init__(self, server: SlideServer) -> None:
        self._server = server
        self._head = b""

    def connectionMade(self) -> None:
        self._server.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head:
            path, self._head = self._head.split(b" ")[1].decode(), b""
            self._server.asked[path] += 1
            self._server.pages[path](self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.open.discard(self)
        self._server.check_deserted()

    def say(self, octets: bytes) -> None:
        self.transport.write(octets)

    def end(self, octets: bytes) -> None:
        self.transport.write(octets)
        self.transport.loseConnection()

    def flood(self, head: bytes, more: bytes) -> None:
        """For ever."""
        self.transport.write(head)
        self.transport.registerProducer(_Flood(self.transport, more), streaming=False)


class _Flood:
    def __init__(self, transport: Any, more: bytes) -> None:
        self._transport = transport
        self._more = more

    def resumeProducing(self) -> None:
        self._transport.write(self._more)

    def stopProducing(self) -> None:
        """The guest has gone."""
