"""Clients that vanished without a word, such as phones out of reach, are found by TCP itself."""

from __future__ import annotations

import socket

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
