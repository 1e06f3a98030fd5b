"""Connects only to hosts on the public internet (against SSRF): publishers choose the URLs that the server fetches.

A name is looked up once, and the connection goes to one of the addresses that were found and checked. So a DNS server
that gives another answer a moment later (rebinding) has no effect. Redirects are checked as well.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from fanout.listeners.address import Networks
from fanout.process.logs import Throttle
from radiovis.settings import SlideSettings
from radiovis.slides.fetch import SECONDS

_TRIED = 3
"""How many addresses of one host are tried, one after the other."""
CONNECT_SECONDS = 0.3 * SECONDS
"""Seconds for an attempt to connect: a part of the time for one slide, so that there is time for the next address."""
_TRANSLATED = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""Addresses whose last four octets are the IPv4 address to which they lead: "compatible" (obsolete), mapped, translated
(RFC 7915), and those of NAT64 (RFC 6052)."""
_ISATAP = (0x00005EFE, 0x02005EFE)  # before the IPv4 address to which the last hop leads (RFC 5214, 6.1)
_UNICAST = IPv6Network("2000::/3")
"""All addresses assigned for the public internet. 5f00::/16 and 64:ff9b:1::/48 are outside. The latter is for NAT64 of
a single network, for which the position of the IPv4 address is not known."""
_DENIED: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("168.63.129.16", "192.0.0.0/24", "192.88.99.0/24")),
    *map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")),
)
"""Addresses that :mod:`ipaddress` considers public in some versions of Python: the metadata servers of Azure and
Oracle's cloud (192.0.0.192), relays of 6to4, protocols, documentation."""
LOG_SECONDS = 60.0
"""Seconds between two log lines about the same host."""

log = structlog.get_logger(__name__)

Lookup = Callable[[str, int], Deferred[Sequence[str]]]
"""Finds the addresses of a host, in the order in which they should be tried."""


class NotPublic(Exception):
    """The host has no public address, or no address at all. The text says what to do.

    The text is for publishers. It is the same in both cases and contains no address: otherwise it would reveal which
    names a network has inside, and their addresses. The log has the address.
    """

    def __init__(self) -> None:
        advice = "if slides are on an internal host, the operator must add its network to PREFLIGHT_PRIVATE"
        super().__init__(f"no such host on the public internet; {advice}")


class PublicAddresses:
    """Endpoints for hosts with public addresses."""

    def __init__(self, reactor: Any, settings: SlideSettings, lookup: Lookup) -> None:
        """:param reactor: Twisted's reactor.
        :param settings: ``PREFLIGHT_PRIVATE``, networks that count as public. May be replaced.
        :param lookup: finds the addresses of a host.
        """
        self._reactor = reactor
        self.settings = settings
        self._lookup = lookup
        self._throttle = Throttle(reactor.seconds, LOG_SECONDS)

    @property
    def settings(self) -> SlideSettings:
        """The current settings."""
        return self._settings

    @settings.setter
    def settings(self, settings: SlideSettings) -> None:
        self._settings = settings
        self._allowed = Networks.parse(settings.PREFLIGHT_PRIVATE)

    def dial(self, host: str, port: int) -> Any:
        """An endpoint for a host and a port; see :class:`radiovis.slides.fetch.SlideFetch`."""
        return _PublicEndpoint(self, host.strip("[]"), port)

    async def connect(self, host: str, port: int, factory: IProtocolFactory) -> IProtocol:
        """Connect to the first address that accepts.

        :raises NotPublic: the host has no public address.
        """
        failure: Exception = NotPublic()
        for address in (await self._public(host, port))[:_TRIED]:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                return await kind(self._reactor, address, port, CONNECT_SECONDS).connect(factory)
            except ConnectError as error:
                failure = error
        raise failure

    async def _public(self, host: str, port: int) -> list[str]:
        """The addresses of a host to which a connection is allowed."""
        try:
            addresses = await self._lookup(host, port)
        except DNSLookupError:
            return []
        public = [each for each in addresses if is_public(each) or each in self._allowed]
        if addresses and not public and self._throttle.allow(host):
            log.warning("slide.not_public", host=host, address=addresses[0])
        return public


class _PublicEndpoint:
    def __init__(self, addresses: PublicAddresses, host: str, port: int) -> None:
        self._addresses = addresses
        self._host = host
        self._port = port

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._addresses.connect(self._host, self._port, factory))


def system_lookup(reactor: Any, pool: ThreadPool) -> Lookup:
    """Look-ups by this machine's resolver. Callers that look up the same name at the same time share one look-up.

    :param pool: separate threads, because a name server that does not answer may block one for half a minute.
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
    """Whether an address is public. If it leads to IPv4 addresses, these must be public, too."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not _is_denied(address)
    return not address.scope_id and _is_public_ipv6(address)


def _is_denied(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _DENIED)


def _is_public_ipv6(address: IPv6Address) -> bool:
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP and not is_public(_last_octets(address)):
        return False
    inner = _embedded(address)
    if inner:
        return all(map(is_public, inner))
    return address in _UNICAST and address.is_global and not _is_denied(address)


def _embedded(address: IPv6Address) -> list[str]:
    """The IPv4 addresses to which an IPv6 address leads through a translator or a tunnel: Teredo, 6to4, and others."""
    if address.teredo is not None:
        return list(map(str, address.teredo))  # server and client
    if any(address in network for network in _TRANSLATED):
        return [_last_octets(address)]
    return [str(address.sixtofour)] if address.sixtofour is not None else []


def _last_octets(address: IPv6Address) -> str:
    return str(IPv4Address(int(address) & 0xFFFFFFFF))
