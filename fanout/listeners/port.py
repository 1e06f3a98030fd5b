"""A listening port that admits new connections in slices.

When ten thousand clients come back at once, each turn of the reactor takes in one slice of them; between two turns the
outboxes are flushed, so clients that are connected get their messages in time. Twisted's own port starts at a hundred a
turn and takes 20 more each time that was not enough, until it does nothing else.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.tcp import Port

SLICE = 50
"""Connections admitted in a turn. With their CONNECT and SUBSCRIBE a slice takes about 20 ms."""
BACKLOG = 4096
"""Connections the kernel holds until their turn comes; it cuts this down to ``net.core.somaxconn``."""


class SlicedPort(Port):
    """A TCP port that accepts at most a slice of connections in one turn of the reactor.

    :ivar slice: how many that is.
    """

    slice = SLICE

    @property
    def numberAccepts(self) -> int:
        """Twisted's: how many to accept next time it is our turn; it follows the traffic."""
        return self._number_accepts

    @numberAccepts.setter
    def numberAccepts(self, number: int) -> None:
        self._number_accepts = min(number, self.slice)


def bind(ip: str, port: int) -> socket.socket:
    """A listening socket, for several processes to share. :raises CannotListenError: the port is taken."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((ip, port))
    except OSError as error:
        listening.close()
        raise CannotListenError(ip, port, error) from None
    listening.listen(BACKLOG)
    return listening


def listen(reactor: Any, ip: str, port: int, factory: IProtocolFactory, slice_: int = SLICE) -> SlicedPort:
    """Listen. :raises CannotListenError: the port is taken."""
    listening = SlicedPort(port, factory, BACKLOG, ip, reactor)
    listening.slice = slice_
    listening.startListening()
    return listening


def adopt(reactor: Any, descriptor: int, factory: IProtocolFactory, slice_: int = SLICE) -> SlicedPort:
    """Listen on a socket another process has bound; closing it closes it for nobody else."""
    with socket.socket(fileno=descriptor) as inherited:  # Twisted takes a copy
        make: Callable[..., SlicedPort] = SlicedPort._fromListeningDescriptor  # noqa: SLF001 (the reactor makes a Port)
        listening = make(reactor, descriptor, inherited.family, factory)
    listening.slice = slice_
    listening.startListening()
    return listening


# Clients that vanished without a word, such as phones out of reach, are found by TCP itself.

_PROBES = 4
"""Probes without an answer after which a client is gone."""


def keep_alive(listening: socket.socket, seconds: int) -> None:
    """Have all connections this socket accepts probed: once, on the listening socket, as they inherit its options.

    :param seconds: silence before the first probe; a vanished client is gone after twice that. 0 for the system's own
        times, two hours on Linux.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if not seconds:
        return
    for name, value in (("IDLE", seconds), ("INTVL", max(1, seconds // _PROBES)), ("CNT", _PROBES)):
        option = getattr(socket, f"TCP_KEEP{name}", None)  # macOS has no TCP_KEEPIDLE
        if option is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
