"""Reaches hosts on the internet, and none inside: whoever publishes names an address, and *we* ask it.

A name is looked up once, and the connection goes to one of the addresses that were found and looked at: a DNS server
that answers differently a moment later (rebinding) changes nothing. Redirects come here, too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from fanout.listeners.address import Networks

_TRIED = 3
"""Addresses of one host that are tried, one after the other."""
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215: the last four octets are an address of IPv4, which a gateway goes to."""

Lookup = Callable[[str, int], Deferred[Sequence[str]]]
"""The addresses of a host, in the order they are to be tried."""


class NotPublic(Exception):
    """The host is inside, or may be. The text says which address, and what to do."""


class PublicAddresses:
    """Endpoints for hosts with public addresses."""

    def __init__(self, reactor: Any, lookup: Lookup, allowed: Networks, seconds: float) -> None:
        """
        :param allowed: networks that count as public, though they are not.
        :param seconds: for one attempt to connect.
        """
        self._reactor = reactor
        self._lookup = lookup
        self._allowed = allowed
        self._seconds = seconds

    def dial(self, host: str, port: int) -> Any:
        """For :class:`radiovis.slides.fetch.SlideFetch`."""
        return _PublicEndpoint(self, host.strip("[]"), port)

    async def connect(self, host: str, port: int, factory: IProtocolFactory) -> IProtocol:
        """Connect to the first address that takes it. :raises NotPublic: none may be asked."""
        failure: Exception = DNSLookupError(host)
        for address in self._public(await self._lookup(host, port))[:_TRIED]:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                return await kind(self._reactor, address, port, self._seconds).connect(factory)
            except ConnectError as error:
                failure = error
        raise failure

    def _public(self, addresses: Sequence[str]) -> list[str]:
        public = [each for each in addresses if is_public(each) or each in self._allowed]
        if addresses and not public:
            advice = "if slides live there, the operator adds it to PREFLIGHT_PRIVATE"
            raise NotPublic(f"its address {addresses[0]} is not on the public internet: {advice}")
        return public


class _PublicEndpoint:
    def __init__(self, addresses: PublicAddresses, host: str, port: int) -> None:
        self._addresses = addresses
        self._host = host
        self._port = port

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._addresses.connect(self._host, self._port, factory))


def system_lookup(reactor: Any, pool: ThreadPool) -> Lookup:
    """Asks as this machine is set up to; for a name once at a time, however many want it.

    :param pool: threads of its own, as a name server that does not answer holds one for half a minute.
    """
    waiting: dict[str, list[Deferred[Sequence[str]]]] = {}

    def lookup(host: str, port: int) -> Deferred[Sequence[str]]:
        asked: Deferred[Sequence[str]] = Deferred()
        if host in waiting:
            waiting[host].append(asked)
        else:
            waiting[host] = [asked]
            deferToThreadPool(reactor, pool, _getaddrinfo, host, port).addBoth(answered, host)
        return asked

    def answered(found: Any, host: str) -> None:
        for asked in waiting.pop(host):
            asked.callback(found)

    return lookup


def _getaddrinfo(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise DNSLookupError(host) from None
    return [str(where[0]) for _family, _type, _proto, _name, where in found]


def is_public(host: str) -> bool:
    """Whether an address is one anybody on the internet may be asked at, also if it is one of IPv4 in disguise."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local or address.scope_id:
            return False
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The address of IPv4 that one of IPv6 leads to: mapped, 6to4, Teredo, NAT64, and "compatible", long out of use."""
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or int(address) < 2**32:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
