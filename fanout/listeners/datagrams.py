"""A port for datagrams, which sources send to a multicast group or plainly to the port.

Every server on a host gets what is sent to the group, as they share the port. A datagram sent to the port itself
reaches one of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import structlog
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from fanout.listeners.address import Networks
from fanout.process.logs import Throttle

# Linux gives a socket the datagrams of every group anybody on the host has joined, unless told otherwise (ip(7)).
_IP_MULTICAST_ALL = 49
_JOIN_AGAIN_SECONDS = 30.0
"""How often a group that cannot be joined is tried again: a machine may start before its network."""

log = structlog.get_logger(__name__)

Source = tuple[str, int]
"""Address and port a datagram came from."""


class MalformedDatagram(ValueError):
    """What came is no datagram of ours. The text says why, for the log."""


class DatagramPort(DatagramProtocol):
    """Hands each datagram to the application. What is wrong with one is logged, and the port lives on."""

    def __init__(
        self,
        reactor: Any,
        name: str,
        take: Callable[[bytes, Source], None],
        *,
        group: str = "",
        octets: int = 4096,
        networks: Networks | None = None,
    ) -> None:
        """
        :param name: what is received here, for the log.
        :param take: is given each datagram, and raises :class:`MalformedDatagram`.
        :param group: multicast address to join; empty for none.
        :param octets: of the longest datagram.
        :param networks: from which clients may send; None for all.
        """
        self._reactor = reactor
        self._name = name
        self._take = take
        self._group = group
        self._octets = octets
        self._networks = networks
        self._throttle = Throttle(reactor.seconds)
        self._port: Any = None
        self._again: Any = None

    def start(self, port: int) -> str:
        """Listen. Without a way to the group the port still takes what is sent to itself.

        :param port: 0 for a free one.
        :return: address and port.
        :raises twisted.internet.error.CannotListenError: another program has the port for itself.
        """
        # One octet more than allowed: the kernel cuts longer ones without a word.
        self._port = self._reactor.listenMulticast(port, self, maxPacketSize=self._octets + 1, listenMultiple=True)
        self._port.getHandle().setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if self._group:
            self._join(first=True)
        here = self._port.getHost()
        return f"{here.host}:{here.port}"

    def stop(self) -> Deferred[Any]:
        """Listen no more; fires when the socket is closed."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        return maybeDeferred(self._port.stopListening)

    def datagramReceived(self, datagram: bytes, addr: Source) -> None:
        """Twisted's: one has come."""
        try:
            if self._networks is not None and addr[0] not in self._networks:
                raise MalformedDatagram("its sender is not among those who may send")  # noqa: TRY301
            if len(datagram) > self._octets:
                raise MalformedDatagram(f"longer than {self._octets} octets")  # noqa: TRY301
            self._take(datagram, addr)
        except MalformedDatagram as error:
            self._refuse(addr, str(error))

    def _refuse(self, addr: Source, reason: str) -> None:
        if self._throttle.allow(addr[0]):
            held_back = self._throttle.held_back(addr[0])
            log.error("datagram.ignored", port=self._name, address=addr[0], reason=reason, held_back=held_back)

    def _join(self, *, first: bool = False) -> None:
        self._again = None
        joining: Deferred[Any] = self._port.joinGroup(self._group)
        joining.addCallbacks(lambda _: self._joined(first=first), lambda why: self._not_joined(why, first=first))

    def _joined(self, *, first: bool) -> None:
        if not first:
            log.info("group.joined", port=self._name, group=self._group)

    def _not_joined(self, failure: Failure, *, first: bool) -> None:
        if first:
            log.error(
                "group.not_joined",
                port=self._name,
                group=self._group,
                reason=_reason(failure),
                advice="give this machine a route for multicast; until then only datagrams sent to the port are heard",
            )
        self._again = self._reactor.callLater(_JOIN_AGAIN_SECONDS, self._join)


def _reason(failure: Failure) -> str:
    """Twisted packs the system's error in its own."""
    error = failure.value
    return str(error.args[-1]) if error is not None and error.args else failure.getErrorMessage()
