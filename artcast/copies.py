"""Removes duplicates: a datum may reach a server by its own port, and by the bus from each other server.

The way by which a value of a source came first is its way. The same value of the same source by another way, within
some seconds, is a copy. By its own way it is a new datum each time, because a source may send a value twice.
"""

from __future__ import annotations

from collections.abc import Callable

from fanout.cache.bounded_dict import BoundedDict

_VALUES = 10_000
"""Values remembered at a time. Sources send a few in a second, and each is remembered for some seconds."""


class Copies:
    """Tells copies from data. Sans-IO."""

    def __init__(self, clock: Callable[[], float], seconds: float, values: int = _VALUES) -> None:
        """
        :param clock: seconds, monotonic.
        :param seconds: how much later than a datum its copy may come.
        :param values: how many are remembered; beyond it the oldest are forgotten.
        """
        self._clock = clock
        self._seconds = seconds
        self._heard: BoundedDict[tuple[str, str, bytes], tuple[str, float]] = BoundedDict(values)

    def is_copy(self, way: str, source: str, key: str, value: bytes) -> bool:
        """Whether this is a copy; if not, it is remembered.

        :param way: by which it came.
        :param source: the sender, by a name that is the same on every way.
        """
        now, what = self._clock(), (source, key, value)
        first = self._heard.get(what)
        if first is not None and first[0] != way and now - first[1] < self._seconds:
            return True
        self._heard[what] = way, now
        self._forget(now)
        return False

    def _forget(self, now: float) -> None:
        while self._heard:
            _, at = next(iter(self._heard.values()))
            if now - at < self._seconds:
                return
            self._heard.popitem()
