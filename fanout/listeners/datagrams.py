"""A port for datagrams, which sources send to a multicast group or to the port itself.

Every server on a host receives the datagrams for the group, because they share the port. A datagram sent to the port
itself reaches only one of them.
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

# By default, Linux gives a socket the datagrams of every group that any process on the host has joined (ip(7)).
_IP_MULTICAST_ALL = 49
_JOIN_AGAIN_SECONDS = 30.0
"""Seconds between attempts to join a group: a machine may start before its network."""

log = structlog.get_logger(__name__)

Source = tuple[str, int]
"""The address and port from which a datagram came."""


class MalformedDatagram(ValueError):
    """The datagram is malformed. The text says why, for the log."""


class DatagramPort(DatagramProtocol):
    """Passes each datagram to the application. Faults of a datagram are logged and do not stop the port."""

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
        :param reactor: Twisted's reactor.
        :param name: what is received here, for the log.
        :param take: called with each datagram; raises :class:`MalformedDatagram` if it is malformed.
        :param group: multicast address to join; empty for none.
        :param octets: octets of the longest datagram.
        :param networks: networks from which clients may send; None for all.
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
        """Start listening. If the group cannot be joined, the port still receives datagrams sent to itself.

        :param port: 0 for a free one.
        :return: address and port.
        :raises twisted.internet.error.CannotListenError: another program uses the port exclusively.
        """
        # One octet more than allowed: the kernel truncates longer datagrams without an error.
        self._port = self._reactor.listenMulticast(port, self, maxPacketSize=self._octets + 1, listenMultiple=True)
        self._port.getHandle().setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if self._group:
            self._join(first=True)
        here = self._port.getHost()
        return f"{here.host}:{here.port}"

    def stop(self) -> Deferred[Any]:
        """Stop listening. The Deferred fires when the socket is closed."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        return maybeDeferred(self._port.stopListening)

    def datagramReceived(self, datagram: bytes, addr: Source) -> None:
        """Called by Twisted when a datagram arrives."""
        try:
            if self._networks is not None and addr[0] not in self._networks:
                raise MalformedDatagram("its sender is not in an allowed network")  # noqa: TRY301
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
                advice="give this machine a route for multicast; until then the port only gets datagrams sent to it",
            )
        self._again = self._reactor.callLater(_JOIN_AGAIN_SECONDS, self._join)


def _reason(failure: Failure) -> str:
    """The system's error, which Twisted wraps in its own."""
    error = failure.value
    return str(error.args[-1]) if error is not None and error.args else failure.getErrorMessage()
