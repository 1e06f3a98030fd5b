"""A daemon's life: signals from outside, and word to systemd about how it goes.

======= ==========================================================================================
SIGTERM end in order; so does SIGINT. Another one ends the process at once, whatever it is doing
SIGHUP  read the settings again
======= ==========================================================================================
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from fanout.garbage import search_seldom
from fanout.notify import Notify

_STATUS_SECONDS = 10.0
_USEC = 1_000_000

log = structlog.get_logger(__name__)


class Service:
    """Runs a reactor until the process is told to end."""

    def __init__(
        self,
        reactor: Any,
        notify: Notify,
        *,
        stop: Callable[[], Deferred[Any]],
        reload: Callable[[], None],
        status: Callable[[], str],
    ) -> None:
        """Be ready for signals: from now on they wait for the reactor to run.

        Python's own answer to a SIGINT, an exception, would be swallowed by whatever callback runs at that moment.

        :param stop: ends the work in order; fires when that is done.
        :param reload: reads the settings again, and reports itself what is wrong with them.
        :param status: how it is doing, in one line for people.
        """
        self._reactor = reactor
        self._notify = notify
        self._reload = reload
        self._status = status
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(self._reread))
        self._answer_end_with(self._end)
        reactor.callWhenRunning(self._begin)
        reactor.addSystemEventTrigger("before", "shutdown", notify.tell, STOPPING=1)
        reactor.addSystemEventTrigger("before", "shutdown", stop)

    def run(self) -> None:
        """Run the reactor. To be called when all listens."""
        search_seldom()
        self._reactor.run()

    def _begin(self) -> None:
        """The reactor runs, and has set its own handlers, which would report a second SIGTERM as an error."""
        self._answer_end_with(self._ending)
        self._notify.tell(READY=1, STATUS=self._status())
        beat = LoopingCall(self._beat)
        beat.clock = self._reactor
        beat.start(self._notify.watchdog / 2 or _STATUS_SECONDS, now=False)

    def _beat(self) -> None:
        """Only a reactor that turns comes here, so a hung process falls silent and systemd starts another one."""
        self._notify.tell(WATCHDOG=1, STATUS=self._status())

    def _answer_end_with(self, handler: Callable[..., None] | signal.Handlers) -> None:
        self._ending = handler
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)

    def _end(self, *_: object) -> None:
        """The kernel takes the next signal, so that even a process that hangs can be ended."""
        self._answer_end_with(signal.SIG_DFL)
        self._reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        if self._reactor.running:
            self._reactor.stop()

    def _reread(self) -> None:
        self._notify.tell(RELOADING=1, MONOTONIC_USEC=int(time.clock_gettime(time.CLOCK_MONOTONIC) * _USEC))
        try:
            self._reload()
        except Exception:
            log.exception("reload.failed", advice="all goes on with the settings there were")
        self._notify.tell(READY=1, STATUS=self._status())
