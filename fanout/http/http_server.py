"""The HTTP server: its connections, its requests, its listener, and what one client may cost.

Twisted parses requests and frames answers. This file adds what Twisted leaves open:

* Bounds: lengths of lines, headers and bodies, and the time in which a request has to be complete. A request beyond
  them is refused before it reaches a handler, and the connection is closed.
* Memory: a request that waits for long frees what was read of it (:meth:`HttpRequest.hold`).
* One way for every request: :class:`HttpSite` hands it to the dispatcher; no tree of resources is searched.

Names with an underscore are Twisted's own. They are used where it offers no other way; its version is pinned.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any, AnyStr, Protocol, cast

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.server import Request, Site

from fanout.http.limits import BODY_BYTES, REQUEST_SECONDS
from fanout.http.response import REASONS, ErrorPages, HttpError, json_page
from fanout.listeners.address import plain
from fanout.listeners.client_limits import ConnectionLimit
from fanout.listeners.tls import TlsTransport, beneath

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


class RequestSettings(Protocol):
    """The settings the server reads. An application's settings have them, or translate its own to them."""

    @property
    def WRITE_TIMEOUT(self) -> float:
        """Seconds after which a client that has not acknowledged octets is gone."""
        ...


_LINGER = 2.0  # seconds to read on after a refusal, so that a reset does not erase it on its way
_HEADERS = 100  # of a request; a browser sends about 20
_IN_MEMORY = 65_536  # octets of a body; a larger one goes to a temporary file
_STEP = 65_536  # octets of a body for which a client gets as much time again as for the whole request


class HttpChannel(HTTPChannel):
    """One connection. It keeps the settings under which it was opened.

    :ivar address: the client's IP address.
    :ivar port: and its port there.
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
        self._refused = False

    def connectionMade(self) -> None:
        """The kernel notices a client that has vanished: it acknowledges nothing."""
        carrier = beneath(self.transport)
        if carrier is not None:
            carrier.setTcpKeepAlive(True)
            milliseconds = int(self.settings.WRITE_TIMEOUT * 1000)
            carrier.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Without Twisted's extension of the time-out: a request that drips in has no more time than another."""
        LineReceiver.dataReceived(self, data)

    def allHeadersReceived(self) -> None:
        """A body that is too long is refused before it is sent, and before "100 Continue" asks for it."""
        if self.length is not None and self.length > self.site.body_bytes:
            self.refuse(413, f"A body may have {self.site.body_bytes} octets.")
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
        page = self.site.pages.page(HttpError(status, detail))
        body = cast("bytes", page.body)
        head = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), b"content-type: " + page.content_type.encode()]
        head += [b"content-length: %d" % len(body), b"connection: close"]
        head += [b"%s: %s" % header for header in SECURITY_HEADERS]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        self.transport.unregisterProducer()
        if isinstance(self.transport, Server):
            self.transport.loseWriteConnection()  # reading goes on: closing with unread input would send a reset
        elif isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()  # TLS reads on until the client closes, too
        self.setTimeout(_LINGER)  # type: ignore[no-untyped-call]

    def _log_refusal(self, status: int) -> None:
        """Log it as the answer to a complete request; what was not understood of this one is empty."""
        request = self.requests[-1] if self.requests else self.requestFactory(self)
        known = (getattr(self, name, b"") for name in ("_command", "_path", "_version"))
        request.method, request.uri, request.clientproto = known
        request.code = status
        self.site.log(request)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "This is no HTTP/1.1 request.")

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
        self.requests.clear()
        # If the client did not wait for the answer, what it sent behind its request belongs to the protocol.
        self.rawDataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self._protocolUpgradeForWebsockets(protocol)

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
        connection_limit, self._connection_limit = self._connection_limit, None
        if connection_limit is not None:
            connection_limit.closed(self.address)


class HttpRequest(Request):
    """One request, and the ways to answer it.

    :ivar lost: called when the client goes away before its answer is complete.
    """

    channel: HttpChannel
    lost: Callable[[], None] | None = None

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
        """Whether no client waits for an answer (any more)."""
        return bool(self._disconnected or self.finished)

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
        before = self.content.tell()
        most = self.channel.site.body_bytes
        if before + len(data) > most:  # of a body without an announced length
            self.channel.refuse(413, f"A body may have {most} octets.")
            return
        self.content.write(data)
        if self.content.tell() // _STEP > before // _STEP:
            self.channel.resetTimeout()  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """The request is complete. Twisted answers ``OPTIONS *``, which concerns no path; the site all others."""
        if self.path == b"*":
            super().process()  # type: ignore[no-untyped-call]
            return
        site = self.site = self.channel.site
        self.setHeader(b"server", site.name)  # type: ignore[no-untyped-call]
        self.setHeader(b"date", datetimeToString())  # type: ignore[no-untyped-call]
        site.handle(self)

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        """Answer, unless the client has gone."""
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
        """Answer HEAD where GET would wait or stream: only headers, as the length is not known."""
        if self.gone:
            return
        self.put_header("content-type", content_type)
        self.put_header("cache-control", "no-store")
        self.finish()  # type: ignore[no-untyped-call]

    def refuse(self, status: int, detail: str) -> None:
        """Answer with an error in JSON, whatever the site's error pages are."""
        page = json_page(HttpError(status, detail))
        self.answer(status, cast("bytes", page.body), page.content_type)

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.lost is not None:
            self.lost()


_NO_HEADERS = Headers()


class HttpSite(Site):
    """A listener. Hand it to :func:`fanout.listeners.port.listen`."""

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
        body_bytes: int = BODY_BYTES,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """
        :param handle: answers a request, now or later: a :class:`fanout.http.dispatch.Dispatcher`.
        :param settings: may be replaced at any time, for connections from then on.
        :param warn: logs a client's fault: event name, address, fields.
        :param name: of the server, for clients.
        :param pages: what clients see of errors; JSON if not given.
        :param headers: sent with each answer that has no other of their name.
        :param access: told of each request when it is answered; for an access log.
        :param body_bytes: most octets of a request's body.
        :param request_seconds: for a request to be complete; an idle connection is kept as long.
        """
        super().__init__(None, HttpRequest, timeout=request_seconds, reactor=reactor)  # type: ignore[no-untyped-call]
        self.body_bytes = body_bytes
        self._request_seconds = request_seconds
        self.handle = handle
        self.settings = settings
        self.name = name.encode()
        self.pages = pages or ErrorPages(default=json_page)
        self.headers = tuple(headers)
        self._connection_limit = connection_limit
        self._warn = warn
        self._access = access

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection, unless there are too many. It speaks HTTP/1.1 and 1.0 only."""
        address = plain(getattr(addr, "host", ""))
        if not self._connection_limit.admit(address):
            self._warn(
                "client.turned_away",
                address,
                connections=self._connection_limit.total,
                of_address=self._connection_limit.of(address),
            )
            return None
        channel: Any = HttpChannel(self.settings, self._connection_limit, address, getattr(addr, "port", 0))
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        channel.callLater = self.reactor.callLater
        channel.timeOut = self._request_seconds
        return channel

    def kept(self, headers: Headers) -> Headers:
        """The headers of a request that are still needed while it waits for long: those an access log shows."""
        return _NO_HEADERS if self._access is None else logged_headers(headers)

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
            kept.setRawHeaders(name, values[:1])
    return kept
