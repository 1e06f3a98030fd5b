"""What must hold for any octets at all, for each place where octets of strangers are read.

Each target takes octets and raises when something does not hold. Hypothesis invents the octets in ``make test``
(``test_targets.py``), atheris in ``make fuzz``; what they find becomes a row in ``tests/fanout/stomp/wire_cases.py`` or
a test with a name.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from multipart import parse_options_header
from pika.spec import BasicProperties
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import parse_qs
from twisted.web.test.requesthelper import DummyRequest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from artcast.datum import Datum, as_json, parse, read_datum, read_registration
from artcast.forms import text_of
from fanout.bus.amqp_connection import UNREADABLE
from fanout.bus.amqp_message import DEFAULT_LIMITS, MalformedMessage, from_amqp, to_amqp
from fanout.http.dispatch import Dispatcher
from fanout.http.files import Folder, OneFile, is_name
from fanout.http.http_server import HttpSite
from fanout.http.limits import WebSocketSettings
from fanout.http.response import HttpError
from fanout.http.routing import BadPath, Pattern, Request, Routes, split
from fanout.http.sse import last_event_id
from fanout.http.topic_resources import Topics, choose
from fanout.http.websocket import WebSocket, WebSocketServer
from fanout.hub.message import Message
from fanout.listeners.client_limits import ConnectionLimit
from fanout.listeners.datagrams import MalformedDatagram
from fanout.listeners.proxy_protocol import ProxiedClient, ProxyHeader, ProxyHeaderError
from fanout.process.logs import masked
from fanout.stomp.codec import Decoder, Frame, RemoteProtocolError, encode
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.limits import StompLimits
from fanout.stomp.session import State
from radiovis import topics
from radiovis.directory.interface import DirectoryError
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_http import PlugItCalls
from radiovis.directory.stations_parser import StationsFileError, parse_stations
from radiovis.http import publish as http_publish
from radiovis.http import visjson
from radiovis.preflight.message_check import body_complaints, slide_url
from radiovis.settings import DirectorySettings, Settings, WatchdogSettings
from radiovis.slides.fetch import host_of
from radiovis.slides.picture import HEIGHT, WIDTH, decoding_fault, look_at
from radiovis.slides.public_addresses import is_public
from tests.fanout.stomp.pair import Server, read_frames
from tests.fanout.stomp.wire_cases import CASES
from tests.radiovis.slides.slide_server import decoy_jpeg, decoy_png, drawn
from webserver import uploads
from webserver.serving import LocalTopics
from webserver.site_config import SiteError, SiteLimits, read_site

ALL = tuple(DIALECTS)
CONNECTS = {
    "1.0": b"CONNECT\n\n\0",
    "1.1": b"CONNECT\naccept-version:1.1\nhost:h\n\n\0",
    "1.2": b"CONNECT\naccept-version:1.2\nhost:h\n\n\0",
}
NOW = 1_795_294_700
_API = "http://plugit.example/api/c0nfidential/"
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
        wanted = visjson.Polls(Settings())._topics(request)
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

    def loseWriteConnection(self) -> None:
        """Reading goes on, as over TCP."""


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
        assert error.status in (406, 431), error


class _Request(DummyRequest):
    """With what :class:`fanout.http.http_server.HttpRequest` adds."""

    @property
    def code(self) -> int:
        return self.responseCode or 200

    def put_header(self, name: str, value: str) -> None:
        self.setHeader(name.encode(), value.encode())  # type: ignore[no-untyped-call]


def byte_ranges(data: bytes) -> None:
    """Whatever a client says about ranges and dates, it gets the file or parts of it, and no more than it is."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(bytes(1_000))
        request: Any = _Request([b""])
        for name in (b"range", b"if-modified-since", b"if-range"):
            request.requestHeaders.setRawHeaders(name, [data])
        OneFile(Path(file.name), "text/plain").render_GET(request)
    assert request.responseCode in (None, 200, 206, 416), request.responseCode
    assert sum(map(len, request.written)) < 4_000, request.written  # each of ten parts has headers


def http(data: bytes) -> None:
    """Never a 500, and no answer that is not HTTP."""
    said = _served(data)
    assert not said or said.startswith(b"HTTP/1."), said[:60]


def http_headers(data: bytes) -> None:
    """The same for what follows a request line."""
    http(b"PUT /channels/a HTTP/1.1\r\nhost: x\r\n" + data)


def _served(octets: bytes) -> bytes:
    """What a site with topics answers. A handler that fails is an answer 500, and a line in the log."""
    clock = Clock()
    topics = LocalTopics(clock)
    dispatcher = Dispatcher(Routes(Topics(topics.pending, prefix="/").routes()), topics.pending)
    site = HttpSite(clock, dispatcher, ConnectionLimit(), SiteLimits(), lambda *_, **__: None)
    channel, transport = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), _Transport()
    channel.makeConnection(transport)
    channel.dataReceived(octets)
    channel.connectionLost(Failure(ConnectionDone()))
    said = transport.value()
    assert b"HTTP/1.1 500 " not in said, (octets, said[:200])
    return said


def proxy(data: bytes) -> None:
    """The same client however the octets are cut, or none."""
    cut = data[0] if data else 0
    assert _proxied([data[1:]]) == _proxied([data[1 : 1 + cut], data[1 + cut :]])


def _proxied(parts: list[bytes]) -> tuple[str, int, bytes] | None:
    header, rest = ProxyHeader(), b""
    found: ProxiedClient | None = None
    try:
        for part in parts:
            found, rest = (header.feed(part), b"") if found is None else (found, rest + part)
    except ProxyHeaderError:
        return None
    return None if found is None else (found.host, found.port, found.rest + rest)


# Files that people write, and answers of the directory


def stations(data: bytes) -> None:
    """Stations, or an error that names the file."""
    try:
        parse_stations(data.decode(errors="replace"), "file")
    except StationsFileError as error:
        assert str(error).startswith("file:"), error


def site(data: bytes) -> None:
    """A site, or errors that name the file."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        try:
            read_site(Path(file.name))
        except SiteError as error:
            assert file.name in str(error), error


def plugit(data: bytes) -> None:
    """Whatever PlugIt answers is channels, or an error of the directory that does not show the secret."""
    calls: Any = PlugItCalls(cast("Any", _Answers(data)), DirectorySettings(RADIODNS_API_URL=_API), Clock())
    directory = PlugIt(calls, WatchdogSettings())
    for question in (directory.topics(), directory.gcc("ch"), directory.default(1), directory.channels("1")):
        Deferred.fromCoroutine(question).addErrback(_check_error)


def _check_error(failure: Failure) -> None:
    assert failure.check(DirectoryError), failure
    assert "c0nfidential" not in str(failure.value), failure


def publish(data: bytes) -> None:
    """The fields of a publish over HTTP, in either form; or a 4xx."""
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        request: Any = SimpleNamespace(header=lambda _, kind=kind: kind, body=BytesIO(data))
        try:
            http_publish._fields(request)
        except HttpError as error:
            assert 400 <= error.status < 500, error


def form(data: bytes) -> None:
    """Files of a form, or a 400."""
    try:
        for name, file in uploads._files(BytesIO(data), "b", 100_000):
            assert is_name(name)
            assert len(file.read()) <= len(data)
    except HttpError as error:
        assert error.status == 400, error


def content_type(data: bytes) -> None:
    """The type of a body, as the server of uploads reads it."""
    kind, options = parse_options_header(data.decode("latin-1"))
    assert isinstance(kind, str)
    assert isinstance(options, dict)


# What is logged, and what is fetched


def log(data: bytes) -> None:
    """One line without what steers a terminal, whatever a client said; what is said to be a secret is not in it."""
    text = data.decode(errors="replace")
    shown = masked({"login": text, "list": [text], "error": ValueError(text)})
    assert shown["login"].isprintable() or "\t" in shown["login"] or not text.isprintable()
    assert not re.search(r"[\n\r\x1b\u2028\u202e]", "".join([shown["login"], shown["error"], *shown["list"]]))
    assert "c0nfidential" not in masked(f"{text[:500]} passcode=c0nfidential")


def last_id(data: bytes) -> None:
    """An id, or None."""
    found = last_event_id(data.decode("latin-1"))
    assert found is None or found


def slide(data: bytes) -> None:
    """A body has complaints, or its slide an address that can be asked."""
    message = Message("/topic/a/image", b"SHOW " + data, "1", NOW, ())
    complaints, url = list(body_complaints(message)), slide_url(message)
    assert complaints or url, data
    if url:
        assert host_of(url)
        is_public(host_of(url))


def picture(data: bytes) -> None:
    """The head of a picture; and if it is one for radios, whether it decodes."""
    found = look_at(data)
    assert list(found.complaints(None))
    if (found.width, found.height) == (WIDTH, HEIGHT):
        decoding_fault(data)


def address(data: bytes) -> None:
    """Six of one: an IPv6 address is public only if none of those it may lead to is private."""
    if len(data) >= 16:
        found = ip_address(data[:16])
        assert not (is_public(str(found)) and found.is_private and not found.teredo and not found.ipv4_mapped), found


class _Answers:
    """PlugIt, with the same answer to every question."""

    code = 200

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def get(self, url: str, **_: object) -> Deferred[Any]:
        return succeed(self)

    def deliverBody(self, collector: Any) -> None:
        collector.dataReceived(self._answer)
        collector.connectionLost(Failure(ResponseDone()))  # type: ignore[no-untyped-call]


def _pictures() -> list[bytes]:
    return [drawn("PNG"), drawn("JPEG"), decoy_png(400), decoy_jpeg(400)]


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
    "http": (
        http,
        [
            b"GET /channels/a?wait=1 HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n",
            b"PUT /channels/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\nt: u\r\n\r\n",
            b"PUT http://x/channels/a HTTP/1.0\r\norigin: http://x\r\ncontent-length: 1\r\n\r\nx",
        ],
    ),
    "http_headers": (
        http_headers,
        [b"content-length: 1\r\n\r\nx", b"content-type: a/b\r\n c\r\n\r\n", b"transfer-encoding: identity\r\n\r\n"],
    ),
    "byte_ranges": (
        byte_ranges,
        [
            b"bytes=0-1, -5,9-",
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b";",
            b"bytes=9999-,-0",
        ],
    ),
    "proxy": (
        proxy,
        [
            b"\x09PROXY TCP4 192.0.2.1 198.51.100.1 56324 61613\r\nx",
            b"\x03PROXY UNKNOWN\r\n",
            b"\x0e\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\4\xf0\xadx",
        ],
    ),
    "stations": (
        stations,
        [
            b'[countries]\nch = "4e1"\n[[station]]\nlogin = "1.a"\npassword = "x"\n[[station.channel]]\n',
            b"a = ['''x''', \"\"\"y\"\"\"]\na.b.c = {d = 1}\n",
        ],
    ),
    "site": (
        site,
        [b'[server]\nport = 0\n[[files]]\nfolder = "."\n', b'[limits]\nbody_bytes = 1e3\n"a".b = 1979-05-27\n'],
    ),
    "plugit": (
        plugit,
        [
            b'{"list": [["/topic/fm/4e1/4000/09580/", 1], ["x", "y"], 3], "result": true, "gcc": "4e1"}',
            b'{"info": {"filename": "a", "public_url": "http://x", "radiotext": null}, "list": ["/topic/a/"]}',
        ],
    ),
    "publish": (
        publish,
        [b'{"channel": "/topic/a/b/", "text": ["a"]}', b"channel=/topic/a/b/&text=%ff&url=http%3a//x"],
    ),
    "form": (
        form,
        [
            b'--b\r\ncontent-disposition: form-data; name="f"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            b"--b\r\nContent-Disposition: form-data; name=f; filename*=u8''%e2\r\ncontent-type: a/b\r\n\r\n\r\n--b--",
        ],
    ),
    "content_type": (content_type, [b'multipart/form-data; boundary="a\\"b"; x=y', b'a/b;c;d="e']),
    "log": (log, [b"token=x password: 'y z' http://u:p@h", b"\x1b[0m\xe2\x80\xa8 authorization: Basic abc"]),
    "last_id": (last_id, [b"%2Fa%zz%ff", b"5-7"]),
    "slide": (slide, [b"http://example.org/1.png", b"https://[::1]:80/?a#b", b"http://u:p@h/"]),
    "picture": (picture, _pictures()),
    "address": (address, [bytes(15) + b"\1", bytes(10) + b"\xff\xff\x7f\0\0\1", b"\0\x64\xff\x9b" + bytes(12)]),
    "datagram": (
        datagram,
        [
            b'["test/tick", 1]',
            b'["k", {"description": "d", "provenance": "p", "license": {"uri": "u", "title": "t"}}]',
            b'["", [[1.5e3, null], "\\ud83d\\ude00", NaN]]',
        ],
    ),
}
