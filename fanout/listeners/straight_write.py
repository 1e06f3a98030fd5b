"""Writes directly to a socket, and accounts for the octets that Twisted keeps when the socket does not accept them.

Names with an underscore are Twisted's own; its version is pinned.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write(transport: Any, data: bytes) -> None:
    """Write directly to the socket while nothing waits for it, because a write through the reactor costs three system
    calls. The reactor writes the octets that the socket does not accept at once, and detects errors.

    If the socket does not accept all octets, the transport's producer is paused until everything is written.

    :param transport: a stream transport. If it is not plain TCP, its ``write_joined`` is used if it has one, as TLS
        has, and otherwise its ``write``.
    """
    # Whether it is connected and nothing waits. The condition is inlined, because a call for each message and client is
    # measurable.
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
    """Pause the producer. Twisted does so above 64 KiB. Thousands of clients that do not read would have as much each,
    and it would not be counted: only octets that wait while a producer is paused are counted.
    """
    producer = transport.producer if transport.streamingProducer else None
    if producer is not None and transport._tempDataBuffer and not transport.producerPaused:  # noqa: SLF001
        transport.producerPaused = True
        producer.pauseProducing()


def abort(transport: Any) -> None:
    """Close at once, and free the waiting octets now. Twisted keeps them until the next turn, and thousands of clients
    may be disconnected in this one to make room.

    :param transport: as for :func:`write`.
    """
    transport.abortConnection()
    stream = transport if isinstance(transport, Connection) else getattr(transport, "transport", None)
    if isinstance(stream, Connection):
        stream.dataBuffer, stream.offset = b"", 0
        stream._tempDataBuffer[:] = [b""]  # noqa: SLF001 (not empty, so nothing is written directly after the gap)
        stream._tempDataLen = 0  # noqa: SLF001
