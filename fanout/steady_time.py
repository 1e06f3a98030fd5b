"""Unix time that never jumps, for the reactor: its timers follow the time it tells.

Twisted asks ``time.time``. When somebody sets the clock of the machine back by an hour, no time-out ends and no
heart-beat is sent for an hour; set forward, all of them end at once and every radio is cut off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

SLEW = 0.1
"""How much faster or slower than real time it may run to catch up with the machine's clock: a minute in ten. Time-outs
that are a tenth off harm nobody, and what NTP does by itself (0.0005) is followed at once."""


class SteadyTime:
    """Seconds since 1970, rising as evenly as ``time.monotonic``. May be called by any thread.

    :param wall: the machine's clock, which may jump.
    :param monotonic: seconds from any start, which do not.
    """

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._read = monotonic()
        self._told = wall()
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """The time."""
        with self._lock:
            now = self._monotonic()
            passed, self._read = now - self._read, now
            off = self._wall() - (self._told + passed)
            most = passed * SLEW
            self._told += passed + min(max(off, -most), most)
            return self._told


def keep_steady(reactor: Any) -> None:
    """Have a reactor use it. Its timers compare what ``seconds`` says; those begun before would be off by a moment."""
    reactor.seconds = SteadyTime(time.time, time.monotonic)
