"""TLS in front of a door. Twisted does it; here is what it leaves open: failed handshakes, and a call too late."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from fanout.listeners import straight_write
from fanout.listeners.address import Networks
from fanout.listeners.certificates import Certificates, openssl_reason
from fanout.listeners.proxy import ProxiedFactory


class TlsTransport(BufferingTLSTransport):
    """What a door writes to and reads from; beneath it is TCP. Names with an underscore are Twisted's, which is pinned.

    Closing one side alone does not exist in TLS as Twisted speaks it. ``loseConnection`` does what a door wants
    instead: it says goodbye, reads on, and closes when the client says goodbye as well.
    """

    factory: TlsFactory

    def abortConnection(self) -> None:
        """Close at once. May come after the end, as for TCP; Twisted would fail."""
        if self._tlsConnection is not None:
            super().abortConnection()  # type: ignore[no-untyped-call]

    def write_joined(self, data: bytes) -> None:
        """Write what a whole turn has joined. Twisted would wait for the next turn, in case there is more."""
        if getattr(self._aggregator, "_buffer", ()):
            self.write(data)  # type: ignore[no-untyped-call]  # behind what waits there
        else:
            super().write(data)  # type: ignore[no-untyped-call]

    def _flushSendBIO(self) -> None:
        """What is encrypted goes the short way, too."""
        with contextlib.suppress(SSL.WantReadError):
            straight_write.write(self.transport, self._tlsConnection.bio_read(2**15))

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """What ended it is kept without the place where, which knows it and us: all three would stay in memory."""
        if reason is not None:
            reason.cleanFailure()
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """A client that spoke no TLS, or none that we speak, is a fault worth a line; one that just went is not."""
        failed = self._reason
        if not self._handshakeDone and failed is not None and failed.check(SSL.Error):
            address = getattr(self.wrappedProtocol, "address", "")
            self.factory.warn("tls.refused", address, reason=openssl_reason(failed.value))
        super().connectionLost(reason)
        self._producer = None  # the door's protocol, which knows us: they would keep each other, and 28 KiB, in memory


class TlsFactory(TLSMemoryBIOFactory):
    """Listens with TLS for a factory that need not know.

    :ivar warn: logs a client's fault: event name, address, fields.
    """

    protocol = TlsTransport

    def __init__(
        self, reactor: Any, certificates: Certificates, wrapped: IProtocolFactory, warn: Callable[..., None]
    ) -> None:
        super().__init__(certificates, False, wrapped, reactor)
        self.warn = warn

    def buildProtocol(self, addr: Any) -> Any:
        """None where the wrapped factory wants nobody; Twisted's would wrap that None."""
        behind = self.wrappedFactory.buildProtocol(addr)
        return None if behind is None else self.protocol(self, behind)


def beneath(transport: object) -> Server | None:
    """The TCP connection that carries a door's octets; None in tests without a socket."""
    carrier = transport.transport if isinstance(transport, TlsTransport) else transport
    return carrier if isinstance(carrier, Server) else None


# What a connection passes through before a door sees it: the proxy's header, then TLS; both as the operator wants.


class ListenerWrapper:
    """Puts itself in front of the doors. What is not wanted costs nothing: the door's own factory listens then."""

    def __init__(
        self,
        reactor: Any,
        warn: Callable[..., None],
        *,
        certificates: Certificates | None = None,
        proxies: Networks | None = None,
        header_seconds: float = 5.0,
    ) -> None:
        """
        :param warn: logs a client's fault: event name, address, fields.
        :param certificates: loaded; None for no TLS.
        :param proxies: those who say whose connections they pass on; None for none.
        :param header_seconds: time they have for that.
        """
        self.certificates = certificates
        self._reactor = reactor
        self._warn = warn
        self._proxies = proxies
        self._header_seconds = header_seconds

    def plain(self, door: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with."""
        if not self._proxies:
            return door
        return ProxiedFactory(self._reactor, door, self._proxies, self._warn, seconds=self._header_seconds)

    def secure(self, door: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with, with TLS. The proxy's header comes before it, in the clear."""
        assert self.certificates is not None, "there is no certificate"
        return self.plain(TlsFactory(self._reactor, self.certificates, door, self._warn))

    def start(self) -> None:
        """Follow the certificate's files."""
        if self.certificates is not None:
            self.certificates.start()

    def reload(self) -> None:
        """Read the certificate again, if there is one; a bad one leaves the old one in use."""
        if self.certificates is not None:
            self.certificates.reload()

    def stop(self) -> None:
        """Look no longer."""
        if self.certificates is not None:
            self.certificates.stop()
