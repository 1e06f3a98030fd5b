"""Addresses of clients, in the forms in which they are counted, logged and compared."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator

_IPV6_PREFIX = 64
"""Prefix length in bits. A subscriber gets at least a /64 (RFC 6177), and may use another of its addresses for every
connection."""


def plain(host: str) -> str:
    """An address in its usual form: an IPv4 address is ``::ffff:192.0.2.1`` on a listener of IPv6.

    Any other text is returned unchanged.
    """
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or host)


def neighbourhood(host: str) -> str:
    """The unit that counts as one client: an IPv4 address, or a /64 of IPv6."""
    return _neighbourhood_of_ipv6(host) if ":" in host else host


@lru_cache(maxsize=4096)  # The computation takes 10 µs, and every SUBSCRIBE needs it.
def _neighbourhood_of_ipv6(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), _IPV6_PREFIX), strict=False))


def network(text: str) -> IPv4Network | IPv6Network:
    """A network, or a single address.

    :raises ValueError: the text is invalid; the error says how to write networks.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write networks as 10.0.16.0/20 or 2001:db8::/32") from None


class Networks:
    """A set of networks, of IPv4 and IPv6."""

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self._networks = networks

    @classmethod
    def parse(cls, text: str) -> Networks:
        """Parse a list with commas, such as ``10.0.0.0/8, 2001:db8::1``.

        :raises ValueError: an entry is invalid; the error names it.
        """
        return cls(tuple(network(each.strip()) for each in text.split(",") if each.strip()))

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: object) -> bool:
        try:
            address = ip_address(plain(str(host)))
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _networks(value: str) -> str:
    Networks.parse(value)
    return value


NetworkList = Annotated[str, AfterValidator(_networks)]
"""The type of a setting that contains a list of networks, as :meth:`Networks.parse` reads it."""
