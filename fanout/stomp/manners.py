"""How this server presents itself: what every session of a process has in common besides its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanout.stomp.dialect import DIALECTS, Dialect


@dataclass(frozen=True, slots=True)
class Manners:
    """
    :ivar server: the ``server`` header of CONNECTED, name/version.
    :ivar heartbeat: milliseconds between the beats we can send, and between those we want.
    :ivar idle_lf: seconds of silence after which a client without heart-beats is sent a LF; 0 for never
        (one old receiver mistakes it for a frame; others sit behind a NAT that forgets silent connections).
    :ivar hosts: the virtual hosts served; empty for any (stomp.md N6: several clients send their socket's name).
    :ivar dialects: version → how it is written here; see :meth:`Dialect.with_trailing_lf`.
    """

    server: str = "fanout"
    heartbeat: tuple[int, int] = (10_000, 10_000)
    idle_lf: float = 0.0
    hosts: frozenset[str] = frozenset()
    dialects: Mapping[str, Dialect] = field(default_factory=lambda: DIALECTS)
