"""Transcripts of receivers and publishers: what a client sends, octet by octet, and what it has to receive.

A file of ``transcripts/`` holds one client. It says where its octets come from; a client whose program nobody has
published is written from what is known of it (contract §5). ::

    TRANSCRIPTS = (
        Transcript(
            client="Qt client",
            version="1.0",
            source="…",
            does="…",
            steps=(
                Says(b"CONNECT\\nlogin:\\npasscode:\\n\\n\\0\\n"),
                Hears(b"CONNECTED\\nsession:<session>\\n\\n\\0"),
                …
            ),
        ),
    )

Not here: odr-radiodns-bridge, which looks up SRV records and opens no connection (src/odr/radiodns/resolver.py at
0942c4b), and DABFMMonkey, whose source is not published.

Topics have ``ffff`` where each conversation has a number of its own, in four digits: no conversation meets messages of
another one, and the octets stay as many. In what a client hears, ``<session>``, ``<message-id>``, ``<when>`` and
``<server>`` stand for what the server chooses; in what it says, ``<session>`` is the one it was given.

:class:`Conversation` plays a transcript against a node.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from tests.message_socket import MessageSocket
from tests.radio import SECONDS, Radio

NUMBER = b"ffff"
"""Stands for the number of a conversation."""
TOPICS = ("/topic/id/", "/topic/fm/4e1/", "/topic/fm/ch/", "/topic/dab/")
"""What the station 1 of the node may publish to."""
SESSION = b"<session>"
_UUID = rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CHOSEN = {
    SESSION: rb"(?P<session>" + _UUID + rb")",
    b"<message-id>": _UUID,
    b"<when>": rb"[0-9]{10}",
    b"<server>": rb"radiovis/[0-9A-Za-z.+-]+ \((?:RabbitMQ|own bus)\)",
}
_FRAME = re.compile(rb"[^\0]+\0\n?")
_LONGEST = 64  # characters of a body in a table


@dataclass(frozen=True)
class Says:
    """The client sends these octets: over TCP in one write, over a WebSocket in one text message."""

    octets: bytes


@dataclass(frozen=True)
class Hears:
    """The client receives these frames and nothing between them."""

    octets: bytes


@dataclass(frozen=True)
class Published:
    """A station publishes a message, and the server has it."""

    topic: bytes
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reaches:
    """A radio that negotiates nothing and listens to the topic receives this frame."""

    topic: bytes
    octets: bytes


@dataclass(frozen=True)
class Ends:
    """The server closes the connection, and sends nothing before."""


Step = Says | Hears | Published | Reaches | Ends


@dataclass(frozen=True)
class Transcript:
    """
    :ivar client: its name, and that of its STOMP library.
    :ivar version: of STOMP.
    :ivar source: where its octets are from: the program, with version or commit.
    :ivar does: in a few words.
    :ivar settings: what the node needs for it, besides the defaults.
    :ivar subprotocols: that it offers, over a WebSocket.
    """

    client: str
    version: str
    source: str
    does: str
    steps: tuple[Step, ...]
    transport: Literal["TCP", "WebSocket"] = "TCP"
    settings: tuple[tuple[str, str], ...] = ()
    subprotocols: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.client}, {self.version}, {self.transport}: {self.does}"

    def said(self) -> bytes:
        """All octets of the client, with any session."""
        return b"".join(step.octets for step in self.steps if isinstance(step, Says)).replace(SESSION, b"0" * 36)


def transcripts() -> list[Transcript]:
    """Those of all clients."""
    files = sorted((Path(__file__).parent / "transcripts").glob("[a-z]*.py"))
    modules = [import_module(f"{__package__}.transcripts.{file.stem}") for file in files]
    return [each for module in modules for each in module.TRANSCRIPTS]


class TornSocket:
    """A socket that sends in pieces, each of which is a read of its own at the other end.

    :ivar sent: octets so far.
    """

    def __init__(self, address: tuple[str, int], tears: Callable[[int], bool], settle: Callable[[], None]) -> None:
        """
        :param tears: whether to tear before the octet of this number, counted from 0.
        :param settle: returns when the node has read what was sent.
        """
        self.sent = 0
        self._tears = tears
        self._settle = settle
        self._socket = socket.create_connection(address, SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sendall(self, data: bytes) -> None:
        begun = 0
        for index in range(1, len(data)):
            if self._tears(self.sent + index):
                self._socket.sendall(data[begun:index])
                self._settle()
                begun = index
        self._socket.sendall(data[begun:])
        self.sent += len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Company:
    """A station and a radio that use a node beside the clients, and a connection that tells when the node has read."""

    def __init__(self, address: tuple[str, int], http: tuple[str, int] | None = None) -> None:
        self.address = address
        self.http = http
        self.station = Radio.connect(address, "1.test", "test")
        self.radio = Radio.connect(address)
        self._asking = Radio.connect(address)

    def close(self) -> None:
        for each in (self.station, self.radio, self._asking):
            each.close()

    def settle(self) -> None:
        """Return when the node has read what any client has sent before.

        The node reads from all sockets that have octets before it asks for such sockets again, but in any order: when
        it has answered a second time, it has read all that was there before the first.
        """
        for _ in range(2):
            self._asking.say("NOTHING", {"receipt": "read"})
            self._asking.expect("RECEIPT", receipt_id="read")


class Conversation:
    """A transcript that is played against a node, once.

    :ivar heard: the frames that the client received.
    :ivar reached: the frames that the radio beside it received.
    :ivar octets: how many the client has sent.
    """

    def __init__(
        self,
        transcript: Transcript,
        company: Company,
        number: int,
        tears: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.transcript = transcript
        self.heard: list[bytes] = []
        self.reached: list[bytes] = []
        self.octets = 0
        self._company = company
        self._number = b"%04x" % number
        self._tears = tears
        self._session = b""
        self._buffer = b""
        self._line: Any = None

    def play(self) -> None:
        """
        :raises AssertionError: the client received something else.
        """
        reached = dict.fromkeys(step.topic for step in self.transcript.steps if isinstance(step, Reaches))
        listened = [self._numbered(topic).decode() for topic in reached]
        for topic in listened:
            self._company.radio.subscribe(topic, fast_reply=False)
        with closing(self._connect()) as torn:
            for step in self.transcript.steps:
                self._take(step)
            if not isinstance(self.transcript.steps[-1], Ends):
                self._expect_nothing()
            self.octets = torn.sent
        for topic in listened:
            self._company.radio.say("UNSUBSCRIBE", {"destination": topic})
        if listened and (came := self._company.radio.so_far()):
            raise AssertionError(f"the radio beside it received {came}")

    def _connect(self) -> TornSocket:
        web = self.transcript.transport == "WebSocket"
        address = self._company.http if web else self._company.address
        assert address is not None
        torn = TornSocket(address, self._tears, self._company.settle)
        torn.settimeout(SECONDS)
        line: Any = torn
        if web:
            line = MessageSocket(line, "/stomp", self.transcript.subprotocols)
        self._line = line
        return torn

    def _take(self, step: Step) -> None:
        if isinstance(step, Says):
            self._line.sendall(self._numbered(step.octets).replace(SESSION, self._session))
        elif isinstance(step, Hears):
            for expected in _FRAME.findall(self._numbered(step.octets)):
                self.heard.append(self._compare(expected, self._frame(expected.endswith(b"\n"))))
        elif isinstance(step, Published):
            self._company.settle()  # The node acts on a SUBSCRIBE when it has read it.
            self._company.station.publish(self._numbered(step.topic).decode(), step.body, step.headers)
        elif isinstance(step, Reaches):
            frame = self._company.radio.frame().raw
            self.reached.append(self._compare(self._numbered(step.octets), frame))
        else:
            self._expect_end()

    def _numbered(self, octets: bytes) -> bytes:
        return octets.replace(NUMBER, self._number)

    def _compare(self, expected: bytes, frame: bytes) -> bytes:
        pattern = re.escape(expected)
        for token, chosen in _CHOSEN.items():
            pattern = pattern.replace(re.escape(token), chosen)
        found = re.fullmatch(pattern, frame)
        if found is None:
            raise AssertionError(f"expected {expected!r}, got {frame!r}")
        self._session = found.groupdict().get("session") or self._session
        return frame

    def _frame(self, with_lf: bool) -> bytes:
        """The next frame. A LF that comes before it is a heart-beat: a slow test takes as long as one."""
        while True:
            if self.heard and self.transcript.version != "1.0":
                self._buffer = self._buffer.lstrip(b"\n")
            end = self._buffer.find(b"\0") + 1
            if end and len(self._buffer) >= end + with_lf:
                frame, self._buffer = self._buffer[: end + with_lf], self._buffer[end + with_lf :]
                return frame
            came = self._line.recv(65536)
            if not came:
                raise AssertionError(f"the connection ended behind {self._buffer!r}")
            self._buffer += came

    def _expect_nothing(self) -> None:
        self._company.settle()
        self._line.settimeout(0)
        try:
            self._buffer += self._line.recv(65536)
        except BlockingIOError:
            pass
        else:
            raise AssertionError(f"it also received {self._buffer!r}, or the connection ended")
        if self._buffer:
            raise AssertionError(f"it also received {self._buffer!r}")

    def _expect_end(self) -> None:
        try:
            while came := self._line.recv(65536):
                self._buffer += came
        except ConnectionResetError:
            pass
        if self._buffer.strip(b"\n"):
            raise AssertionError(f"it also received {self._buffer!r}")

    def summary(self) -> str:
        """What was received, for a table."""
        commands = Counter(frame.split(b"\n")[0].decode() for frame in self.heard)
        told = [name if count == 1 else f"{count} {name}" for name, count in commands.items()]
        bodies = [_body(frame) for frame in self.heard if frame.startswith(b"MESSAGE\n")]
        if self.reached:
            told.append("published: " + ", ".join(map(_body, self.reached)))
        return ", ".join(told) + (f" ({', '.join(bodies)})" if bodies else "")


def _body(frame: bytes) -> str:
    return frame.partition(b"\n\n")[2].rstrip(b"\0\n").decode()[:_LONGEST]
