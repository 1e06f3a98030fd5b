"""One connection of HTTP, and what Twisted's parser leaves open: how much a request holds, how long it takes.

Names with an underscore are Twisted's own, which is pinned.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from fanout.doors.gate import Gate
from fanout.doors.http_answer import REASONS, SECURITY_HEADERS
from fanout.doors.tls import TlsTransport, beneath

if TYPE_CHECKING:
    from fanout.doors.http import HttpLimits, HttpSite

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

    def __init__(self, limits: HttpLimits, gate: Gate, address: str, port: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limits = limits
        self.address = address
        self.port = port
        self._gate: Gate | None = gate
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
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.closed(self.address)
