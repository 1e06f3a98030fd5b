"""At most one thing per key and interval: keeps a flood of bad clients from becoming a flood of log lines."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from fanout.cache.bounded_dict import BoundedDict


@dataclass(slots=True)
class _Entry:
    since: float
    held_back: int = 0
    held_back_before: int = 0


class Throttle:
    """Says whether a key's turn has come. Sans-IO::

        if throttle.allow(address):
            log.warning("bad frame", address=address, held_back=throttle.held_back(address))

    :param clock: seconds, never going back; ``reactor.seconds`` or ``time.monotonic``.
    :param interval: seconds between two turns of one key.
    :param keys: how many keys are remembered; beyond it the one allowed longest ago is forgotten.
    """

    def __init__(self, clock: Callable[[], float], interval: float = 1.0, keys: int = 10_000) -> None:
        self._clock = clock
        self._interval = interval
        self._entries: BoundedDict[Hashable, _Entry] = BoundedDict(keys)

    def allow(self, key: Hashable) -> bool:
        """Whether the key may act now; if not, it is counted."""
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and now - entry.since < self._interval:
            entry.held_back += 1
            return False
        self._entries[key] = _Entry(now, held_back_before=entry.held_back if entry else 0)
        return True

    def held_back(self, key: Hashable) -> int:
        """How often the key was refused between its last two turns."""
        entry = self._entries.get(key)
        return entry.held_back_before if entry else 0
