"""How much happened in each of the last intervals: what a page draws over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any


class Rates:
    """Reads counters again and again, and keeps what they grew by, per second. Bounded."""

    def __init__(
        self,
        clock: Callable[[], float],
        counters: Mapping[str, Callable[[], float]],
        levels: Mapping[str, Callable[[], float]],
        *,
        interval: float = 5.0,
        kept: int = 360,
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param counters: name → what only grows.
        :param levels: name → what goes up and down, and is kept as it is.
        :param interval: seconds between two calls of :meth:`look`.
        :param kept: how many intervals are remembered.
        """
        self.interval = interval
        self._clock = clock
        self._counters = dict(counters)
        self._levels = dict(levels)
        self._before: list[float] | None = None
        self._at = 0.0
        self._points: deque[tuple[float, list[float]]] = deque(maxlen=kept)

    def sample(self) -> None:
        """To be called once per interval."""
        now, values = self._clock(), [read() for read in self._counters.values()]
        if self._before is not None and now > self._at:
            grown = [(value - before) / (now - self._at) for value, before in zip(values, self._before, strict=True)]
            self._points.append((now, grown + [read() for read in self._levels.values()]))
        self._before, self._at = values, now

    def report(self, since: float = 0.0) -> dict[str, Any]:
        """Columns of equal length, as charts take them: ``times`` (Unix, s) and one for each counter and level.

        :param since: only what came later than this Unix time.
        """
        points = [point for point in self._points if point[0] > since]
        names = [*self._counters, *self._levels]
        columns = {name: [round(values[at], 3) for _, values in points] for at, name in enumerate(names)}
        return {"interval": self.interval, "times": [round(time, 3) for time, _ in points], **columns}


# How late the reactor comes round: what every client feels when something keeps it busy.

INTERVAL = 0.5
"""Seconds between two looks. A publish to 5,000 clients takes a tenth of that."""
KEPT = 120
"""Looks whose worst is told: a minute, so that no scrape every 15 or 30 s misses a stall."""


class ReactorLag:
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

    def sample(self) -> None:
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
