"""HTTP as every page and interface of ours speaks it: a listener, and what one client may cost it.

Twisted's server parses; what it leaves open is in ``http_channel.py`` and ``http_request.py``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import IO, Any, AnyStr

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from fanout.listeners.address import plain
from fanout.listeners.limits import ConnectionLimit
from fanout.listeners.tls import TlsTransport, beneath

# What every answer over HTTP has: security headers, the status in words, and the JSON of an error.

# What a browser may do with anything of ours. Slides come from wherever a station keeps them, so pictures may too.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http: https:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}  # Twisted's own are not complete


def error_body(status: int, detail: str) -> bytes:
    """The JSON of an error: the status in words, and one or two sentences: why, and what to do."""
    reason = REASONS[status].decode()
    return json.dumps({"error": reason, "detail": detail}).encode() + b"\n"


# One connection of HTTP, and what Twisted's parser leaves open: how much a request holds, how long it takes.
#
# Names with an underscore are Twisted's own, which is pinned.

_LINGER = 2.0  # seconds to read on after a refusal, so that a reset does not erase it on its way
_HEADERS = 100  # of a request; a browser sends about 20


class HttpChannel(HTTPChannel):
    """One connection.

    :ivar address: the client's IP address.
    :ivar port: and its port there.
    """

    transport: Any  # TCP, or TLS over it
    site: HttpSite
    MAX_LENGTH = 16_384
    maxHeaders = _HEADERS
    totalHeadersSize = 65_536  # four of the longest lines
    abortTimeout = 2

    def __init__(self, limits: HttpLimits, connection_limit: ConnectionLimit, address: str, port: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limits = limits
        self.address = address
        self.port = port
        self._connection_limit: ConnectionLimit | None = connection_limit
        self._refused = False

    def connectionMade(self) -> None:
        """A client that vanished without a word is noticed by the kernel: it acknowledges nothing."""
        carrier = beneath(self.transport)
        if carrier is not None:
            carrier.setTcpKeepAlive(True)
            milliseconds = int(self.limits.unread_seconds * 1000)
            carrier.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Without Twisted's extension of the time-out: a request that drips in has no more time than another."""
        LineReceiver.dataReceived(self, data)

    def allHeadersReceived(self) -> None:
        """A body that is too long is refused before it is sent, and before "100 Continue" asks for it."""
        if self.length is not None and self.length > self.limits.body:
            self.refuse(413, f"A body may have {self.limits.body} octets.")
        elif not self._refused:
            super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        """A refused request goes nowhere."""
        if not self._refused:
            super().allContentReceived()  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        """What follows a refused request is dropped."""
        if self._refused:
            return
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self.refuse(431, f"All headers together may have {self.totalHeadersSize} octets.")
        else:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def headerReceived(self, line: bytes) -> bool:
        """One header, if there are not too many."""
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(431, f"A request may have {self.maxHeaders} headers.")
            return False
        return not self._refused and bool(super().headerReceived(line))  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        """What follows a refused request is dropped."""
        if not self._refused:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A request line, or one header, is longer than anybody needs."""
        if self.requests:
            self.refuse(431, f"A header may have {self.MAX_LENGTH} octets.")
        else:
            self.refuse(414, f"A request line may have {self.MAX_LENGTH} octets.")

    def refuse(self, status: int, detail: str) -> None:
        """Answer what is no request at all, or too much of one, and close."""
        if self._refused:
            return
        self._refused = True
        self.persistent = 0
        self._log_refusal(status)
        content_type, body = self.site.error(status, detail)
        head = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), b"content-type: " + content_type.encode()]
        head += [b"content-length: %d" % len(body), b"connection: close"]
        head += [b"%s: %s" % header for header in SECURITY_HEADERS]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        self.transport.unregisterProducer()
        if isinstance(self.transport, Server):
            self.transport.loseWriteConnection()  # reading goes on: closing with unread input would send a reset
        elif isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()  # likewise
        self.setTimeout(_LINGER)  # type: ignore[no-untyped-call]

    def _log_refusal(self, status: int) -> None:
        """As the answer to a request that was heard to the end; what was not understood of this one is empty."""
        request = self.requests[-1] if self.requests else self.requestFactory(self)
        known = (getattr(self, name, b"") for name in ("_command", "_path", "_version"))
        request.method, request.uri, request.clientproto = known
        request.code = status
        self.site.log(request)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "This is no HTTP/1.1 request.")

    def timeoutConnection(self) -> None:
        """The client took too long: for a request, or to go after a refusal."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._leave()

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        """Twisted puts the protocol's ``connectionLost`` in the place of ours; the gate still has to know."""
        super()._protocolUpgradeForWebsockets(protocol)
        lost = self.connectionLost

        def leave(reason: Failure = connectionDone) -> None:
            self._leave()
            lost(reason)
            vars(self).pop("connectionLost")  # knows the channel, and would keep it in memory

        self.connectionLost = leave  # type: ignore[method-assign]

    def _leave(self) -> None:
        connection_limit, self._connection_limit = self._connection_limit, None
        if connection_limit is not None:
            connection_limit.closed(self.address)


# One request over HTTP: what is read of it, and the ways to answer it.
#
# Names with an underscore are Twisted's own, which is pinned.


class HttpRequest(Request):
    """One request.

    :cvar every_answer: headers that are sent with each answer, if no other of their name is set.
    :ivar lost: called when the client goes away before its answer is complete.
    """

    every_answer: tuple[tuple[bytes, bytes], ...] = SECURITY_HEADERS

    channel: HttpChannel
    lost: Callable[[], None] | None = None

    def __init__(self, channel: HttpChannel, queued: object = False) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        for name, value in self.every_answer:
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

    def body(self) -> bytes:
        """What the client sent."""
        self.content.seek(0)
        return self.content.read()

    def park(self, lost: Callable[[], None]) -> None:
        """This request will wait for long, among thousands: what was read of it is no longer needed.

        :param lost: called when the client goes away meanwhile.
        """
        self.lost = lost
        self.requestHeaders = self.channel.site.kept(self.requestHeaders)
        self.args = self.content = None  # type: ignore[assignment]
        self.prepath = self.postpath = None
        if self.startedWriting:
            self.responseHeaders = _NO_HEADERS

    def abort(self) -> None:
        """End the connection at once; :attr:`lost` is called later, not before this returns."""
        if not self.gone:
            self.channel.transport.abortConnection()

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.channel.address

    @property
    def gone(self) -> bool:
        """Whether nobody waits for an answer (any more)."""
        return bool(self._disconnected or self.finished)

    def gotLength(self, length: int | None) -> None:
        """The body stays in memory: it is small, and a temporary file would block the reactor."""
        self.content: IO[bytes] = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """A body without a length announced is counted as it comes."""
        if self.content.tell() + len(data) > self.channel.limits.body:
            self.channel.refuse(413, f"A body may have {self.channel.limits.body} octets.")
        else:
            self.content.write(data)

    def render(self, resrc: Any) -> None:
        """As Twisted, but without naming its version to everybody."""
        self.put_header("server", self.channel.site.name)
        super().render(resrc)  # type: ignore[no-untyped-call]

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        """Answer, unless nobody waits for it any more."""
        if self.gone:
            return
        self.setResponseCode(status, REASONS.get(status, b""))
        self.put_header("content-type", content_type)
        self.put_header("content-length", str(len(body)))
        if not self.responseHeaders.hasHeader("cache-control"):
            self.put_header("cache-control", "no-store")
        self.write(body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def announce(self, content_type: str) -> None:
        """Answer HEAD for what GET would wait for, or stream: only headers, as nobody knows the length."""
        if self.gone:
            return
        self.put_header("content-type", content_type)
        self.put_header("cache-control", "no-store")
        self.finish()  # type: ignore[no-untyped-call]

    def answer_nothing(self) -> None:
        """204: all there is to say stands in the headers."""
        if self.gone:
            return
        self.setResponseCode(204, REASONS[204])
        self.defaultContentType = None
        self.finish()  # type: ignore[no-untyped-call]

    def answer_json(self, status: int, value: object) -> None:
        """Answer with JSON."""
        self.answer(status, json.dumps(value).encode() + b"\n", "application/json")

    def refuse(self, status: int, detail: str) -> None:
        """Answer with an error. Nothing of ours must stand in the detail that is not the client's to know."""
        self.answer(status, error_body(status, detail), "application/json")

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.lost is not None:
            self.lost()

    def processingFailed(self, reason: Failure) -> Failure:
        """A bug of ours. It is logged, and the client learns no more than that."""
        self._log.failure("", failure=reason)
        self.refuse(500, "The server made an error; its operator finds it in the log.")
        return reason


_NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one HTTP client may cost.

    :ivar body: octets of a request's body.
    :ivar request_seconds: for a request to be complete, from the opening of the connection or the answer before it.
    :ivar unread_seconds: a client that has not acknowledged octets for so long is gone.
    """

    body: int = 16_384
    request_seconds: float = 30.0
    unread_seconds: float = 60.0


class HttpSite(Site):
    """A listener: a tree of resources behind the gate.

    :cvar name: what it tells clients that it is.
    """

    name = "radiovis"

    def __init__(
        self,
        reactor: Any,
        root: IResource,
        connection_limit: ConnectionLimit,
        limits: HttpLimits,
        warn: Callable[..., None],
    ) -> None:
        """
        :param limits: may be replaced by :meth:`take_limits`.
        :param warn: logs a client's fault: event name, address, fields.
        """
        super().__init__(root, HttpRequest, timeout=limits.request_seconds, reactor=reactor)  # type: ignore[no-untyped-call]
        self._connection_limit = connection_limit
        self.limits = limits
        self._warn = warn

    def take_limits(self, limits: HttpLimits) -> None:
        """Others, for connections from now on."""
        self.limits = limits
        self.timeOut = limits.request_seconds

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection, if there is room for one. HTTP/1.1 only: receivers speak no other."""
        address = plain(getattr(addr, "host", ""))
        if not self._connection_limit.admit(address):
            self._warn(
                "client.turned_away",
                address,
                connections=self._connection_limit.total,
                of_address=self._connection_limit.of(address),
            )
            return None
        channel: Any = HttpChannel(self.limits, self._connection_limit, address, getattr(addr, "port", 0))
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        channel.callLater = self.reactor.callLater
        channel.timeOut = self.timeOut
        return channel

    def error(self, status: int, detail: str) -> tuple[str, bytes]:
        """Type and body of the answer to what is no request at all, or too much of one."""
        return "application/json", error_body(status, detail)

    def kept(self, headers: Headers) -> Headers:
        """What is still needed of a request's headers while it is held, among thousands."""
        return _NO_HEADERS

    def startFactory(self) -> None:
        """No access log: a poll per radio and ten seconds would drown all else."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def log(self, request: Any) -> None:
        """No access log."""
