"""Transcripts of clients of HTTP, octet by octet, and what plays them to a node.

The requests are those that the client's source makes, with the headers that its platform adds in the named version. The
answers are compared whole: ``{date}``, ``{when}`` and ``{host}`` stand for what differs from run to run.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.web import SECONDS, Address

_HEAD = (
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http: https:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n"
    "Server: radiovis\r\nDate: {date}\r\n"
)
_CORS = "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n"
_SAMPLES = {"{date}": "Mon, 30 Nov 2026 12:00:00 GMT", "{when}": "1795304655"}
_PATTERNS = {"{date}": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "{when}": r"\d{10}"}
SLIDE = b"\x89PNG\r\n\x1a\n"
SLIDE_TIME = 1_700_000_000
"""The octets of ``/slides/1.png``, and the Unix time of its last change."""


@dataclass(frozen=True)
class Step:
    """One step: ``open`` a connection, ``ask`` (the client's octets), ``publish``, or ``answer`` (the server's).

    :ivar topic: of a publish: ``image`` or ``text`` of the transcript's channel.
    :ivar message_id: of a publish.
    """

    kind: Literal["open", "ask", "publish", "answer"]
    octets: bytes = b""
    topic: str = ""
    message_id: str = ""


@dataclass(frozen=True)
class Transcript:
    """What one client does, and what it gets.

    :ivar channel: a channel that no other transcript uses.
    :ivar done: what the client does, in a few words; :attr:`got`: what it gets.
    """

    client: str
    version: str
    transport: str
    channel: str
    done: str
    got: str
    steps: Sequence[Step]


OPEN = Step("open")


def ask(*lines: str) -> Step:
    """A request without a body."""
    return Step("ask", "\r\n".join([*lines, "", ""]).encode())


def publish(topic: str, message_id: str, body: str) -> Step:
    """The station publishes."""
    return Step("publish", body.encode(), topic, message_id)


def answer(status: str, headers: str, body: bytes | str = "", *, public: bool = True) -> Step:
    """An answer with a length. :param headers: besides those of every answer, each with its line's end."""
    octets = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status}\r\n{_HEAD}{_CORS if public else ''}{headers}\r\n"
    return Step("answer", head.encode() + octets)


def kept_nowhere(kind: str, body: str, status: str = "200 OK", more: str = "") -> Step:
    """An answer of octets."""
    length = len(body.encode())
    return answer(
        status, f"{more}Content-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n", body
    )


def vis_object(body: str, message_id: str, destination: str) -> str:
    """As vis.json writes it; a body of ASCII without brackets."""
    return (
        f'{{"body": "{body}", "headers": {{"RadioVIS-Message-ID": "{message_id}", '
        f'"RadioVIS-Destination": "{destination}", "RadioVIS-Trigger-Time": "NOW"}}}}'
    )


def vis(*bodies: str) -> Step:
    """An answer of vis.json."""
    return kept_nowhere("application/json", "".join(bodies) + "\n")


def chunk(text: str) -> str:
    """A piece of a stream."""
    return f"{len(text.encode()):x}\r\n{text}\r\n"


def stream(*chunks: str) -> Step:
    """The head of a stream and its first pieces."""
    kind = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n"
    return answer("200 OK", f"{kind}Transfer-Encoding: chunked\r\n", "".join(map(chunk, chunks)))


def text_frame(text: str) -> bytes:
    """A message of a WebSocket, as a server frames it; up to 125 octets."""
    octets = text.encode()
    length = len(text.replace("{when}", _SAMPLES["{when}"]).encode())
    assert length < 126, text
    return bytes([0x81, length]) + octets


class _Line:
    """One client that plays a transcript, with its octets torn at one place."""

    def __init__(self, address: Address, cut: int) -> None:
        self._address = address
        self._cut = cut
        self._socket = socket.socket()

    def open(self) -> None:
        """A new connection, instead of the one before."""
        self._socket.close()
        self._socket = socket.create_connection(self._address, SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self, octets: bytes) -> None:
        """The first part of what it sends; all of it but the last octet, one by one, for a cut of -1."""
        if self._cut < 0:
            for place in range(len(octets) - 1):
                self._socket.sendall(octets[place : place + 1])
        else:
            self._socket.sendall(octets[: self._cut % len(octets)])

    def end(self, octets: bytes) -> None:
        """The rest."""
        self._socket.sendall(octets[self._cut % len(octets) :])

    def read(self, count: int) -> bytes:
        """So many octets, or what there is until the time is over or the connection ends."""
        found = b""
        try:
            while len(found) < count and (came := self._socket.recv(count - len(found))):
                found += came
        except TimeoutError:
            pass
        return found

    def surplus(self) -> bytes:
        """What came beyond the transcript."""
        self._socket.settimeout(0)
        try:
            return self._socket.recv(65_536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self._socket.close()


def _filled(octets: bytes, host: str) -> bytes:
    return octets.replace(b"{host}", host.encode())


def play(
    transcript: Transcript,
    address: Address,
    publish: Callable[[str, bytes, str], None],
    settle: Callable[[], None],
    cuts: Sequence[int],
) -> None:
    """Play it with one client for each cut, side by side.

    :param publish: publishes a body on a topic, under a message-id; returns when the node has it.
    :param settle: returns when the node has read what was sent to it.
    :param cuts: where the octets of each client are torn: 0 nowhere, -1 at every place.
    :raises AssertionError: an answer is another one.
    """
    host = f"{address[0]}:{address[1]}"
    lines = [_Line(address, cut) for cut in cuts]
    try:
        for step in transcript.steps:
            octets = _filled(step.octets, host)
            if step.kind == "open":
                for line in lines:
                    line.open()
            elif step.kind == "ask":
                for line in lines:
                    line.begin(octets)
                settle()
                for line in lines:
                    line.end(octets)
                settle()
            elif step.kind == "publish":
                publish(transcript.channel + step.topic, octets, step.message_id)
            else:
                _compare_all(transcript, octets, lines, cuts)
        _check_ends(transcript, lines, cuts)
    finally:
        for line in lines:
            line.close()


def _compare_all(transcript: Transcript, octets: bytes, lines: Sequence[_Line], cuts: Sequence[int]) -> None:
    for line, cut in zip(lines, cuts, strict=True):
        _compare(transcript, cut, octets, line)


def _check_ends(transcript: Transcript, lines: Sequence[_Line], cuts: Sequence[int]) -> None:
    for line, cut in zip(lines, cuts, strict=True):
        _check(transcript, cut, b"", line.surplus(), b"")


def _compare(transcript: Transcript, cut: int, expected: bytes, line: _Line) -> None:
    sample, pattern = expected, re.escape(expected)
    for name, text in _SAMPLES.items():
        sample = sample.replace(name.encode(), text.encode())
        pattern = pattern.replace(re.escape(name.encode()), _PATTERNS[name].encode())
    _check(transcript, cut, sample, line.read(len(sample)), pattern)


def _check(transcript: Transcript, cut: int, sample: bytes, found: bytes, pattern: bytes) -> None:
    if not re.fullmatch(pattern, found, re.DOTALL):
        raise AssertionError(f"{transcript.client}, torn at {cut}:\nexpected {sample!r}\n   found {found!r}")


def places(transcript: Transcript) -> range:
    """Every place at which the client's octets can be torn."""
    return range(1, max(len(step.octets) for step in transcript.steps if step.kind == "ask"))


_ANDROID = (
    "User-Agent: Dalvik/1.6.0 (Linux; U; Android 4.4.2; SM-G900F Build/KOT49H)",
    "Host: {host}",
    "Connection: Keep-Alive",
    "Accept-Encoding: gzip",
)
_SAMSUNG_TOPIC = "%2Ftopic%2Ffm%2F4e1%2F4001%2F09580%2F"
_SAMSUNG = "/topic/fm/4e1/4001/09580/"
_SAMSUNG_POLLS = Transcript(
    "Samsung's radio, com.sec.android.app.dns",
    "Android 4.4.2, HttpURLConnection",
    "HTTP: vis.json",
    _SAMSUNG,
    "asks for both topics, then for one after the other; the text has brackets; then nothing is published",
    "an array, an object with its brackets escaped, a 200 that makes it ask again",
    (
        publish("text", "t1", "TEXT [live] Rock FM"),
        publish("image", "i1", "SHOW http://a/1.png"),
        OPEN,
        ask(
            f"GET /radiodns/vis/vis.json?topic={_SAMSUNG_TOPIC}image&topic={_SAMSUNG_TOPIC}text HTTP/1.1",
            *_ANDROID,
        ),
        vis(
            "[",
            vis_object(r"TEXT \u005blive\u005d Rock FM", "t1", _SAMSUNG + "text"),
            ",",
            vis_object("SHOW http://a/1.png", "i1", _SAMSUNG + "image"),
            "]",
        ),
        OPEN,
        ask(f"GET /radiodns/vis/vis.json?topic={_SAMSUNG_TOPIC}text&last_id=t1 HTTP/1.1", *_ANDROID),
        publish("text", "t2", "TEXT [now] a song"),
        vis(vis_object(r"TEXT \u005bnow\u005d a song", "t2", _SAMSUNG + "text")),
        OPEN,
        ask(f"GET /radiodns/vis/vis.json?topic={_SAMSUNG_TOPIC}image&last_id=i1 HTTP/1.1", *_ANDROID),
        vis(f'{{"body": "", "headers": {{"RadioVIS-Destination": "{_SAMSUNG}text"}}}}'),
    ),
)

_QT = (
    "Host: {host}",
    "Connection: Keep-Alive",
    "Accept-Encoding: gzip, deflate",
    "Accept-Language: en-US,*",
    "User-Agent: Mozilla/5.0",
)
_QT_CHANNEL = "/topic/fm/4e1/4002/09580/"
_QT_POLLS = Transcript(
    "Qt client, HttpTransport.cpp",
    "Qt 5, QNetworkAccessManager",
    "HTTP: vis.json",
    _QT_CHANNEL,
    "polls a text; sends the last id without its ID:, on the same connection",
    "the text at once, then the next one",
    (
        publish("text", "ID:host-1", "TEXT Rock FM"),
        OPEN,
        ask(f"GET /radiodns/vis/vis.json?topic={_QT_CHANNEL}text HTTP/1.1", *_QT),
        vis(vis_object("TEXT Rock FM", "ID:host-1", _QT_CHANNEL + "text")),
        ask(f"GET /radiodns/vis/vis.json?topic={_QT_CHANNEL}text&last_id=host-1 HTTP/1.1", *_QT),
        publish("text", "ID:host-2", "TEXT Now: a song"),
        vis(vis_object("TEXT Now: a song", "ID:host-2", _QT_CHANNEL + "text")),
    ),
)

_FIREFOX = (
    "Host: {host}",
    "User-Agent: Mozilla/5.0 (X11; U; Linux i686; en-US; rv:1.9.2.13) Gecko/20101206 Firefox/3.6.13",
    "Accept: */*",
    "Accept-Language: en-us,en;q=0.5",
    "Accept-Encoding: gzip,deflate",
    "Accept-Charset: ISO-8859-1,utf-8;q=0.7,*;q=0.7",
    "Keep-Alive: 115",
    "Connection: keep-alive",
    "X-Requested-With: XMLHttpRequest",
)
_COMET_CHANNEL = "/topic/fm/4e1/4003/09580/"
_COMET_HEAD = (
    "Radiovis-Message-Id: {}\r\nRadiovis-Destination: " + _COMET_CHANNEL + "{}\r\nRadiovis-Trigger-Time: NOW\r\n"
)
_NOTHING_NEW = '{"error": "Request Timeout", "detail": "There was no new message; ask again."}\n'
_COMET = Transcript(
    "Web player of early servers (barroco, node-radiovis)",
    "Firefox 3.6, XMLHttpRequest",
    "HTTP: /comet",
    _COMET_CHANNEL,
    "asks for both topics, then with the last id, until nothing is published",
    "plain text with the rest in headers; 408 in the end",
    (
        publish("text", "t1", "TEXT café [1]"),
        OPEN,
        ask(f"GET /comet?topic={_COMET_CHANNEL}image&topic={_COMET_CHANNEL}text HTTP/1.1", *_FIREFOX),
        kept_nowhere("text/plain; charset=utf-8", "TEXT café [1]", more=_COMET_HEAD.format("t1", "text")),
        ask(f"GET /comet?topic={_COMET_CHANNEL}image&topic={_COMET_CHANNEL}text&last_id=t1 HTTP/1.1", *_FIREFOX),
        publish("image", "i1", "SHOW http://a/1.png"),
        kept_nowhere("text/plain; charset=utf-8", "SHOW http://a/1.png", more=_COMET_HEAD.format("i1", "image")),
        ask(f"GET /comet?topic={_COMET_CHANNEL}image&topic={_COMET_CHANNEL}text&last_id=i1 HTTP/1.1", *_FIREFOX),
        kept_nowhere("application/json", _NOTHING_NEW, "408 Request Timeout"),
    ),
)

_CHROME = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.0.0 Safari/537.36"
)
_SCRIPT_CHANNEL = "/topic/fm/4e1/4004/09580/"
_JSONP = Transcript(
    "Web page with JSON-P",
    "Chrome 108, <script>",
    "HTTP: vis.json",
    _SCRIPT_CHANNEL,
    "asks with a callback",
    "a call of it",
    (
        publish("image", "i1", "SHOW http://a/[1].png"),
        OPEN,
        ask(
            f"GET /radiodns/vis/vis.json?topic={_SCRIPT_CHANNEL}image&callback=radio.show HTTP/1.1",
            "Host: {host}",
            "Connection: keep-alive",
            _CHROME,
            "Accept: */*",
            "Referer: http://radio.example/",
            "Accept-Encoding: gzip, deflate",
            "Accept-Language: en-US,en;q=0.9",
        ),
        kept_nowhere(
            "text/javascript",
            "/**/radio.show("
            + vis_object(r"SHOW http://a/\u005b1\u005d.png", "i1", _SCRIPT_CHANNEL + "image")
            + ");\n",
        ),
    ),
)

_PLAYER_CHANNEL = "/topic/fm/4e1/4005/09580/"
_HTML5_PLAYER = Transcript(
    "EBU radiovis-html5player",
    "Chrome 108, WebSocket",
    "WebSocket: /topic/…",
    _PLAYER_CHANNEL,
    "opens its channel, listens, leaves",
    "HELLO, the last text, the next slide, its Close back",
    (
        publish("text", "t1", "TEXT Rock FM"),
        OPEN,
        ask(
            f"GET {_PLAYER_CHANNEL.rstrip('/')} HTTP/1.1",
            "Host: {host}",
            "Connection: Upgrade",
            "Pragma: no-cache",
            "Cache-Control: no-cache",
            _CHROME,
            "Upgrade: websocket",
            "Origin: http://radio.example",
            "Sec-WebSocket-Version: 13",
            "Accept-Encoding: gzip, deflate",
            "Accept-Language: en-US,en;q=0.9",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        ),
        Step(
            "answer",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            + text_frame("RADIOVISWEBSOCKET:HELLO\0")
            + text_frame(f"MESSAGE\ndestination:{_PLAYER_CHANNEL}text\nmessage-id:t1\nwhen:{{when}}\n\nTEXT Rock FM"),
        ),
        publish("image", "i1", "SHOW http://a/1.png"),
        Step(
            "answer",
            text_frame(
                f"MESSAGE\ndestination:{_PLAYER_CHANNEL}image\nmessage-id:i1\nwhen:{{when}}\n\nSHOW http://a/1.png"
            ),
        ),
        Step("ask", b"\x88\x82\x01\x02\x03\x04" + bytes([0x03 ^ 1, 0xE9 ^ 2])),
        Step("answer", b"\x88\x02\x03\xe9"),
    ),
)

_PUSH_CHANNEL = "/topic/fm/4e1/4006/09580/"
_EVENT_SOURCE = (
    "Host: {host}",
    "Connection: keep-alive",
    _CHROME,
    "Accept: text/event-stream",
    "Cache-Control: no-cache",
    "Origin: http://radio.example",
    "Referer: http://radio.example/",
    "Accept-Encoding: gzip, deflate",
    "Accept-Language: en-US,en;q=0.9",
)
_PUSH_PATH = f"GET /radiodns/push/1.0/{_PUSH_CHANNEL.removeprefix('/topic/').rstrip('/')} HTTP/1.1"
_PUSH = Transcript(
    "RadioDNS push demo's page",
    "Chrome 108, EventSource",
    "server-sent events: /radiodns/push",
    _PUSH_CHANNEL,
    "listens, is cut off, comes back with Last-Event-ID",
    "what is on air, the next slide, then what it missed",
    (
        publish("text", "t1", "TEXT [live] café"),
        OPEN,
        ask(_PUSH_PATH, *_EVENT_SOURCE),
        stream("retry: 3000\n\n", 'id: t1\nevent: text\ndata: {"body": "[live] caf\\u00e9"}\n\n'),
        publish("image", "i1", "SHOW http://a/1.png"),
        Step("answer", chunk('id: i1\nevent: image\ndata: {"src": "http://a/1.png"}\n\n').encode()),
        publish("text", "t2", "TEXT missed"),
        OPEN,
        ask(_PUSH_PATH, *_EVENT_SOURCE, "Last-Event-ID: i1"),
        stream("retry: 3000\n\n", 'id: t2\nevent: text\ndata: {"body": "missed"}\n\n'),
    ),
)

_CURL_CHANNEL = "/topic/fm/4e1/4007/09580/"
_CURL = Transcript(
    "curl -N",
    "curl 7.88.1",
    "server-sent events: /channels",
    _CURL_CHANNEL,
    "streams one topic",
    "the last value, then each one",
    (
        publish("text", "t1", "TEXT one"),
        OPEN,
        ask(
            f"GET /channels{_CURL_CHANNEL}text HTTP/1.1",
            "Host: {host}",
            "User-Agent: curl/7.88.1",
            "Accept: text/event-stream",
        ),
        Step(
            "answer",
            (
                f"HTTP/1.1 200 OK\r\n{_HEAD}Content-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                "X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
                + chunk("retry: 3000\n\n")
                + chunk("id: t1\nevent: message\ndata: TEXT one\n\n")
            ).encode(),
        ),
        publish("text", "t2", "TEXT two"),
        Step("answer", chunk("id: t2\nevent: message\ndata: TEXT two\n\n").encode()),
    ),
)

_SLIDE_TAG = f'"{SLIDE_TIME * 1_000_000:x}-{len(SLIDE):x}"'
_SLIDE_HEADERS = (
    f"ETag: {_SLIDE_TAG}\r\nAccept-Ranges: bytes\r\nContent-Length: {len(SLIDE)}\r\nContent-Type: image/png\r\n"
    "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
)
_SLIDES = Transcript(
    "Android application that loads slides",
    "Android 4.4.2, HttpURLConnection with HttpResponseCache",
    "HTTP: /slides",
    "",
    "loads a slide, and asks for it again with its tag",
    "the slide, then 304 without a body",
    (
        OPEN,
        ask("GET /slides/1.png HTTP/1.1", *_ANDROID),
        answer("200 OK", _SLIDE_HEADERS, SLIDE),
        ask("GET /slides/1.png HTTP/1.1", f"If-None-Match: {_SLIDE_TAG}", *_ANDROID),
        answer("304 Not Modified", f"ETag: {_SLIDE_TAG}\r\n"),
    ),
)

TRANSCRIPTS = (_SAMSUNG_POLLS, _QT_POLLS, _COMET, _JSONP, _HTML5_PLAYER, _PUSH, _CURL, _SLIDES)
