"""A listening port that accepts new connections in slices, and may share its port number with other processes.

When thousands of clients reconnect at the same time, each turn of the reactor accepts one slice of them. The outboxes
are flushed between two turns, so connected clients get their messages in time. Twisted's own port starts at a hundred
connections a turn and adds 20 each time that was not enough, until it does nothing else.

With ``reuse_port`` several processes listen on the same address (``SO_REUSEPORT``): the kernel gives each listening
socket a queue of its own and spreads new connections over them by a hash of both addresses.

:func:`keep_alive` makes TCP detect clients that vanished without closing, such as phones that are out of reach.
"""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.tcp import Port

from fanout.listeners.client_limits import ACCEPT_SLICE, KEEP_ALIVE_SECONDS

BACKLOG = 4096
"""Connections that the kernel holds until they are accepted; it reduces the number to ``net.core.somaxconn``."""


class SlicedPort(Port):
    """A TCP port that accepts at most a slice of connections in one turn of the reactor.

    :ivar slice: how many that is.
    :ivar reuse_port: whether other sockets with the same option and user may listen on the same port.
    """

    slice = ACCEPT_SLICE
    reuse_port = False

    def createInternetSocket(self) -> socket.socket:
        """Called by Twisted: makes the socket before it is bound."""
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        if self.reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return made

    @property
    def numberAccepts(self) -> int:
        """Used by Twisted: how many connections to accept in the next turn; it follows the traffic."""
        return self._number_accepts

    @numberAccepts.setter
    def numberAccepts(self, number: int) -> None:
        self._number_accepts = min(number, self.slice)

    def accept_queue(self) -> None:
        """Accept the connections that the kernel holds for this socket. Call it just before the socket is closed.

        With ``SO_REUSEPORT`` every listening socket has a queue of its own, and closing the socket resets the
        connections in it.
        """
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        for _ in range(BACKLOG // self.slice + 1):  # Limited: more may come, or no descriptors may be left.
            if not waiting.poll(0):
                return
            self.doRead()  # type: ignore[no-untyped-call]


def listen(
    reactor: Any, ip: str, port: int, factory: IProtocolFactory, slice_: int = ACCEPT_SLICE, *, reuse_port: bool = False
) -> SlicedPort:
    """Accept connections on an address.

    :param ip: the IP address.
    :param port: the port.
    :param factory: makes the protocols of the connections.
    :param slice_: how many connections to accept in one turn of the reactor.
    :param reuse_port: whether to share the port with other processes that do the same (``SO_REUSEPORT``).
    :raises CannotListenError: the port is taken.
    """
    listening = SlicedPort(port, factory, BACKLOG, ip, reactor)
    listening.slice, listening.reuse_port = slice_, reuse_port
    listening.startListening()
    return listening


def check_free(ip: str, port: int) -> None:
    """:raises CannotListenError: the port is taken."""
    _bind(ip, port).close()


def reserve(ip: str, port: int) -> socket.socket:
    """Reserve a port for processes that will listen with ``reuse_port``.

    :param port: 0 for a free one.
    :return: a bound socket. It does not listen, so the kernel gives it no connections.
    :raises CannotListenError: the port is taken, or processes that are not ours share it.
    """
    check_free(ip, port)  # SO_REUSEPORT alone also binds if another program of the same user has set it.
    return _bind(ip, port, reuse_port=True)


def _bind(ip: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
        bound.bind((ip, port))
    except OSError as error:
        bound.close()
        raise CannotListenError(ip, port, error) from None
    return bound


_PROBES = 4
"""Unanswered probes after which a client counts as gone."""


def keep_alive(listening: socket.socket, seconds: int = KEEP_ALIVE_SECONDS) -> None:
    """Make TCP probe all connections that this socket accepts. The options are set on the listening socket, and its
    connections inherit them.

    :param seconds: idle time before the first probe; a vanished client is disconnected after twice that. 0 means the
        system's own times, two hours on Linux.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if not seconds:
        return
    for name, value in (("IDLE", seconds), ("INTVL", max(1, seconds // _PROBES)), ("CNT", _PROBES)):
        option = getattr(socket, f"TCP_KEEP{name}", None)  # macOS has no TCP_KEEPIDLE
        if option is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
