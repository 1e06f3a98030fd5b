"""Connections through a proxy, which sends a header with the client's address first: PROXY protocol, versions 1 and 2.

:class:`ProxyHeader` reads the header and is sans-IO; :class:`ProxiedFactory` and :class:`Proxied` put it in front of
any server, which then sees the client's own address.

Only trusted proxies may send a header. From other clients it is input for the server behind, and invalid for all of
them: STOMP and HTTP refuse it, and TLS does not find a handshake.

Source of the rules: haproxy's ``doc/proxy-protocol.txt`` (sections 2.1 and 2.2)::

    v1  "PROXY TCP4 192.0.2.1 198.51.100.1 56324 61613" CR LF     at most 107 octets
    v2  12 octets of signature, version and command, family, length, addresses, and more that is skipped

Twisted has a parser of its own (``twisted.protocols.haproxy``), which is not used: it trusts every client, needs the
first 16 octets in one piece, has no time limit, and starts a protocol before its client's address is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted.internet import protocol
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.tcp import Server
from twisted.python.failure import Failure

from fanout.listeners.address import Networks, plain
from fanout.listeners.client_limits import PROXY_HEADER_SECONDS

V1_LONGEST = 107
V2_LONGEST = 16 + 2_048
"""Addresses take 36 octets; the rest is for additions of proxies (TLVs), a host name or a checksum. No real header is
nearly as long."""

_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = 16
_V1_LINE = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]{2,45}) ([0-9A-Fa-f.:]{2,45}) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
_LOCAL, _PROXY = 0x20, 0x21
_FAMILIES = {0x11: 4, 0x21: 16}  # TCP over IPv4 and IPv6: the length of an address
_MOST_PORT = 65_535


class ProxyHeaderError(Exception):
    """The input is not a PROXY header. The text says why."""


@dataclass(frozen=True, slots=True)
class ProxiedClient:
    """The client from which the connection comes.

    :ivar host: IP address; empty if the proxy itself is the client (health checks), or does not know the address.
    :ivar port: the client's port.
    :ivar rest: the octets after the header, which are the client's.
    """

    host: str
    port: int
    rest: bytes


class ProxyHeader:
    """Reads one header, which may arrive in pieces."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> ProxiedClient | None:
        """Read more octets.

        :return: the client, when the header is complete; None before.
        :raises ProxyHeaderError: the input is not a PROXY header. The connection has to be closed.
        """
        self._data += data
        if self._data.startswith(_V2_SIGNATURE[: len(self._data)]):
            return self._version_2()
        if self._data.startswith(b"PROXY "[: len(self._data)]):
            return self._version_1()
        raise ProxyHeaderError("does not begin with a PROXY header")

    def _version_1(self) -> ProxiedClient | None:
        end = self._data.find(b"\r\n", 0, V1_LONGEST)
        if end < 0:
            if len(self._data) >= V1_LONGEST:
                raise ProxyHeaderError(f"a PROXY line has at most {V1_LONGEST} octets")
            return None
        line, rest = self._data[:end], self._data[end + 2 :]
        if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
            return ProxiedClient("", 0, rest)
        found = _V1_LINE.fullmatch(line)
        if found is None:
            raise ProxyHeaderError("not a PROXY line")
        host = _address(found[2].decode(), 4 if found[1] == b"TCP4" else 6)
        _address(found[3].decode(), 4 if found[1] == b"TCP4" else 6)
        if max(int(found[4]), int(found[5])) > _MOST_PORT:
            raise ProxyHeaderError("a port above 65535")
        return ProxiedClient(host, int(found[4]), rest)

    def _version_2(self) -> ProxiedClient | None:
        data = self._data
        if len(data) < _V2_HEAD:
            return None
        command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
        if command not in (_LOCAL, _PROXY):
            raise ProxyHeaderError(f"unknown PROXY version and command 0x{command:02x}")
        if _V2_HEAD + length > V2_LONGEST:
            raise ProxyHeaderError(f"a PROXY header of {length} octets is too long")
        if len(data) < _V2_HEAD + length:
            return None
        addresses, rest = data[_V2_HEAD : _V2_HEAD + length], data[_V2_HEAD + length :]
        if command == _LOCAL or family not in _FAMILIES:
            return ProxiedClient("", 0, rest)  # the specification: ignore unknown values, and use the proxy's address
        size = _FAMILIES[family]
        if length < 2 * size + 4:
            raise ProxyHeaderError("a PROXY header without its addresses")
        port = int.from_bytes(addresses[2 * size : 2 * size + 2], "big")
        return ProxiedClient(plain(str(ip_address(addresses[:size]))), port, rest)


def _address(text: str, version: int) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        raise ProxyHeaderError("not an IP address") from None
    if address.version != version:
        raise ProxyHeaderError(f"not an address of IPv{version}")
    return plain(str(address))


_MOST_WAITING = 1_000  # connections without their header; a proxy sends it with the first octets, or before them


class ProxiedFactory(protocol.Factory):
    """Listens for a factory behind proxies. The protocol of a connection is built when its client's address is
    known.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        wrapped: IProtocolFactory,
        trusted: Networks,
        warn: Callable[..., None],
        *,
        seconds: float = PROXY_HEADER_SECONDS,
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param wrapped: the server's factory; its ``buildProtocol`` gets the client's address, and may refuse it.
        :param trusted: the proxies.
        :param warn: logs a fault: event name, address, fields.
        :param seconds: time limit for the header to be complete.
        """
        self.reactor = reactor
        self.wrapped = wrapped
        self.seconds = seconds
        self.waiting = 0
        self._trusted = trusted
        self._warn = warn

    def buildProtocol(self, addr: Any) -> Any:
        """The wrapped factory's protocol, or one that reads the header first."""
        address: str = getattr(addr, "host", "")
        if address not in self._trusted:
            return self.wrapped.buildProtocol(addr)
        if self.waiting >= _MOST_WAITING:
            self.refuse(plain(address), f"{self.waiting} connections are waiting for their PROXY header")
            return None
        return Proxied(self, addr)

    def refuse(self, address: str, reason: str) -> None:
        """Tell the operator that a trusted proxy is configured wrongly, or is not a proxy."""
        self._warn("proxy.refused", address, reason=reason)

    def doStart(self) -> None:
        """Called by Twisted when a listener starts."""
        super().doStart()  # type: ignore[no-untyped-call]
        self.wrapped.doStart()

    def doStop(self) -> None:
        """Called by Twisted when the listener stops."""
        super().doStop()  # type: ignore[no-untyped-call]
        self.wrapped.doStop()


class Proxied(protocol.Protocol):
    """A connection whose header is not complete yet."""

    transport: Server

    def __init__(self, factory: ProxiedFactory, proxy: Any) -> None:
        self.factory: ProxiedFactory = factory
        self._proxy = proxy
        self._header = ProxyHeader()
        self._waiting = False
        self._timer: Any = None

    def connectionMade(self) -> None:
        """Wait for the header, for a limited time."""
        self._waiting = True
        self.factory.waiting += 1
        self._timer = self.factory.reactor.callLater(self.factory.seconds, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        """Read a piece of the header."""
        try:
            source = self._header.feed(data)
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if source is not None:
            self._hand_over(source)

    def _hand_over(self, source: ProxiedClient) -> None:
        """Replace the protocol of Twisted's transport, so that further octets go directly to the server."""
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
        """The connection was closed before its header arrived; health checks do that."""
        self._done()

    def _done(self) -> None:
        if self._waiting:
            self._waiting = False
            self.factory.waiting -= 1
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _client(source: ProxiedClient) -> IAddress:
    kind = IPv6Address if ":" in source.host else IPv4Address
    client: IAddress = kind("TCP", source.host, source.port)
    return client
