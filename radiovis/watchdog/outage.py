"""Something that fails for a while: said when it begins and when it is over, not each time."""

from __future__ import annotations

from collections.abc import Callable

import structlog

_LOG_INTERVAL = 60.0  # Seconds; a reason may have a number in it that changes each time.

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Outage:
    """Whether a part fails, since when and why.

    :ivar error: the last failure in words; empty while all is well.
    :ivar since: Unix time in seconds of the first failure; None while all is well.
    """

    def __init__(self, part: str, clock: Callable[[], float]) -> None:
        """
        :param part: what fails, for the log.
        :param clock: Unix time in seconds.
        """
        self._part = part
        self._clock = clock
        self._logged = -_LOG_INTERVAL
        self.error = ""
        self.since: int | None = None

    def failed(self, error: str) -> None:
        """It failed; logged the first time, and once a minute if the reason changes."""
        now = self._clock()
        if self.since is None or (error != self.error and now - self._logged >= _LOG_INTERVAL):
            log.error("log.failing", part=self._part, error=error)
            self._logged = now
        self.error = error
        if self.since is None:
            self.since = int(now)

    def over(self) -> None:
        """It works."""
        if self.since is not None:
            log.info("log.well", part=self._part, after_seconds=int(self._clock()) - self.since)
        self.error, self.since = "", None
