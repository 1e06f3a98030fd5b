"""The HTTP server: its connections, its requests, its listener, and what one client may cost.

Twisted parses requests and frames answers. This file adds what Twisted leaves open:

* Bounds: lengths of lines, headers and bodies, and the time in which a request has to be complete. A request beyond
  them is refused before it reaches a handler, and the connection is closed.
* Bodies: before the body of a request is read, its method, path, host and rights are checked; what all bodies together
  take is shared between the addresses they come from.
* Requests in a row: what follows a request waits until that one is answered and the client has read enough of its
  answers. In one turn of the reactor only some of them are worked on (:class:`FairTurns`).
* Memory: what was read of a request is counted until it is answered. A request that waits for long frees most of it
  (:meth:`HttpRequest.hold`). Long answers that a client does not read are counted as well.
* One way for every request: :class:`HttpSite` hands it to the dispatcher; no tree of resources is searched.

Names with an underscore are Twisted's own. They are used where it offers no other way; its version is pinned.
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

# What a browser may do with pages. Pictures may come from anywhere.
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
"""Octets that it shows of each of them, and of the path."""

log = structlog.get_logger(__name__)


class RequestSettings(Protocol):
    """The settings the server reads. An application's settings have them, or translate its own to them."""

    @property
    def WRITE_TIMEOUT(self) -> float:
        """Seconds after which a client that has not acknowledged octets is gone."""
        ...


_SMALL_INPUT = 1_024
"""Octets of memory of a client's input up to which they are not counted. For 18,000 connections (MAX_CONNECTIONS) they
are 18 MB, less than INPUT_BYTES. Most requests are complete and answered immediately, and never counted."""
_HEADER_WEIGHT = 400
"""Octets of memory of a header, or a parameter of the query, besides its characters: an entry of a dictionary, a list,
two objects of octets."""
_AHEAD = 16_384
"""Octets that a client may send after a request that is being processed. Above this number, reading pauses; with the
read that exceeds it, they may be 80 KiB. Up to it, reading continues, so that the end of the connection is noticed."""
_REQUEST_FRAMES = 4
"""A request counts as this many STOMP frames in a turn of the reactor: most requests take 60 to 300 µs."""
_OCTETS_PER_FRAME = 2_048
"""So many octets of a head count as one STOMP frame more: a poll for 16 topics in 15 kB takes 500 µs."""
_ANSWER_OCTETS_PER_FRAME = 8_192
"""So many octets of an answer count as one STOMP frame more: 250 kB take about 1.5 ms, even if there is no room for
them."""
_LONG_ANSWER = 65_536
"""Octets of an answer above which it is counted until the client has read it. This is the buffer size of a
transport."""
_STREAM_BUFFER = 4_096
"""Octets that wait in the transport of a stream before its producer is paused, which then counts them. Twisted's own
value, 64 KiB, would be 650 MB for 10,000 streams (HTTP_MAX_LISTENERS) that do not read."""
_LINGER = 2.0  # seconds to read on after a refusal, so that a reset does not erase it on its way
_HEADERS = 100  # of a request; a browser sends about 20
_IN_MEMORY = 65_536  # octets of a body; a larger one goes to a temporary file
_LATER = MappingProxyType({"retry-after": "10"})
_UNSENT = 131_072  # octets that the kernel keeps of a connection and has not sent; it would keep 4 MiB
_STEP = 65_536  # octets of a body for which a client gets as much time again as for the whole request
_FOLD = (b" ", b"\t")  # a line that continues the header before it (RFC 9112, 5.2)
_LENGTH_DIGITS = 18  # of a Content-Length: below 2**63. Python reads numbers of at most 4,300 digits


def _framing_fault(header: bytes, version: bytes) -> str | None:
    """Why a header leaves open where the request ends: a proxy before us might see another end than we do, and take
    the rest for a request of its own (request smuggling; RFC 9112, 6.1 and 6.3). None if it does not.

    Twisted refuses a second Content-Length, and one beside a Transfer-Encoding.
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

    Twisted's parser is stopped behind each request, and gets what follows when the request is answered: by itself it
    would keep any amount of it, and write answers to a client that reads none.

    :ivar address: the client's IP address.
    :ivar port: and its port there.
    :ivar refused: whether what came is no request, or too much of one; the rest is dropped.
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
        self._held = 0  # octets of memory of what came, as they are counted
        self._head = 0  # of a complete request that is not answered
        self._rest = b""  # what came behind it
        self._busy = False  # no request is read: one is worked on, or was the last one
        self._waits = False  # for its turn to have the rest worked on, or this is being done
        self._full = False  # the transport takes no more
        self._silenced = False  # the transport is not read, for one of these reasons
        self._unread = 0  # octets of a long answer, taken from the budget of the site
        self._line_octets = 0  # of a line whose end has not come
        self._request_line = (b"", b"", b"")  # method, URI, version
        self._clock = connection_limit.clock
        self._heard_at = self._clock()
        self._behind: Any = None  # the protocol that has taken over
        self._ending = False  # no request is taken behind this one

    def connectionMade(self) -> None:
        """The kernel notices a client that has vanished: it acknowledges nothing."""
        carrier = beneath(self.transport)
        if carrier is not None:
            carrier.setTcpKeepAlive(True)
            milliseconds = int(self.settings.WRITE_TIMEOUT * 1000)
            carrier.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            carrier.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Take octets from the client. Unlike Twisted, this does not extend the time-out: a request that arrives slowly
        has no more time than others.
        """
        self._heard_at = self._clock()
        self._rest = self._rest + data if self._rest else data
        grant = self.site.turns.grant
        if self._busy or self._waits or self._full or not grant:
            self._settle()
        else:
            self.work(grant)

    def work(self, most: int) -> None:
        """Parse the input. Also called for the next turn of this client. :param most: the maximum, in STOMP frames."""
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
        """Parse the input up to the end of one request. :return: how many STOMP frames it counts as."""
        data, self._rest = self._rest, b""
        self.paused = False
        head = self.line_mode
        LineReceiver.dataReceived(self, data)
        if self.paused:
            self._rest += self.clearLineBuffer()  # type: ignore[no-untyped-call]
        if self.paused or not self.line_mode:  # a body is counted elsewhere
            self._line_octets = 0
        else:
            end = data.rfind(b"\n") + 1
            self._line_octets = len(data) - end if end else self._line_octets + len(data)
        octets = len(data) - len(self._rest) if head else 0
        return _REQUEST_FRAMES + octets // _OCTETS_PER_FRAME

    def _settle(self) -> None:
        """What becomes of the rest: it waits for the request, for the transport, or for its turn. Reading pauses for
        the last two, so that the end of a connection is not noticed before the answers to its requests are written.
        """
        if self.refused or (self._busy and not self.persistent):
            self._rest = b""  # Nobody will ask for it. It is read, so that a reset does not erase the answer.
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
        """Set how many octets of memory the head of the current request still takes."""
        self._head = octets
        if not self._waits:
            self._count_input()

    def give_up(self) -> None:
        """See :meth:`InputHolder.give_up <fanout.listeners.client_limits.InputHolder.give_up>`."""
        self._held = 0
        self._rest = b""
        self.site.warn("client.fault", self.address, fault="Too much unfinished input")
        self.transport.abortConnection()  # While it was told why, its memory would be kept.

    def pauseProducing(self) -> None:
        """The transport is full: no further request is processed until the client has read its answers."""
        self._full = True
        super().pauseProducing()  # type: ignore[no-untyped-call]

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._full = False
        self._give_back()
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._rest or self._silenced:
            self._settle()

    def may_write(self, octets: int) -> bool:
        """Whether a long answer may wait here until the client has read it; then it counts until that."""
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
        """When the client was last heard."""
        return self._heard_at if self._behind is None else cast("float", self._behind.heard_at)

    def close_for_others(self) -> None:
        """See :class:`~fanout.listeners.client_limits.AdmittedConnection`. A browser asks again."""
        if self._behind is None:
            self.transport.abortConnection()
        else:
            self._behind.close_for_others()

    def end_soon(self) -> None:
        """Close the connection behind what is asked now, or is just being asked; an idle one at once."""
        self._ending, self.persistent = True, 0
        if self.requests:
            if not self.requests[0].startedWriting:
                self.requests[0].put_header("connection", "close")
        elif not (self._rest or self._line_octets or self.refused):
            self.transport.loseConnection()

    def checkPersistence(self, request: HttpRequest, version: bytes) -> bool:
        """Whether the connection stays open behind this request."""
        stays = bool(super().checkPersistence(request, version))  # type: ignore[no-untyped-call]
        if self._ending:
            request.put_header("connection", "close")
        return stays and not self._ending

    def allHeadersReceived(self) -> None:
        """A body that is too long is refused before it is sent, and before "100 Continue" asks for it."""
        if self.length is not None and self.length > self.site.body_bytes:
            self.refuse(413, f"A body may have {self.site.body_bytes} octets.")
        elif not self.refused and (self.length == 0 or self._may_send_a_body()):
            super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def _may_send_a_body(self) -> bool:
        """Whether the site takes a body for this request; a client that may not send one is refused before it does."""
        request = self.requests[-1]
        request.method, request.uri, request.clientproto = self._request_line
        request.path = request.uri.partition(b"?")[0]
        try:
            self.site.check(request)
        except HttpError as error:
            self.refuse(error.status, error.detail, error.headers)
        return not self.refused

    def allContentReceived(self) -> None:
        """The parser stops behind a complete request. A refused one goes nowhere."""
        uri = self._request_line[1]
        parts = self._receivedHeaderCount + uri.count(b"&") + uri.count(b";")
        self._head = self._receivedHeaderSize + _HEADER_WEIGHT * parts
        self._request_line = (b"", b"", b"")
        if not self.refused:
            self.paused = self._busy = True
            super().allContentReceived()  # type: ignore[no-untyped-call]

    def _finishRequestBody(self, data: bytes) -> None:
        """Twisted would keep what follows a body in a place of its own."""
        self._rest = data
        self.allContentReceived()

    def requestDone(self, request: HttpRequest) -> None:
        """A request is answered. What follows it is worked on in its turn."""
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
            )  # each further line would copy those before it
        else:
            self._note_request_line(line)
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def _note_request_line(self, line: bytes) -> None:
        parts = line.split()
        if not self._request_line[0] and len(parts) == 3:
            self._request_line = (parts[0], parts[1], parts[2])

    def headerReceived(self, line: bytes) -> bool:
        """One header, if there are not too many, and its message ends where every other program sees its end."""
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(431, f"A request may have {self.maxHeaders} headers.")
            return False
        fault = _framing_fault(line, self._request_line[2])
        if fault is not None:
            self.refuse(400, fault)
            return False
        return not self.refused and bool(super().headerReceived(line))  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        """What follows a refused request is dropped."""
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
        self.setRawMode()  # type: ignore[no-untyped-call]  # dropped whole: each line would copy what follows it
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
            self.transport.loseWriteConnection()  # reading goes on: closing with unread input would send a reset
        elif isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()  # TLS reads on until the client closes, too
        self.setTimeout(_LINGER)  # type: ignore[no-untyped-call]

    def _log_refusal(self, status: int, octets: int) -> None:
        """Log it as the answer to a complete request; what was not understood of this one is empty."""
        request = self.requests[-1] if self.requests else self.requestFactory(self)
        request.method, request.uri, request.clientproto = self._request_line
        request.code, request.sentLength = status, octets
        self.site.log(request)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "This is not a valid HTTP/1.1 request.")

    def timeoutConnection(self) -> None:
        """The client took too long for a request, or to close after a refusal."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._leave()

    def hand_over(self, protocol: IProtocol, head: bytes) -> None:
        """Give the connection to another protocol. The request is freed: it holds as much memory again.

        :param head: the octets that tell the client so.
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
        if rest:  # The client did not wait for the answer: what it sent behind its request belongs to the protocol.
            protocol.dataReceived(rest)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        """Twisted replaces our ``connectionLost`` by the protocol's; the connection limit still has to know."""
        super()._protocolUpgradeForWebsockets(protocol)
        lost = self.connectionLost

        def leave(reason: Failure = connectionDone) -> None:
            self._leave()
            lost(reason)
            vars(self).pop("connectionLost")  # knows the channel, and would keep it in memory

        self.connectionLost = leave  # type: ignore[method-assign]

    def _leave(self) -> None:
        self.site.forget(self)
        connection_limit, self._connection_limit = self._connection_limit, None
        self._behind = None
        self._rest, self._busy, self._silenced = b"", True, False
        self._transferDecoder = None  # of a body that did not end; it refers to this channel
        self._give_back()
        self._hold(0)
        if connection_limit is not None:
            connection_limit.closed(self.address, self)


class HttpRequest(Request):
    """One request, and the ways to answer it.

    :ivar lost: called when the client goes away before its answer is complete.
    """

    channel: HttpChannel
    lost: Callable[[], None] | None = None
    _body_octets = 0  # of its body, taken from the budget of the site

    def __init__(self, channel: HttpChannel, queued: object = False) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        for name, value in channel.site.headers:
            self.setHeader(name, value)  # type: ignore[no-untyped-call]

    def put_header(self, name: str, value: str) -> None:
        """Have a header sent with the answer; line breaks in it do no harm."""
        self.setHeader(name.encode(), value.encode(errors="replace"))  # type: ignore[no-untyped-call]

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """As Twisted, but a value that is no UTF-8 is a client's fault, and none of ours."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        values = self.requestHeaders.getRawHeaders(key.encode())
        return values[-1].decode(errors="replace") if values else None

    def hold(self, lost: Callable[[], None]) -> None:
        """Free what was read of this request: it will wait for long, and thousands may wait at a time.

        :param lost: called when the client goes away meanwhile.
        """
        self.lost = lost
        self.channel.keeps(len(self.uri))  # which names what it waits for
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
        """End the connection at once; :attr:`lost` is called later, not before this returns."""
        if not self.gone:
            self.channel.transport.abortConnection()

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.channel.address

    @property
    def peer(self) -> Peer:
        """The client, as a login needs to know it."""
        transport = self.channel.transport
        secure = isinstance(transport, TlsTransport)
        return Peer(self.address, "https" if secure else "http", client_certificates(transport))

    @property
    def gone(self) -> bool:
        """Whether the client has disconnected, or was answered."""
        return bool(self._disconnected or self.finished)

    def parseCookies(self) -> None:
        """Cookies are not parsed: nothing here asks for them, and each takes as much memory as 60 characters."""

    def gotLength(self, length: int | None) -> None:
        """The headers are complete. A body that is small stays in memory, as does one whose length is not announced
        until it is larger.
        """
        if length is not None and length <= _IN_MEMORY:
            self.content: IO[bytes] = BytesIO()
        else:
            self.content = cast("IO[bytes]", SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 (closed by Twisted)

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body. A large body gets more time as long as it comes; one that drips in does not."""
        if self.channel.refused:
            return  # The rest of what came at the same time.
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
        """What is counted as one client: its address, or network."""
        return neighbourhood(self.address)

    def release_body(self) -> None:
        """The body is not needed any more, or will not be complete."""
        octets, self._body_octets = self._body_octets, 0
        if octets:
            self.channel.site.bodies.give_back(self.client_network, octets)
            self.content.close()

    def finish(self) -> None:
        """The answer is complete."""
        self.release_body()
        super().finish()  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """The request is complete. Twisted answers ``OPTIONS *``, which concerns no path; the site all others."""
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
        """What is answered instead of a long answer that there is no room for."""
        self.responseHeaders = Headers()
        for name, value in (*self.channel.site.headers, (b"retry-after", b"10")):
            self.setHeader(name, value)  # type: ignore[no-untyped-call]
        page = json_page(HttpError(503, "Too many answers wait for clients of your network; try again later."))
        return 503, cast("bytes", page.body), page.content_type

    def announce(self, content_type: str) -> None:
        """Answer HEAD where GET would wait or stream: only headers, as the length is not known."""
        if self.gone:
            return
        self.put_header("content-type", content_type)
        self.put_header("cache-control", "no-store")
        self.finish()

    def refuse(self, status: int, detail: str) -> None:
        """Answer with an error in JSON, whatever the site's error pages are."""
        page = json_page(HttpError(status, detail))
        self.answer(status, cast("bytes", page.body), page.content_type)

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone. An answer that it has got in part is logged with that."""
        if self.startedWriting and not self.finished:
            self.channel.site.log(self)
        self.release_body()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.lost is not None:
            self.lost()


_NO_HEADERS = Headers()


class HttpSite(Site):
    """A listener. Hand it to :func:`fanout.listeners.port.listen`.

    :ivar bodies: octets of all bodies that are read or worked on, in memory and on the disk, by client.
    :ivar answers: octets of long answers that were not read yet, by client.
    :ivar turns: how many requests are worked on in one turn of the reactor.
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
        :param settings: may be replaced at any time, for connections from then on.
        :param warn: logs a client's fault: event name, address, fields.
        :param name: of the server, for clients.
        :param pages: what clients see of errors; JSON if not given.
        :param headers: sent with each answer that has no other of their name.
        :param access: told of each request when it is answered; for an access log.
        :param check: raises :class:`HttpError` for a request whose body is not worth reading. Only method, path,
            version and headers are known then. See :meth:`fanout.http.dispatch.Dispatcher.check`.
        :param body_bytes: most octets of a request's body.
        :param request_seconds: for a request to be complete; an idle connection is kept as long.
        :param input_memory: how much memory unfinished input may take, if it is shared with other servers.
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
        """A connection, unless there are too many. It speaks HTTP/1.1 and 1.0 only."""
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
        """Let answers that run end, and what is asked just now be answered; then each connection is closed. To be
        called when the listener is closed.

        :param seconds: after which connections that are still open are cut off.
        :return: fires when all are closed.
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
        """Before its body is read. :raises HttpError: it would be refused anyhow."""
        if self._check is not None:
            self._check(request)

    def _failed(self, channel: Worker, error: Exception) -> None:
        log.error("http.failed", client=channel.address, exc_info=error)
        cast("HttpChannel", channel).transport.abortConnection()

    def shorten(self, request: HttpRequest) -> None:
        """Drop of the head of a request that waits for long all but what an access log shows."""
        if self._access is None:
            request.uri = request.path = b""
            request.requestHeaders = _NO_HEADERS
        else:
            request.uri = request.path = request.path[:LOGGED_OCTETS]
            request.requestHeaders = logged_headers(request.requestHeaders)

    def startFactory(self) -> None:
        """Twisted's access log is not opened: :attr:`access` writes one, where it is wanted."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def log(self, request: Any) -> None:
        """A request was answered."""
        if self._access is not None:
            self._access(request)


def logged_headers(headers: Headers) -> Headers:
    """A request's headers without those that an access log does not show."""
    kept = Headers()
    for name in LOGGED_HEADERS:
        values = headers.getRawHeaders(name)
        if values:
            kept.setRawHeaders(name, [values[0][:LOGGED_OCTETS]])
    return kept
