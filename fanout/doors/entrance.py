"""What a connection passes through before a door sees it: the proxy's header, then TLS; both as the operator wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from fanout.address import Networks
from fanout.certificates import Certificates
from fanout.doors.proxied import ProxiedFactory
from fanout.doors.tls import TlsFactory


class Entrance:
    """Puts itself in front of the doors. What is not wanted costs nothing: the door's own factory listens then."""

    def __init__(
        self,
        reactor: Any,
        complain: Callable[..., None],
        *,
        certificates: Certificates | None = None,
        proxies: Networks | None = None,
        header_seconds: float = 5.0,
    ) -> None:
        """
        :param complain: logs a client's fault: event name, address, fields.
        :param certificates: loaded; None for no TLS.
        :param proxies: those who say whose connections they pass on; None for none.
        :param header_seconds: time they have for that.
        """
        self.certificates = certificates
        self._reactor = reactor
        self._complain = complain
        self._proxies = proxies
        self._header_seconds = header_seconds

    def plain(self, door: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with."""
        if not self._proxies:
            return door
        return ProxiedFactory(self._reactor, door, self._proxies, self._complain, seconds=self._header_seconds)

    def secure(self, door: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with, with TLS. The proxy's header comes before it, in the clear."""
        assert self.certificates is not None, "there is no certificate"
        return self.plain(TlsFactory(self._reactor, self.certificates, door, self._complain))

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
