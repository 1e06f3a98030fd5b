"""The short way to a socket, and what Twisted keeps of what the socket does not take.

Names with an underscore are Twisted's own; it is pinned.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write(transport: Any, data: bytes) -> None:
    """Straight to the socket while nothing waits there: the reactor's way costs three system calls, and it is taken
    for what the socket does not take at once (and for errors, which the reactor then finds itself).

    From then on the transport's producer is paused, until everything has gone out.

    :param transport: a stream's; one that is not plain TCP is written to by its ``write_joined`` where it has one, as
        TLS has, and as usual otherwise.
    """
    # Whether it is connected and nothing waits. Written out here, as a call for each message and client shows.
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
        transport.write(data[sent:])
        _pause_producer(transport)
    else:
        getattr(transport, "write_joined", transport.write)(data)


def _pause_producer(transport: Any) -> None:
    """Twisted does so above 64 KiB. Thousands of clients that do not read would have as much each, and nobody knows:
    only what waits while a producer is paused is counted.
    """
    producer = transport.producer if transport.streamingProducer else None
    if producer is not None and transport._tempDataBuffer and not transport.producerPaused:  # noqa: SLF001
        transport.producerPaused = True
        producer.pauseProducing()


def abort(transport: Any) -> None:
    """Close at once, and free now what waits. Twisted keeps it until the next turn, and in this one there may be
    thousands that are cut off to make room.

    :param transport: as for :func:`write`.
    """
    transport.abortConnection()
    stream = transport if isinstance(transport, Connection) else getattr(transport, "transport", None)
    if isinstance(stream, Connection):
        stream.dataBuffer, stream.offset = b"", 0
        stream._tempDataBuffer[:] = [b""]  # noqa: SLF001  (not empty: nothing goes straight behind what is missing)
        stream._tempDataLen = 0  # noqa: SLF001
