"""What a node logs of faults: its clients', and our own that do not end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from fanout.doors.tally import Tally
from fanout.throttle import Throttle

Report = Callable[[Failure, str], None]
"""See :meth:`Complaints.report`."""


class Complaints:
    """Counts everything, and logs one line per second of each kind and address: a flood of faults is no flood of lines,
    and one client's hides no other fault of those who share its address.
    """

    def __init__(self, tally: Tally, throttle: Throttle, log: Any) -> None:
        """:param throttle: how many lines an address gets of each kind."""
        self._tally = tally
        self._throttle = throttle
        self._log = log

    def complain(self, event: str, address: str, **fields: Any) -> None:
        """A client's fault.

        :param event: the name of the event to be logged.
        :param address: the client's IP address.
        """
        self._tally.complained(event, fields)
        key = (address, event)
        if self._throttle.allow(key):
            self._log.warning(event, address=address, held_back=self._throttle.held_back(key), **fields)

    def failed(self, part: object, error: Exception) -> None:
        """A fault of ours, of which the other clients notice nothing."""
        self._log.error("client.failed", part=type(part).__name__, exc_info=error)

    def report(self, failure: Failure, event: str) -> None:
        """A fault of ours in something no client waits for.

        :param event: the name of the event to be logged.
        """
        self._log.error(event, exc_info=(failure.type, failure.value, failure.getTracebackObject()))
