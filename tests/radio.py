"""A radio, or a publisher, on a raw socket: it knows STOMP's frames and forgives nothing.

    radio = Radio.connect(server.address)                            # 1.0; version="1.2" negotiates
    radio.subscribe("/topic/id/tests._ebu.nowhere/topic1/image", id="7")
    station = Radio.connect(server.address, "1.test", "test")
    station.publish("/topic/id/tests._ebu.nowhere/topic1/image", b"SHOW http://s/1.png", link="http://s/")
    assert radio.frame().body == b"SHOW http://s/1.png"
    assert radio.so_far() == []                                      # nothing else came

Everything blocks, with a time limit; nothing is skipped or unescaped behind the test's back.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

SECONDS = 20.0  # To wait for a frame or an end; everything here answers within milliseconds unless something is wrong.
_HEAD = re.compile(rb"([A-Z]+)\n((?:[^\n]+\n)*)\n")
_receipts = itertools.count(1)


@dataclass(frozen=True)
class Frame:
    """A frame as it was received.

    :ivar headers: in order, as written: an escaped value is still escaped.
    :ivar raw: all octets, from the command to the NUL.
    """

    command: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    def get(self, name: str) -> str | None:
        """The value of the first header of this name."""
        return next((value for each, value in self.headers if each == name), None)

    def names(self) -> list[str]:
        """The names of the headers, in order."""
        return [name for name, _ in self.headers]


def frame(command: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """The octets of a frame. Nothing is escaped, so that a test can send what it wants."""
    lines = "".join(f"{name}:{value}\n" for name, value in (headers or {}).items())
    return f"{command}\n{lines}\n".encode() + body + b"\0"


class Radio:
    """One connection.

    :ivar session: the ``session`` of CONNECTED.
    :ivar connected: the CONNECTED frame, once it was read.
    :ivar padding: octets between frames that came so far: LFs are heart-beats, or the line end behind each NUL.
    """

    connected: Frame

    def __init__(self, address: tuple[str, int], seconds: float = SECONDS, receive_buffer: int | None = None) -> None:
        """Connect the socket, and send nothing yet.

        :param receive_buffer: octets the kernel keeps for us, for a radio that reads slowly.
        """
        self.seconds = seconds
        self.padding = b""
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(seconds)
        self._socket.connect(address)

    @classmethod
    def connect(
        cls,
        address: tuple[str, int],
        login: str = "",
        passcode: str = "",
        *,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Connect and log in; the answer must be CONNECTED.

        :param version: for ``accept-version``; None sends a plain CONNECT, which means 1.0.
        """
        radio = cls(address)
        lines = dict(headers or {})
        if version is not None:
            lines |= {"accept-version": version, "host": "localhost"}
        if login or passcode:
            lines |= {"login": login, "passcode": passcode}
        radio.send(frame("CONNECT", lines))
        radio.expect("CONNECTED")
        return radio

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def session(self) -> str:
        return self.connected.get("session") or ""

    @property
    def port(self) -> int:
        """Our own port."""
        port: int = self._socket.getsockname()[1]
        return port

    # Speaking

    def send(self, data: bytes) -> None:
        """Send octets as they are."""
        self._socket.sendall(data)

    def flood(self, data: bytes) -> None:
        """Send octets until the server has had enough of them."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def say(self, command: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send one frame."""
        self.send(frame(command, headers, body))

    def subscribe(self, destination: str, id: str | None = None, *, fast_reply: bool = True, **headers: str) -> None:
        """Subscribe, and return when the server has done it.

        Messages that come meanwhile stay to be read. An id is made up for versions that need one.
        """
        lines = {"destination": destination}
        if id is None and self._standard:
            id = f"id-{next(_receipts)}"
        if id is not None:
            lines["id"] = id
        if not fast_reply:
            lines["x-ebu-nofastreply"] = "yes"
        self.say("SUBSCRIBE", lines | headers)
        self._settle()

    def publish(self, destination: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """SEND, and return when the server has done it (in 1.1+: when the bus has the message)."""
        receipt = f"receipt-{next(_receipts)}"
        self.say("SEND", {"destination": destination, "receipt": receipt, **(headers or {})}, body)
        self._await_receipt(receipt)
        if not self._standard:
            self._settle()

    def half_close(self) -> None:
        """Say that we will send no more, and read on."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    # Listening

    def frame(self, seconds: float | None = None) -> Frame:
        """The next frame.

        :raises AssertionError: the connection ended, or what came is no frame.
        :raises TimeoutError: none came in time.
        """
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        while True:
            found = self._take_frame()
            if found is not None:
                if found.command == "CONNECTED":
                    self.connected = found
                return found
            if not self._read(deadline):
                raise AssertionError(f"the connection ended; left over: {bytes(self._buffer)!r}")

    def frames(self, count: int) -> list[Frame]:
        """The next frames."""
        return [self.frame() for _ in range(count)]

    def expect(self, command: str, **headers: str) -> Frame:
        """The next frame, which must be of this kind and have these headers; ``_`` stands for ``-`` in names."""
        found = self.frame()
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        if found.command != command or any(found.get(name) != value for name, value in wanted.items()):
            raise AssertionError(f"expected {command} {wanted or ''}, got {found.raw!r}")
        return found

    def so_far(self) -> list[Frame]:
        """Everything that has come and was not read yet, once the server has worked off all we have sent.

        Asks for a receipt, so it shows that something did *not* come, without waiting for it.
        """
        receipt = f"receipt-{next(_receipts)}"
        self._ask(receipt)
        came: list[Frame] = []
        while (found := self.frame()).get("receipt-id") != receipt:
            came.append(found)
        return came

    def octet(self) -> bytes:
        """The next octet, whatever it is; empty at the end of the connection."""
        deadline = time.monotonic() + self.seconds
        while not self._buffer:
            if not self._read(deadline):
                return b""
        first = bytes(self._buffer[:1])
        del self._buffer[:1]
        return first

    def rest(self, seconds: float | None = None) -> bytes:
        """All octets up to the end of the connection, which must come in time; a reset counts as an end."""
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        while self._read(deadline):
            pass
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def ends(self, seconds: float | None = None) -> bool:
        """Whether the connection ends without any further frame. Waits for that; heart-beats may come."""
        return not self.rest(seconds).strip(b"\n")

    # Inside

    @property
    def _standard(self) -> bool:
        return self.connected.get("version") in ("1.1", "1.2")

    def _ask(self, receipt: str) -> None:
        """Something harmless that is answered. 1.0 knows no command for it, but answers unknown ones."""
        if self._standard:
            self.say("BEGIN", {"transaction": receipt, "receipt": receipt})
            self.say("ABORT", {"transaction": receipt})
        else:
            self.say("NOTHING", {"receipt": receipt})

    def _settle(self) -> None:
        """Wait until the server has worked off all we have sent; an ERROR instead of that is an error."""
        receipt = f"receipt-{next(_receipts)}"
        self._ask(receipt)
        self._await_receipt(receipt)

    def _await_receipt(self, receipt: str) -> None:
        came: list[Frame] = []
        while (found := self.frame()).get("receipt-id") != receipt or found.command != "RECEIPT":
            if found.command == "ERROR":
                raise AssertionError(f"refused: {found.raw!r}")
            came.append(found)
        self._buffer[:0] = b"".join(each.raw for each in came)

    def _take_frame(self) -> Frame | None:
        start = len(self._buffer) - len(self._buffer.lstrip(b"\n"))
        self.padding += bytes(self._buffer[:start])
        del self._buffer[:start]
        head = _HEAD.match(bytes(self._buffer))
        if head is None:
            if b"\0" in self._buffer:
                raise AssertionError(f"no frame: {bytes(self._buffer)!r}")
            return None
        headers = tuple(_header(line) for line in head[2].decode().splitlines())
        length = next((int(value) for name, value in headers if name == "content-length"), None)
        end = self._buffer.find(b"\0", head.end()) if length is None else head.end() + length
        if end < 0 or end >= len(self._buffer):
            return None
        raw = bytes(self._buffer[: end + 1])
        if raw[-1]:
            raise AssertionError(f"no NUL behind {length} octets of body: {raw!r}")
        del self._buffer[: end + 1]
        return Frame(head[1].decode(), headers, raw[head.end() : -1], raw)

    def _read(self, deadline: float) -> bool:
        """Read once. False at the end of the connection."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing came in time; so far: {bytes(self._buffer)!r}")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise TimeoutError(f"nothing came in time; so far: {bytes(self._buffer)!r}") from None
        except ConnectionResetError:
            return False
        finally:
            self._socket.settimeout(self.seconds)
        self._buffer += data
        return bool(data)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise AssertionError(f"a header without a colon: {line!r}")
    return name, value
