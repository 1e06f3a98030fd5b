"""A clock for tests of dates that people read, on a machine whose clock is set while the test runs."""

from __future__ import annotations

from twisted.internet.task import Clock


class WrongClock(Clock):
    """Its timers are monotonic, and :meth:`unix_time` is the machine's clock.

    :ivar set_by: seconds somebody has set the machine's clock by.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.set_by = 0.0

    def unix_time(self) -> float:
        return self.rightNow + self.set_by
