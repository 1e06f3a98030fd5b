"""How late the reactor comes round: what every client feels when something keeps it busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

INTERVAL = 0.5
"""Seconds between two looks. A publish to 5,000 radios takes a tenth of that."""
KEPT = 120
"""Looks whose worst is told: a minute, so that no scrape every 15 or 30 s misses a stall."""


class Lag:
    """Measures how much later than planned its calls come.

    :ivar total: seconds of lateness since the start.
    """

    def __init__(self, clock: Callable[[], float], interval: float = INTERVAL, kept: int = KEPT) -> None:
        """
        :param clock: seconds, monotonic.
        :param interval: seconds between two calls of :meth:`look`.
        :param kept: how many of them :attr:`worst` looks back.
        """
        self.total = 0.0
        self.interval = interval
        self._clock = clock
        self._due: float | None = None
        self._recent: deque[float] = deque(maxlen=kept)

    def look(self) -> None:
        """To be called by the reactor, once per interval."""
        now = self._clock()
        if self._due is not None:
            late = max(0.0, now - self._due)
            self.total += late
            self._recent.append(late)
        self._due = now + self.interval

    @property
    def worst(self) -> float:
        """Seconds, of the calls of the last minute."""
        return max(self._recent, default=0.0)
