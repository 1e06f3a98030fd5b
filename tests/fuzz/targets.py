"""What must hold for any octets at all, for each place where octets of strangers are read.

Each target takes octets and raises when something does not hold. Hypothesis invents the octets in ``make test``
(``test_targets.py``), atheris in ``make fuzz``; what they find becomes a row in ``tests/fanout/stomp/wire_cases.py`` or
a test with a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pika.spec import BasicProperties
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import parse_qs
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from artcast.datum import Datum, as_json, parse, read_datum, read_registration
from artcast.forms import text_of
from fanout.bus.amqp_connection import UNREADABLE
from fanout.bus.amqp_message import DEFAULT_LIMITS, MalformedMessage, from_amqp, to_amqp
from fanout.http.files import Folder
from fanout.http.limits import WebSocketSettings
from fanout.http.response import HttpError
from fanout.http.routing import BadPath, Pattern, Request, split
from fanout.http.topic_resources import choose
from fanout.http.websocket import WebSocket, WebSocketServer
from fanout.hub.message import Message
from fanout.listeners.datagrams import MalformedDatagram
from fanout.stomp.codec import Decoder, Frame, RemoteProtocolError, encode
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.limits import StompLimits
from fanout.stomp.session import State
from radiovis import topics
from radiovis.http import visjson
from tests.fanout.stomp.pair import Server, read_frames
from tests.fanout.stomp.wire_cases import CASES

ALL = tuple(DIALECTS)
CONNECTS = {
    "1.0": b"CONNECT\n\n\0",
    "1.1": b"CONNECT\naccept-version:1.1\nhost:h\n\n\0",
    "1.2": b"CONNECT\naccept-version:1.2\nhost:h\n\n\0",
}
NOW = 1_795_294_700
_WIDE = StompLimits(header_bytes=100_000, headers=100)  # Escapes, and a content-length, make a frame longer.
_CALLBACK = re.compile(rb"[A-Za-z0-9_$.]{1,64}")


def _version(data: bytes) -> tuple[str, bytes]:
    """The first octet chooses the version."""
    return ALL[(data[0] if data else 0) % len(ALL)], data[1:]


# STOMP frames


def codec(data: bytes) -> None:
    """The same frames however the octets are cut; frames or protocol errors; what is read can be written."""
    version, octets = _version(data)
    cut = octets[0] if octets else 0
    whole, fault = _decoded(version, [octets])
    parts, other = _decoded(version, [octets[:cut], octets[cut:]])
    assert parts == whole, (parts, whole)
    assert (fault is None) == (other is None), (fault, other)
    for frame in filter(lambda frame: frame.command, whole):  # Nobody writes one without a command.
        again, error = _decoded(version, [encode(frame, DIALECTS[version])], _WIDE)
        assert error is None, (frame, error)
        assert len(again) == 1, (frame, again)


def _decoded(
    version: str, parts: list[bytes], limits: StompLimits | None = None
) -> tuple[list[Frame], RemoteProtocolError | None]:
    decoder, frames = Decoder(limits or StompLimits()), []
    decoder.dialect = DIALECTS[version]
    for part in parts:
        decoder.receive(part)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except RemoteProtocolError as error:
            return frames, error
    return frames, None


# STOMP sessions


def session(data: bytes) -> None:
    """Never an exception; what is said are whole frames; nothing behind the end."""
    version, octets = _version(data)
    server = Server()
    said = server.hear(CONNECTS[version] + octets)
    _check_said(said, version, server)


def opening(data: bytes) -> None:
    """The same from the first octet on."""
    server = Server()
    said = server.hear(data)
    if said.startswith(b"CONNECTED"):
        _check_said(said, server.session.dialect.version, server)
    elif said:
        assert said.startswith(b"ERROR\n"), said


def _check_said(said: bytes, version: str, server: Server) -> None:
    for frame in read_frames(said, version):
        assert frame.command in ("CONNECTED", "ERROR", "RECEIPT", "MESSAGE"), frame
    if server.session.state is State.CLOSED:
        assert server.hear(b"BEGIN\ntransaction:x\nreceipt:1\n\n\0") == b""


# Topics


def topic(data: bytes) -> None:
    """The canonical spelling is its own canonical spelling, has as many parts, and the same last one."""
    text = data.decode(errors="replace")
    country = topics.country_of(text)
    for gcc in (None, "4e1" if country else None):
        found = topics.canonical(text, gcc)
        assert topics.canonical(found, gcc) == found, (text, found)
        assert found.count("/") == text.count("/"), (text, found)
        assert found.rpartition("/")[2] == text.rpartition("/")[2], (text, found)
    assert country is None or re.fullmatch("[a-z]{2}", country), country
    assert topics.channel_of(text).endswith("/")
    if topics.has_fm_shape(text):
        assert topics.is_fm(text)
        assert "/*/" in topics.any_frequency(text) or topics.any_frequency(text).endswith("*")


# vis.json


def vis_query(data: bytes) -> None:
    """Topics without anything no topic has, a callback that is nothing but a name; otherwise an error with a text."""
    http: Any = SimpleNamespace(args=parse_qs(data, keep_blank_values=True))
    request = Request(http, "/", {})
    try:
        wanted = visjson.Polls()._topics(request)
        callback = visjson._callback(request)
    except HttpError as error:
        assert 400 <= error.status < 500, error
        assert error.detail.isprintable(), error.detail
        return
    assert 0 < len(wanted) <= 16
    for each in wanted:
        assert each.startswith("/topic/"), each
        assert not re.search(r"[\s\x00-\x1f\x7f]", each), each
    assert callback is None or _CALLBACK.fullmatch(callback), callback


def vis_answer(data: bytes) -> None:
    """Whatever a message holds, its answer is one JSON object of ASCII without what would end a script."""
    text = data.decode(errors="replace")
    message = Message("/topic/a/b", data, text, NOW, (("link", text), ("trigger-time", text)))
    encoded = visjson.VisForm("/topic/a/b").encode(message, {})
    assert encoded.isascii()
    assert b"\n" not in encoded
    found = json.loads(encoded)
    assert found["body"] == text
    assert found["headers"]["RadioVIS-Link"] == text


# WebSockets


class _Listener:
    """:ivar heard: octets that came through."""

    def __init__(self, _: object) -> None:
        self.heard = 0

    def received(self, data: bytes) -> None:
        self.heard += len(data)

    def full(self) -> None:
        pass

    def drained(self) -> None:
        pass

    def gone(self) -> None:
        pass


class _Transport(StringTransport):
    def abortConnection(self) -> None:
        self.loseConnection()


def websocket(data: bytes) -> None:
    """Never an exception; no more comes through than came in; nothing is kept behind the end."""
    failures: list[Exception] = []
    clock = Clock()
    websockets = WebSocketServer(
        clock, WebSocketSettings(), clock.seconds, lambda *_, **__: None, lambda _, error: failures.append(error)
    )
    listeners: list[_Listener] = []

    def listen(socket: WebSocket) -> _Listener:
        listeners.append(_Listener(socket))
        return listeners[-1]

    socket = WebSocket(websockets, listen)
    socket.makeConnection(_Transport())
    cut = data[0] if data else 0
    for part in (data[:cut], data[cut:]):
        socket.dataReceived(part)
    clock.advance(60)
    assert not failures, failures
    assert listeners[0].heard <= 3 * len(data), (listeners[0].heard, len(data))  # A replaced octet is three of UTF-8.


# AMQP


def amqp(data: bytes) -> None:
    """Properties pika can read are a message, or malformed; a message has no NUL, keeps the limits, and goes back."""
    try:
        properties = BasicProperties().decode(data)
    except UNREADABLE:
        return
    try:
        message = from_amqp(properties, data, NOW)
    except MalformedMessage:
        return
    limits = DEFAULT_LIMITS
    texts = [message.topic, message.message_id, *(text for header in message.headers for text in header)]
    assert not any("\0" in text for text in texts), texts
    assert len(message.topic.encode()) <= limits.topic_bytes
    assert len(message.headers) <= limits.headers
    try:
        again, body = to_amqp(message)
    except ValueError:
        return
    back = from_amqp(again, body, NOW)
    for field in ("topic", "body", "message_id", "when", "headers"):
        assert getattr(back, field) == getattr(message, field), (field, back, message)


# Datagrams of Artcast


def datagram(data: bytes) -> None:
    """A value or a fact that is JSON in ASCII from then on, and can be shown; or malformed."""
    for read in (read_datum, read_registration):
        try:
            said = read(data, 1_000)
        except MalformedDatagram:
            continue
        assert len(said.key.encode()) <= 1_000
        value = said.value if isinstance(said, Datum) else json.dumps(said.facts).encode()
        assert value.isascii()
        assert as_json(parse(value)) == value
        text, _ = text_of(value)
        text.decode()


# Where to begin: octets that mean something


# The web face


def path(data: bytes) -> None:
    """A path leads into a folder, or is none; and one pattern gives back all of it."""
    try:
        segments = split(b"/" + data)
    except BadPath as error:
        assert str(error)
        return
    assert not {".", ".."} & set("/".join(segments).replace("\\", "/").split("/")), segments
    assert Pattern("/{all:path}").match(segments) == {"all": "/".join(segments)}
    place = Folder("/usr", symlinks=True).find("/".join(segments))
    assert place is None or place.is_relative_to("/usr"), place


def accept(data: bytes) -> None:
    """An Accept header names one of our types, or none of them."""
    header = data.decode("latin-1")
    try:
        assert choose(header, ["text/plain; charset=utf-8", "application/json"])
    except HttpError as error:
        assert error.status == 406, error


def _frames() -> list[bytes]:
    return [case.octets for case in CASES if len(case.octets) <= 2_000]


def _web_socket_messages() -> list[bytes]:
    client = Connection(ConnectionType.CLIENT)
    return [client.send(each) for each in (TextMessage("CONNECT\n\n\0"), BytesMessage(b"\0\xff"), TextMessage("é"))]


def _properties() -> list[bytes]:
    headers = {"topic": "/topic/a/b", "when": 1, "x": [1, True, None], "y": {"z": b"\xff"}, "message-id": "1"}
    every = BasicProperties(headers=headers, timestamp=NOW, message_id="1", correlation_id="fanout-1", delivery_mode=2)
    return [b"".join(each.encode()) for each in (BasicProperties(headers={"topic": "/topic/a"}), every)]


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "codec": (codec, [bytes([number]) + each for number, each in enumerate(_frames())]),
    "session": (session, [bytes([number]) + each for number, each in enumerate(_frames())]),
    "opening": (opening, [*CONNECTS.values(), *_frames()]),
    "topic": (topic, [b"/topic/fm/ch/4000/09580/image", b"/topic/dab/4e1/4001/4d01/0/image", b"/topic/*/text"]),
    "vis_query": (
        vis_query,
        [b"topic=/topic/fm/4e1/4000/09580/image&callback=a.b&last_id=1", b"topic=%2Fa%2Fb"],
    ),
    "vis_answer": (vis_answer, [b"SHOW http://s/1.png", "\u2028</script>é".encode()]),
    "websocket": (websocket, _web_socket_messages()),
    "amqp": (amqp, _properties()),
    "path": (path, [b"a/b", b"%2e%2e/x", b"..%2fx", b"a%5c..", b"%00", b"%c3%b6//", b"."]),
    "accept": (
        accept,
        [b"text/html;q=0.5, */*;q=0.1", b'text/plain;a="b, c\\"d";q=1', b"application/json;q=1.000,*/*"],
    ),
    "datagram": (
        datagram,
        [
            b'["test/tick", 1]',
            b'["k", {"description": "d", "provenance": "p", "license": {"uri": "u", "title": "t"}}]',
            b'["", [[1.5e3, null], "\\ud83d\\ude00", NaN]]',
        ],
    ),
}
