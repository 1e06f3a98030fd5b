"""Unix time for the reactor, whose timers follow the time it tells, and for people, who want it to be right.

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
STEP = 60.0
"""Seconds the clock may be off to be caught up with. By more it was wrong, such as 1970 after a start without NTP: then
people are told the right time at once, and timers go on as if nothing were."""

FINE = 0.001
"""Seconds within which the machine's clock is not asked again: a busy turn asks for the time again and again."""


class SteadyTime:
    """Seconds since 1970, rising as evenly as ``time.monotonic``; off by what the machine's clock was wrong by, if that
    was more than :data:`STEP`. May be called by any thread.

    :param wall: the machine's clock, which may jump.
    :param monotonic: seconds from any start, which do not.
    """

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._state = monotonic(), wall(), 0.0  # when the machine's clock was asked, what was told then, the steps
        self._lock = threading.Lock()  # for those who change it; who reads it finds all of it old or new

    def __call__(self) -> float:
        """The time, for timers."""
        read, told, stepped = self._state
        passed = self._monotonic() - read
        if passed < FINE:
            return told + passed - stepped
        told, stepped = self._follow()
        return told - stepped

    def told(self) -> float:
        """The time, for people and other machines: at most :data:`STEP` seconds from the machine's clock."""
        read, told, _ = self._state
        passed = self._monotonic() - read
        return told + passed if passed < FINE else self._follow()[0]

    def _follow(self) -> tuple[float, float]:
        """Ask the machine's clock: what is told now, and the steps until now."""
        with self._lock:
            read, told, stepped = self._state
            now = self._monotonic()
            passed = now - read
            off = self._wall() - (told + passed)
            if abs(off) > STEP:
                stepped += off
            else:
                off = min(max(off, -passed * SLEW), passed * SLEW)
            told += passed + off
            self._state = now, told, stepped
            return told, stepped


def keep_steady(reactor: Any) -> None:
    """Have a reactor use it. Its timers compare what ``seconds`` says; those begun before would be off by a moment."""
    reactor.seconds = SteadyTime(time.time, time.monotonic)


def unix_time(clock: Any) -> Callable[[], float]:
    """What tells Unix time in seconds to people and other machines, where ``clock.seconds`` is for timers.

    :param clock: Twisted's reactor, kept steady or not; a test's clock tells its own time.
    """
    seconds: Callable[[], float] = clock.seconds
    return seconds.told if isinstance(seconds, SteadyTime) else seconds
