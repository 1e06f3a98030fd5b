"""The short way to a socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write(transport: Any, data: bytes) -> None:
    """Straight to the socket while nothing waits there: the reactor's way costs three system calls, and it is taken
    for what the socket does not take at once (and for errors, which the reactor then finds itself).

    :param transport: a stream's; one that is not plain TCP is written to by its ``write_joined`` where it has one, as
        TLS has, and as usual otherwise.
    """
    # The names are Twisted's own, which is pinned: connected, and nothing waits. Written out here, as a call for each
    # message and client shows.
    if (
        isinstance(transport, Connection)
        and transport.connected
        and not transport.TLS
        and not transport._tempDataBuffer  # noqa: SLF001
        and transport.offset == len(transport.dataBuffer)
    ):
        try:
            sent = transport.socket.send(data)
        except OSError:
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    getattr(transport, "write_joined", transport.write)(data)
