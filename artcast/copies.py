"""One datum may reach a server by several ways: its own port, and the bus, from each server that heard it too.

The way by which a value of a source came first is its way. The same value of the same source by another way, within
some seconds, is a copy of it. By its own way it is a new datum, however often: a source may well send a value twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

_VALUES = 10_000
"""Values remembered at a time; sources send a few in a second, and each is remembered for seconds."""


class Copies:
    """Tells copies from data. Sans-IO."""

    def __init__(self, clock: Callable[[], float], seconds: float, values: int = _VALUES) -> None:
        """
        :param clock: seconds, monotonic.
        :param seconds: how much later than a datum its copy may come.
        :param values: how many are remembered; beyond it those heard longest ago are forgotten.
        """
        self._clock = clock
        self._seconds = seconds
        self._values = values
        self._heard: OrderedDict[tuple[str, str, bytes], tuple[str, float]] = OrderedDict()

    def is_copy(self, way: str, source: str, key: str, value: bytes) -> bool:
        """Whether this was heard already, by another way; if not, it is remembered.

        :param way: by which it came.
        :param source: who sent it, known on every way by the same name.
        """
        now, what = self._clock(), (source, key, value)
        first = self._heard.get(what)
        if first is not None and first[0] != way and now - first[1] < self._seconds:
            return True
        self._heard[what] = way, now
        self._heard.move_to_end(what)
        self._forget(now)
        return False

    def _forget(self, now: float) -> None:
        while self._heard:
            _, at = next(iter(self._heard.values()))
            if now - at < self._seconds and len(self._heard) <= self._values:
                return
            self._heard.popitem(last=False)
