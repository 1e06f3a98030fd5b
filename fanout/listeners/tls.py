"""TLS in front of a server. Twisted does it; here is what it leaves open: failed handshakes, and a call too late."""

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
from fanout.settings.engine import SecuritySettings


class TlsTransport(BufferingTLSTransport):
    """What a server writes to and reads from; TCP is beneath it. Names with an underscore are Twisted's; it is pinned.

    Closing one side alone does not exist in TLS as Twisted speaks it. ``loseConnection`` does what a server wants
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
        self._producer = None  # the server's protocol, which refers to us: both would stay in memory, with 28 KiB


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
    """The TCP connection that carries a server's octets; None in tests without a socket."""
    carrier = transport.transport if isinstance(transport, TlsTransport) else transport
    return carrier if isinstance(carrier, Server) else None


class ListenerWrapper:
    """Wraps the factory of a server: first the proxy's header is read, then TLS is spoken, if the operator wants them.

    What is not wanted costs nothing: the server's own factory listens then.

    :ivar settings: they count for listeners made from now on.
    """

    def __init__(
        self,
        reactor: Any,
        settings: SecuritySettings,
        warn: Callable[..., None],
        certificates: Certificates | None = None,
    ) -> None:
        """
        :param warn: logs a client's fault: event name, address, fields.
        :param certificates: loaded; None for no TLS.
        """
        self.settings = settings
        self.certificates = certificates
        self._reactor = reactor
        self._warn = warn

    def plain(self, server: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with."""
        proxies = Networks.parse(self.settings.PROXY_FROM)
        if not proxies:
            return server
        return ProxiedFactory(self._reactor, server, proxies, self._warn, seconds=self.settings.PROXY_HEADER_SECONDS)

    def secure(self, server: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with, with TLS. The proxy's header comes before it, in the clear."""
        assert self.certificates is not None, "there is no certificate"
        return self.plain(TlsFactory(self._reactor, self.certificates, server, self._warn))

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
