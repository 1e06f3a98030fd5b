"""Connections through a proxy: it says first whose they are (``proxy_header.py``), and then is no longer there.

Only who is trusted is asked. From everybody else such a header is what the protocol behind makes of it, and to none of
them it means anything: STOMP and HTTP refuse it as bad input, and TLS as no handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import protocol
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.tcp import Server
from twisted.python.failure import Failure

from fanout.address import Networks, plain
from fanout.doors.proxy_header import ProxyHeader, ProxyHeaderError, Source

_MOST_WAITING = 1_000  # connections without their header; a proxy sends it with the first octets, or before them


class ProxiedFactory(protocol.Factory):
    """Listens for a factory behind proxies. Its protocols are built when it is known who their client is."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        wrapped: IProtocolFactory,
        trusted: Networks,
        complain: Callable[..., None],
        *,
        seconds: float = 5.0,
    ) -> None:
        """
        :param wrapped: its ``buildProtocol`` is given the client's address, and may refuse it.
        :param trusted: the proxies.
        :param complain: logs a fault: event name, address, fields.
        :param seconds: for the header to be complete.
        """
        self.reactor = reactor
        self.wrapped = wrapped
        self.seconds = seconds
        self.waiting = 0
        self._trusted = trusted
        self._complain = complain

    def buildProtocol(self, addr: Any) -> Any:
        """The wrapped factory's protocol, or one that reads the header first."""
        address: str = getattr(addr, "host", "")
        if address not in self._trusted:
            return self.wrapped.buildProtocol(addr)
        if self.waiting >= _MOST_WAITING:
            self.refuse(plain(address), f"{self.waiting} connections wait for their PROXY header")
            return None
        return Proxied(self, addr)

    def refuse(self, address: str, reason: str) -> None:
        """Tell the operator: a trusted proxy is set up wrongly, or is no proxy."""
        self._complain("proxy.refused", address, reason=reason)

    def doStart(self) -> None:
        """For Twisted: a listener begins."""
        super().doStart()  # type: ignore[no-untyped-call]
        self.wrapped.doStart()

    def doStop(self) -> None:
        """For Twisted: it ends."""
        super().doStop()  # type: ignore[no-untyped-call]
        self.wrapped.doStop()


class Proxied(protocol.Protocol):
    """A connection whose header has not come yet."""

    transport: Server

    def __init__(self, factory: ProxiedFactory, proxy: Any) -> None:
        self.factory: ProxiedFactory = factory
        self._proxy = proxy
        self._header = ProxyHeader()
        self._waiting = False
        self._timer: Any = None

    def connectionMade(self) -> None:
        """Wait for the header, but not for long."""
        self._waiting = True
        self.factory.waiting += 1
        self._timer = self.factory.reactor.callLater(self.factory.seconds, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        """A piece of the header."""
        try:
            source = self._header.feed(data)
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if source is not None:
            self._hand_over(source)

    def _hand_over(self, source: Source) -> None:
        """Twisted's transport gets another protocol, so what follows takes no detour."""
        self._done()
        client = _client(source) if source.host else self._proxy
        behind: Any = self.factory.wrapped.buildProtocol(client)
        if behind is None:
            self.transport.abortConnection()
            return
        self.transport.protocol = behind
        behind.makeConnection(self.transport)
        if source.rest:
            behind.dataReceived(source.rest)

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(f"no PROXY header within {self.factory.seconds:g} s")

    def _refuse(self, reason: str) -> None:
        self._done()
        self.factory.refuse(plain(getattr(self._proxy, "host", "")), reason)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """It went before its header came: health checks do that."""
        self._done()

    def _done(self) -> None:
        if self._waiting:
            self._waiting = False
            self.factory.waiting -= 1
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _client(source: Source) -> IAddress:
    kind = IPv6Address if ":" in source.host else IPv4Address
    client: IAddress = kind("TCP", source.host, source.port)
    return client
