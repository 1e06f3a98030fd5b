"""Connects to hosts on the public internet only (against SSRF): publishers choose the URLs that the server fetches.

A name is looked up once, and the connection goes to one of the addresses that were found and checked. A DNS server
that answers differently a moment later (rebinding) has no effect. Redirects are checked as well.
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
from radiovis.settings import SlideSettings
from radiovis.slides.fetch import SECONDS

_TRIED = 3
"""Addresses of one host that are tried, one after the other."""
CONNECT_SECONDS = 0.3 * SECONDS
"""Seconds that an attempt to connect may take: a part of those for one slide, so that the next address has a chance."""
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215: the last four octets are an IPv4 address, to which a gateway connects."""

Lookup = Callable[[str, int], Deferred[Sequence[str]]]
"""The addresses of a host, in the order they are to be tried."""


class NotPublic(Exception):
    """The host has no public address. The text says which address it has, and what to do."""


class PublicAddresses:
    """Endpoints for hosts with public addresses."""

    def __init__(self, reactor: Any, settings: SlideSettings, lookup: Lookup) -> None:
        """:param settings: ``PREFLIGHT_PRIVATE``, networks that count as public. May be replaced."""
        self._reactor = reactor
        self.settings = settings
        self._lookup = lookup

    @property
    def settings(self) -> SlideSettings:
        """The settings in force."""
        return self._settings

    @settings.setter
    def settings(self, settings: SlideSettings) -> None:
        self._settings = settings
        self._allowed = Networks.parse(settings.PREFLIGHT_PRIVATE)

    def dial(self, host: str, port: int) -> Any:
        """For :class:`radiovis.slides.fetch.SlideFetch`."""
        return _PublicEndpoint(self, host.strip("[]"), port)

    async def connect(self, host: str, port: int, factory: IProtocolFactory) -> IProtocol:
        """Connect to the first address that accepts. :raises NotPublic: the host has no public address."""
        failure: Exception = DNSLookupError(host)
        for address in self._public(await self._lookup(host, port))[:_TRIED]:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                return await kind(self._reactor, address, port, CONNECT_SECONDS).connect(factory)
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
    """Look-ups by this machine's resolver. Callers that want the same name share one look-up.

    :param pool: threads of its own: a name server that does not answer holds one for half a minute.
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
    """Whether an address is public. An IPv6 address that leads to an IPv4 address counts as that."""
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
    """The IPv4 address to which an IPv6 address leads: mapped, 6to4, Teredo, NAT64, or "compatible" (obsolete)."""
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or int(address) < 2**32:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
