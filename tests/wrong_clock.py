"""A clock for tests of what is told to people, on a machine whose clock is set while the test runs."""

from __future__ import annotations

from twisted.internet.task import Clock

from fanout.process.steady_time import SteadyTime


class WrongClock(Clock):
    """A reactor that is kept steady.

    :ivar set_by: seconds somebody has set the machine's clock by.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.set_by = 0.0
        self.seconds = SteadyTime(lambda: self.rightNow + self.set_by, lambda: self.rightNow)
