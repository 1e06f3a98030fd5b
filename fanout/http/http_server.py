"""The HTTP server: its connections, its requests, its listener, and the limits of one client.

Twisted parses requests and frames answers. This file adds what Twisted does not have:

* Limits: the lengths of lines, headers and bodies, and the time for a complete request. A request above a limit is
  refused before it reaches a handler, and the connection is closed.
* Bodies: the method, path, host and rights of a request are checked before its body is read. The limit for all bodies
  together is shared between the clients' addresses.
* Pipelined requests: the next request waits until the previous one is answered and the client has read enough of its
  answers. A turn of the reactor processes a limited number of requests (:class:`FairTurns`).
* Memory: the octets of a request are counted until it is answered. A request that waits for a message frees most of
  them (:meth:`HttpRequest.hold`). Long answers that a client does not read are counted as well.
* One way for every request: :class:`HttpSite` passes it to the dispatcher. There is no tree of Twisted's resources.

This file overrides and reads some private names of Twisted, which begin with an underscore, because Twisted offers no
other way. The version of Twisted is pinned.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import IO, Any, AnyStr, Protocol, cast

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.server import Request, Site

from fanout.application.interface import Peer
from fanout.cache.bounded_dict import SharedBudget
from fanout.http.limits import ANSWERS_BYTES, BODIES_BYTES, BODY_BYTES, LONGEST_BODIES, REQUEST_SECONDS
from fanout.http.response import REASONS, ErrorPages, HttpError, json_page
from fanout.listeners.address import neighbourhood, plain
from fanout.listeners.client_limits import ConnectionLimit, FairTurns, InputMemory, Worker
from fanout.listeners.tls import TlsTransport, beneath, client_certificates

# The Content-Security-Policy of pages. Pictures may come from any site.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http: https:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
SECURITY_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    NO_SNIFFING,
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
LOGGED_HEADERS = (b"referer", b"user-agent")
"""Headers of a request that an access log shows."""
LOGGED_OCTETS = 1_024
"""Octets of each of these headers, and of the path, that an access log shows."""

log = structlog.get_logger(__name__)


class RequestSettings(Protocol):
    """The settings that the server reads. The settings of an application have them, or have properties with these
    names.
    """

    @property
    def WRITE_TIMEOUT(self) -> float:
        """Seconds after which a client that acknowledges no octets is disconnected."""
        ...


_SMALL_INPUT = 1_024
"""Octets of memory of a client's input below which the input is not counted. For 18,000 connections (MAX_CONNECTIONS)
they are 18 MB, less than INPUT_BYTES. Most requests are answered immediately, and are never counted."""
_HEADER_WEIGHT = 400
"""Octets of memory of a header, or of a parameter of the query, in addition to its characters: an entry of a
dictionary, a list, and two bytes objects."""
_AHEAD = 16_384
"""Octets that a client may send after a request that is being processed. Above this number, reading pauses; with the
read that exceeds it, they may be 80 KiB. Up to it, reading continues, so that the end of the connection is noticed."""
_REQUEST_FRAMES = 4
"""A request counts as this many STOMP frames in a turn of the reactor: most requests take 60 to 300 µs."""
_OCTETS_PER_FRAME = 2_048
"""Octets of a head that count as one more STOMP frame: a poll for 16 topics in 15 kB takes 500 µs."""
_ANSWER_OCTETS_PER_FRAME = 8_192
"""Octets of an answer that count as one more STOMP frame: 250 kB take about 1.5 ms, even if a 503 replaces them."""
_LONG_ANSWER = 65_536
"""Octets of an answer above which it is counted until the client has read it. This is the buffer size of a
transport."""
_STREAM_BUFFER = 4_096
"""Octets that wait in the transport of a stream before its producer is paused. Its outbox counts later ones.
With Twisted's own value, 64 KiB, 10,000 streams (HTTP_MAX_LISTENERS) that do not read would take 650 MB."""
_LINGER = 2.0  # seconds of further reading after a refusal; otherwise a reset could erase the refusal on its way
_HEADERS = 100  # of a request; a browser sends about 20
_IN_MEMORY = 65_536  # octets of a body; a larger one is written to a temporary file
_LATER = MappingProxyType({"retry-after": "10"})
_UNSENT = 131_072  # unsent octets of a connection that the kernel keeps; its default is 4 MiB
_STEP = 65_536  # octets of a body after which the time limit of the request starts again
_FOLD = (b" ", b"\t")  # a line that continues the previous header begins with one of these (RFC 9112, 5.2)
_LENGTH_DIGITS = 18  # of a Content-Length: below 2**63. Python parses numbers of at most 4,300 digits


def _framing_fault(header: bytes, version: bytes) -> str | None:
    """Why a header makes the end of the request ambiguous; None if it does not.

    A proxy in front of this server could find another end, and take the rest for a separate request (request
    smuggling; RFC 9112, 6.1 and 6.3). Twisted itself refuses a second Content-Length, and a Content-Length together
    with a Transfer-Encoding.
    """
    name, _, value = header.partition(b":")
    name, value = name.strip().lower(), value.strip(b" \t")
    if name == b"content-length" and not (value.isdigit() and len(value) <= _LENGTH_DIGITS):
        return f"A Content-Length must have 1 to {_LENGTH_DIGITS} digits."
    if name == b"transfer-encoding" and (value.lower() != b"chunked" or version != b"HTTP/1.1"):
        return "A Transfer-Encoding must be chunked, and the request HTTP/1.1."
    return None


class HttpChannel(HTTPChannel):
    """One connection. It keeps the settings under which it was opened.

    Twisted's parser is stopped after each request, and continues when the request is answered. Without this, Twisted
    would store any number of octets that follow, and write answers to a client that does not read.

    :ivar address: the client's IP address.
    :ivar port: the client's port.
    :ivar refused: whether a request was malformed or too large; further octets are dropped.
    """

    transport: Any  # TCP, or TLS over it
    site: HttpSite
    MAX_LENGTH = 16_384
    maxHeaders = _HEADERS
    totalHeadersSize = 65_536  # four of the longest lines
    abortTimeout = 2

    def __init__(
        self, settings: RequestSettings, connection_limit: ConnectionLimit, address: str, port: int = 0
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.settings = settings
        self.address = address
        self.port = port
        self._connection_limit: ConnectionLimit | None = connection_limit
        self.refused = False
        self._held = 0  # octets of memory of the input, as reported to the site
        self._head = 0  # octets of memory of the head of a complete request that is not answered
        self._rest = b""  # octets that follow this request
        self._busy = False  # no request is parsed, because one is being processed or was the last one
        self._waits = False  # _rest waits for its turn, or is being parsed
        self._full = False  # the buffer of the transport is full
        self._silenced = False  # reading from the transport is paused
        self._unread = 0  # octets of a long answer, taken from the budget of the site
        self._line_octets = 0  # octets of an incomplete line
        self._request_line = (b"", b"", b"")  # method, URI, version
        self._clock = connection_limit.clock
        self._heard_at = self._clock()
        self._behind: Any = None  # the protocol that has taken over the connection
        self._ending = False  # the connection is closed after the current request

    def connectionMade(self) -> None:
        """Set the options of the socket. With them, the kernel detects a client that acknowledges nothing."""
        carrier = beneath(self.transport)
        if carrier is not None:
            carrier.setTcpKeepAlive(True)
            milliseconds = int(self.settings.WRITE_TIMEOUT * 1000)
            carrier.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            carrier.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Receive octets from the client. Unlike in Twisted, they do not extend the time limit: a request that arrives
        slowly has no more time than others.
        """
        self._heard_at = self._clock()
        self._rest = self._rest + data if self._rest else data
        grant = self.site.turns.grant
        if self._busy or self._waits or self._full or not grant:
            self._settle()
        else:
            self.work(grant)

    def work(self, most: int) -> None:
        """Parse the input. Also called when it is this client's turn. :param most: the maximum, in STOMP frames."""
        self._waits = True
        left = most
        while self._rest and not (self._busy or self._full):
            left -= self._parse()
            if left <= 0:
                break
        self.site.turns.spend(most - left)
        self._waits = False
        self._settle()

    def _parse(self) -> int:
        """Parse the input up to the end of one request. :return: the number of STOMP frames that it counts as."""
        data, self._rest = self._rest, b""
        self.paused = False
        head = self.line_mode
        LineReceiver.dataReceived(self, data)
        if self.paused:
            self._rest += self.clearLineBuffer()  # type: ignore[no-untyped-call]
        if self.paused or not self.line_mode:  # a body is counted in HttpSite.bodies
            self._line_octets = 0
        else:
            end = data.rfind(b"\n") + 1
            self._line_octets = len(data) - end if end else self._line_octets + len(data)
        octets = len(data) - len(self._rest) if head else 0
        return _REQUEST_FRAMES + octets // _OCTETS_PER_FRAME

    def _settle(self) -> None:
        """Decide what happens to the octets that are not parsed: they wait for the answer to the current request, for
        the transport, or for their turn. While they wait for the transport or their turn, reading is paused, so that
        the end of the connection is not noticed before the answers to its requests are written.
        """
        if self.refused or (self._busy and not self.persistent):
            self._rest = b""  # No longer needed. They were read so that a reset does not erase the answer.
        elif self._rest and not (self._busy or self._full or self._waits):
            self._waits = True
            self.site.turns.wait(self)
        if self._waits or (self._full and not self._busy) or len(self._rest) > _AHEAD:
            self._silenced = True
            self.transport.pauseProducing()
        elif self._silenced:
            self._silenced = False
            self.transport.resumeProducing()
        self._count_input()

    def _count_input(self) -> None:
        if self._connection_limit is None or self.refused:
            self._hold(0)
            return
        head = self._receivedHeaderSize + _HEADER_WEIGHT * self._receivedHeaderCount
        held = self._head + head + self._line_octets + len(self._rest)
        self._hold(0 if held < _SMALL_INPUT else held)

    def _hold(self, octets: int) -> None:
        if octets != self._held:
            self._held = octets
            self.site.input_memory.hold(self, octets)

    def keeps(self, octets: int) -> None:
        """Set the number of octets of memory that the head of the current request still takes."""
        self._head = octets
        if not self._waits:
            self._count_input()

    def give_up(self) -> None:
        """See :meth:`InputHolder.give_up <fanout.listeners.client_limits.InputHolder.give_up>`."""
        self._held = 0
        self._rest = b""
        self.site.warn("client.fault", self.address, fault="Too much unfinished input")
        self.transport.abortConnection()  # An error response would need the memory for longer.

    def pauseProducing(self) -> None:
        """The buffer of the transport is full: no further request is processed until the client has read answers."""
        self._full = True
        super().pauseProducing()  # type: ignore[no-untyped-call]

    def resumeProducing(self) -> None:
        """The buffer of the transport has room again."""
        self._full = False
        self._give_back()
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._rest or self._silenced:
            self._settle()

    def may_write(self, octets: int) -> bool:
        """Whether a long answer may be written. If so, its octets are counted until the client has read them."""
        if not self.site.answers.take(neighbourhood(self.address), octets):
            return False
        self._unread += octets
        self.site.reactor.callLater(0, self._written)
        return True

    def _written(self) -> None:
        if not self._full:
            self._give_back()

    def _give_back(self) -> None:
        octets, self._unread = self._unread, 0
        if octets:
            self.site.answers.give_back(neighbourhood(self.address), octets)

    @property
    def heard_at(self) -> float:
        """The time at which the client last sent something."""
        return self._heard_at if self._behind is None else cast("float", self._behind.heard_at)

    def close_for_others(self) -> None:
        """See :class:`~fanout.listeners.client_limits.AdmittedConnection`. A browser repeats its request."""
        if self._behind is None:
            self.transport.abortConnection()
        else:
            self._behind.close_for_others()

    def end_soon(self) -> None:
        """Close the connection after the current request, which may still be arriving; close an idle one at once."""
        self._ending, self.persistent = True, 0
        if self.requests:
            if not self.requests[0].startedWriting:
                self.requests[0].put_header("connection", "close")
        elif not (self._rest or self._line_octets or self.refused):
            self.transport.loseConnection()

    def checkPersistence(self, request: HttpRequest, version: bytes) -> bool:
        """Whether the connection stays open after this request."""
        stays = bool(super().checkPersistence(request, version))  # type: ignore[no-untyped-call]
        if self._ending:
            request.put_header("connection", "close")
        return stays and not self._ending

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too long before the client sends it, instead of a "100 Continue"."""
        if self.length is not None and self.length > self.site.body_bytes:
            self.refuse(413, f"A body may have {self.site.body_bytes} octets.")
        elif not self.refused and (self.length == 0 or self._may_send_a_body()):
            super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def _may_send_a_body(self) -> bool:
        """Whether the site accepts a body for this request. If not, the request is refused before the body is sent."""
        request = self.requests[-1]
        request.method, request.uri, request.clientproto = self._request_line
        request.path = request.uri.partition(b"?")[0]
        try:
            self.site.check(request)
        except HttpError as error:
            self.refuse(error.status, error.detail, error.headers)
        return not self.refused

    def allContentReceived(self) -> None:
        """Process a complete request, unless it was refused. The parser stops here until it is answered."""
        uri = self._request_line[1]
        parts = self._receivedHeaderCount + uri.count(b"&") + uri.count(b";")
        self._head = self._receivedHeaderSize + _HEADER_WEIGHT * parts
        self._request_line = (b"", b"", b"")
        if not self.refused:
            self.paused = self._busy = True
            super().allContentReceived()  # type: ignore[no-untyped-call]

    def _finishRequestBody(self, data: bytes) -> None:
        """Keep the octets that follow a body. Twisted would store them in another attribute, without a limit."""
        self._rest = data
        self.allContentReceived()

    def requestDone(self, request: HttpRequest) -> None:
        """A request is answered. The octets that follow it are processed when it is their turn."""
        self._busy = not self.persistent
        self._head = 0
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if not self._waits:
            self._settle()

    def lineReceived(self, line: bytes) -> None:
        """Process a line of the head. Octets after a refused request are dropped."""
        if self.refused:
            return
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self.refuse(431, f"All headers together may have {self.totalHeadersSize} octets.")
        elif line[:1] in _FOLD:
            self.refuse(
                400, "A header must not continue on another line (RFC 9112, 5.2)."
            )  # With each such line, Twisted would copy the previous ones.
        else:
            self._note_request_line(line)
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def _note_request_line(self, line: bytes) -> None:
        parts = line.split()
        if not self._request_line[0] and len(parts) == 3:
            self._request_line = (parts[0], parts[1], parts[2])

    def headerReceived(self, line: bytes) -> bool:
        """Process a header. The request is refused if it has too many headers, or if its end is ambiguous."""
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(431, f"A request may have {self.maxHeaders} headers.")
            return False
        fault = _framing_fault(line, self._request_line[2])
        if fault is not None:
            self.refuse(400, fault)
            return False
        return not self.refused and bool(super().headerReceived(line))  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        """Process octets of a body. Octets after a refused request are dropped."""
        if not self.refused:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a request line or a header that is too long."""
        if self.requests:
            self.refuse(431, f"A header may have {self.MAX_LENGTH} octets.")
        else:
            self.refuse(414, f"A request line may have {self.MAX_LENGTH} octets.")

    def refuse(self, status: int, detail: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Answer a malformed or too large request with an error, and close the connection.

        :param status: the status of HTTP.
        :param detail: the reason, for the client.
        :param headers: additional headers of the answer.
        """
        if self.refused:
            return
        self.refused = True
        self.persistent = 0
        self.setRawMode()  # type: ignore[no-untyped-call]  # for each dropped line, Twisted would copy the rest
        error = HttpError(status, detail, **headers)
        page = self.site.pages.page(error)
        body = cast("bytes", page.body)
        self._log_refusal(status, len(body))
        head = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), b"content-type: " + page.content_type.encode()]
        head += [b"content-length: %d" % len(body), b"connection: close", b"cache-control: no-store"]
        own = {name.lower().encode() for name, _ in page.headers}
        head += [b"%s: %s" % header for header in SECURITY_HEADERS if header[0] not in own]
        head += [f"{name}: {value}".encode() for name, value in page.headers if name.lower() != "connection"]
        if self.requests:
            self.requests[-1].release_body()
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        self.transport.unregisterProducer()
        if isinstance(self.transport, Server):
            self.transport.loseWriteConnection()  # Reading continues: a close with unread input would send a reset.
        elif isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()  # TLS also continues reading until the client closes.
        self.setTimeout(_LINGER)  # type: ignore[no-untyped-call]

    def _log_refusal(self, status: int, octets: int) -> None:
        """Log a refusal like the answer to a complete request. Fields that could not be parsed are empty."""
        request = self.requests[-1] if self.requests else self.requestFactory(self)
        request.method, request.uri, request.clientproto = self._request_line
        request.code, request.sentLength = status, octets
        self.site.log(request)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "This is not a valid HTTP/1.1 request.")

    def timeoutConnection(self) -> None:
        """Disconnect a client that took too long for a request, or to close after a refusal."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._leave()

    def hand_over(self, protocol: IProtocol, head: bytes) -> None:
        """Give the connection to another protocol. The request is freed, because it takes as much memory as the rest of
        the connection.

        :param head: the octets of the response 101.
        """
        self.transport.write(head)
        self.transport.unregisterProducer()
        for request in self.requests:
            request.release_body()
        self.requests.clear()
        rest = self._rest + self.clearLineBuffer()  # type: ignore[no-untyped-call]
        self._rest, self._head = b"", 0
        self._behind = protocol
        self._protocolUpgradeForWebsockets(protocol)
        self._hold(0)
        if self._silenced:
            self._silenced = False
            self.transport.resumeProducing()
        if rest:  # The client did not wait for the answer: octets after its request belong to the new protocol.
            protocol.dataReceived(rest)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        """Twisted replaces this channel's ``connectionLost`` with that of the protocol. The connection limit must be
        called nevertheless.
        """
        super()._protocolUpgradeForWebsockets(protocol)
        lost = self.connectionLost

        def leave(reason: Failure = connectionDone) -> None:
            self._leave()
            lost(reason)
            vars(self).pop("connectionLost")  # It refers to the channel, and would keep it in memory.

        self.connectionLost = leave  # type: ignore[method-assign]

    def _leave(self) -> None:
        self.site.forget(self)
        connection_limit, self._connection_limit = self._connection_limit, None
        self._behind = None
        self._rest, self._busy, self._silenced = b"", True, False
        self._transferDecoder = None  # The decoder of an incomplete body refers to this channel.
        self._give_back()
        self._hold(0)
        if connection_limit is not None:
            connection_limit.closed(self.address, self)


class HttpRequest(Request):
    """One request, and the ways to answer it.

    :ivar lost: called if the client disconnects before its answer is complete.
    """

    channel: HttpChannel
    lost: Callable[[], None] | None = None
    _body_octets = 0  # octets of its body, taken from the budget of the site

    def __init__(self, channel: HttpChannel, queued: object = False) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        for name, value in channel.site.headers:
            self.setHeader(name, value)  # type: ignore[no-untyped-call]

    def put_header(self, name: str, value: str) -> None:
        """Set a header of the answer. Twisted replaces line breaks in the value."""
        self.setHeader(name.encode(), value.encode(errors="replace"))  # type: ignore[no-untyped-call]

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """The last value of a header. Unlike in Twisted, a value that is not UTF-8 does not raise an exception."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        values = self.requestHeaders.getRawHeaders(key.encode())
        return values[-1].decode(errors="replace") if values else None

    def hold(self, lost: Callable[[], None]) -> None:
        """Free most of the memory of this request, because thousands of requests may wait for a message at a time.

        :param lost: called if the client disconnects meanwhile.
        """
        self.lost = lost
        self.channel.keeps(len(self.uri))  # The topics of the request take about this many octets.
        self.channel.site.shorten(self)
        self.release_body()
        self.args = self.content = None  # type: ignore[assignment]
        self.prepath = self.postpath = None
        if self.startedWriting:
            self.responseHeaders = _NO_HEADERS

    def stream(self, producer: object) -> None:
        """Begin an answer without an end.

        :param producer: a push producer, which is paused when more than :data:`_STREAM_BUFFER` octets wait in the
            transport.
        """
        if isinstance(self.channel.transport, Server):
            self.channel.transport.bufferSize = _STREAM_BUFFER
        self.registerProducer(producer, True)  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Close the connection at once; :attr:`lost` is called later, after this method has returned."""
        if not self.gone:
            self.channel.transport.abortConnection()

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.channel.address

    @property
    def peer(self) -> Peer:
        """The facts about the client that the check of a login needs."""
        transport = self.channel.transport
        secure = isinstance(transport, TlsTransport)
        return Peer(self.address, "https" if secure else "http", client_certificates(transport))

    @property
    def gone(self) -> bool:
        """Whether the client has disconnected, or was answered."""
        return bool(self._disconnected or self.finished)

    def parseCookies(self) -> None:
        """Do not parse cookies: they are not used, and each of them takes as much memory as 60 characters."""

    def gotLength(self, length: int | None) -> None:
        """The headers are complete. A small body is kept in memory. So is a body without an announced length until it
        is no longer small.
        """
        if length is not None and length <= _IN_MEMORY:
            self.content: IO[bytes] = BytesIO()
        else:
            self.content = cast("IO[bytes]", SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 (closed by Twisted)

    def handleContentChunk(self, data: bytes) -> None:
        """Store a piece of the body. A large body gets more time for each :data:`_STEP` octets that arrive."""
        if self.channel.refused:
            return  # The client had sent this piece together with the one that was refused.
        before = self.content.tell()
        most = self.channel.site.body_bytes
        if before + len(data) > most:  # of a body without an announced length
            self.channel.refuse(413, f"A body may have {most} octets.")
            return
        if not self.channel.site.bodies.take(self.client_network, len(data)):
            self.channel.refuse(503, "Clients of your network are sending too many bodies; try again later.", _LATER)
            return
        self._body_octets += len(data)
        try:
            self.content.write(data)
        except OSError as error:
            log.error("http.body_lost", reason=error.strerror, advice="make room on the disk of temporary files")
            self.channel.refuse(507, "The server has no room for this body.")
            return
        if self.content.tell() // _STEP > before // _STEP:
            self.channel.resetTimeout()  # type: ignore[no-untyped-call]

    @property
    def client_network(self) -> str:
        """The client's network, as limits count it: its address, or a prefix of an IPv6 address."""
        return neighbourhood(self.address)

    def release_body(self) -> None:
        """Free the body, which is no longer needed or will not be complete."""
        octets, self._body_octets = self._body_octets, 0
        if octets:
            self.channel.site.bodies.give_back(self.client_network, octets)
            self.content.close()

    def finish(self) -> None:
        """The answer is complete."""
        self.release_body()
        super().finish()  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """Answer the complete request. Twisted answers ``OPTIONS *``, which has no path."""
        if self.path == b"*":
            self.put_header("cache-control", "no-store")
            super().process()  # type: ignore[no-untyped-call]
            return
        site = self.site = self.channel.site
        self.setHeader(b"server", site.name)  # type: ignore[no-untyped-call]
        self.setHeader(b"date", datetimeToString())  # type: ignore[no-untyped-call]
        site.handle(self)

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        """Answer with a body of octets, unless the client has disconnected."""
        if self.gone:
            return
        self.channel.site.turns.spend(len(body) // _ANSWER_OCTETS_PER_FRAME)
        if len(body) > _LONG_ANSWER and not self.channel.may_write(len(body)):
            status, body, content_type = self._too_much()
        self.setResponseCode(status, REASONS.get(status, b""))
        self.put_header("content-type", content_type)
        self.put_header("content-length", str(len(body)))
        if not self.responseHeaders.hasHeader("cache-control"):
            self.put_header("cache-control", "no-store")
        self.write(body)  # type: ignore[no-untyped-call]
        self.finish()

    def _too_much(self) -> tuple[int, bytes, str]:
        """The answer that replaces a long answer above the limit of all unread answers."""
        self.responseHeaders = Headers()
        for name, value in (*self.channel.site.headers, (b"retry-after", b"10")):
            self.setHeader(name, value)  # type: ignore[no-untyped-call]
        page = json_page(HttpError(503, "Too many answers wait for clients of your network; try again later."))
        return 503, cast("bytes", page.body), page.content_type

    def announce(self, content_type: str) -> None:
        """Answer HEAD if GET would wait or stream. The headers have no length, because it is not known."""
        if self.gone:
            return
        self.put_header("content-type", content_type)
        self.put_header("cache-control", "no-store")
        self.finish()

    def refuse(self, status: int, detail: str) -> None:
        """Answer with an error in JSON, independently of the site's error pages."""
        page = json_page(HttpError(status, detail))
        self.answer(status, cast("bytes", page.body), page.content_type)

    def connectionLost(self, reason: Failure) -> None:
        """The client has disconnected. If a part of the answer was sent, the answer is logged with its size."""
        if self.startedWriting and not self.finished:
            self.channel.site.log(self)
        self.release_body()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.lost is not None:
            self.lost()


_NO_HEADERS = Headers()


class HttpSite(Site):
    """The factory of the connections of one listener; the argument of :func:`fanout.listeners.port.listen`.

    :ivar bodies: octets of all bodies that are being received or processed, in memory and on disk, by client.
    :ivar answers: octets of long answers that the clients have not read yet, by client.
    :ivar turns: limits the number of requests that one turn of the reactor processes.
    """

    def __init__(
        self,
        reactor: Any,
        handle: Callable[[HttpRequest], None],
        connection_limit: ConnectionLimit,
        settings: RequestSettings,
        warn: Callable[..., None],
        *,
        name: str = "fanout",
        pages: ErrorPages | None = None,
        headers: Sequence[tuple[bytes, bytes]] = SECURITY_HEADERS,
        access: Callable[[HttpRequest], None] | None = None,
        check: Callable[[HttpRequest], None] | None = None,
        body_bytes: int = BODY_BYTES,
        request_seconds: float = REQUEST_SECONDS,
        input_memory: InputMemory | None = None,
    ) -> None:
        """
        :param handle: answers a request, now or later: a :class:`fanout.http.dispatch.Dispatcher`.
        :param settings: the settings; if this attribute is replaced, later connections use the new ones.
        :param warn: logs a client's fault; called with event name, address and fields.
        :param name: the name of the server in the header ``Server``.
        :param pages: the bodies of errors; JSON by default.
        :param headers: headers of each answer that has no other header of the same name.
        :param access: called with each request when it is answered, for an access log.
        :param check: raises :class:`HttpError` for a request whose body would be refused. It is called before the body
            is read, with method, path, version and headers. See :meth:`fanout.http.dispatch.Dispatcher.check`.
        :param body_bytes: octets of the longest body of a request.
        :param request_seconds: seconds for a complete request; an idle connection is closed after the same time.
        :param input_memory: limits the memory of unfinished input; given if other servers share the limit.
        """
        super().__init__(None, HttpRequest, timeout=request_seconds, reactor=reactor)  # type: ignore[no-untyped-call]
        self.body_bytes = body_bytes
        self.bodies: SharedBudget[str] = SharedBudget(max(BODIES_BYTES, LONGEST_BODIES * body_bytes))
        self.answers: SharedBudget[str] = SharedBudget(max(ANSWERS_BYTES, LONGEST_BODIES * body_bytes))
        self.turns = FairTurns(partial(reactor.callLater, 0), self._failed)
        self._check = check
        self._request_seconds = request_seconds
        self.input_memory = input_memory or InputMemory()
        self.handle = handle
        self.settings = settings
        self.name = name.encode()
        self.pages = pages or ErrorPages(default=json_page)
        self.headers = tuple(headers)
        self._connection_limit = connection_limit
        self._channels: set[HttpChannel] = set()
        self._all_gone: Deferred[None] | None = None
        self.warn = warn
        self._access = access

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make the protocol of a connection; None if there are too many connections. It is HTTP/1.1 and 1.0."""
        address = plain(getattr(addr, "host", ""))
        channel: Any = HttpChannel(self.settings, self._connection_limit, address, getattr(addr, "port", 0))
        if not self._connection_limit.admit(address, channel):
            self.warn(
                "client.turned_away",
                address,
                connections=self._connection_limit.total,
                of_address=self._connection_limit.of(address),
            )
            return None
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        channel.callLater = self.reactor.callLater
        channel.timeOut = self._request_seconds
        self._channels.add(channel)
        return channel

    def let_go(self, seconds: float) -> Deferred[None]:
        """Complete the running answers, answer the requests that are just arriving, and close each connection
        afterwards. Must be called after the listener was closed.

        :param seconds: seconds after which the remaining connections are aborted.
        :return: fires when all connections are closed.
        """
        gone: Deferred[None] = Deferred()
        self._all_gone = gone
        for channel in list(self._channels):
            channel.end_soon()
        log.info("http.ending", connections=len(self._channels), seconds=seconds)
        if self._channels:
            timer = self.reactor.callLater(seconds, self._cut_off)
            gone.addBoth(lambda _: timer.cancel() if timer.active() else None)
        else:
            gone.callback(None)
        return gone

    def _cut_off(self) -> None:
        log.warning("http.cut_off", connections=len(self._channels), reason="their answers did not end in time")
        for channel in list(self._channels):
            channel.transport.abortConnection()

    def forget(self, channel: HttpChannel) -> None:
        """A connection is closed."""
        self._channels.discard(channel)
        if self._all_gone is not None and not self._channels and not self._all_gone.called:
            self._all_gone.callback(None)

    def check(self, request: HttpRequest) -> None:
        """Check a request before its body is read. :raises HttpError: the request is refused."""
        if self._check is not None:
            self._check(request)

    def _failed(self, channel: Worker, error: Exception) -> None:
        log.error("http.failed", client=channel.address, exc_info=error)
        cast("HttpChannel", channel).transport.abortConnection()

    def shorten(self, request: HttpRequest) -> None:
        """Free the head of a request that waits for a message, except for the parts that an access log shows."""
        if self._access is None:
            request.uri = request.path = b""
            request.requestHeaders = _NO_HEADERS
        else:
            request.uri = request.path = request.path[:LOGGED_OCTETS]
            request.requestHeaders = logged_headers(request.requestHeaders)

    def startFactory(self) -> None:
        """Do not open Twisted's access log: if a site has one, the argument ``access`` writes it."""

    def stopFactory(self) -> None:
        """Do nothing, because Twisted's access log was not opened."""

    def log(self, request: Any) -> None:
        """Log a request that was answered."""
        if self._access is not None:
            self._access(request)


def logged_headers(headers: Headers) -> Headers:
    """The headers of a request that an access log shows, each shortened to :data:`LOGGED_OCTETS`."""
    kept = Headers()
    for name in LOGGED_HEADERS:
        values = headers.getRawHeaders(name)
        if values:
            kept.setRawHeaders(name, [values[0][:LOGGED_OCTETS]])
    return kept
