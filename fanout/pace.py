"""How fast each of many may go on: a burst at once, then so many a second. Sans-IO."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

_KEYS = 20_000  # remembered; beyond it the one that came longest ago is forgotten, and starts anew


class Pace:
    """A bucket of tokens for each key, kept as one number: the time at which the bucket will be full again (GCRA).

    :param clock: seconds, never going back.
    :param burst: what a key that was quiet may do at once.
    :param per_second: what it may do from then on; 0 for no limit.
    """

    def __init__(self, clock: Callable[[], float], burst: int, per_second: float) -> None:
        self._clock = clock
        self._step = 1 / per_second if per_second > 0 else 0.0
        self._depth = burst * self._step
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def allow(self, key: Hashable) -> bool:
        """Whether the key may do one more now; then it has done it."""
        if not self._step:
            return True
        now = self._clock()
        full_at = max(now, self._full_at.get(key, now)) + self._step
        if full_at - now > self._depth:
            return False
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > _KEYS:
            self._full_at.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._full_at)
