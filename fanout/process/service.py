"""A daemon's life: how its process is set up, signals from outside, and notifications to systemd.

======= ==========================================================================================
SIGTERM end in order; so does SIGINT. Another one ends the process at once
SIGHUP  read the settings again
======= ==========================================================================================
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from fanout.process.logs import Throttle

_MADE = 50_000
"""Objects more than were freed, until the young ones are searched: 5 ms, and so much (5 MiB) may be garbage until then:
a traceback, or what Twisted's thread pool leaves behind of each call."""

_OLDER = 5
"""Searches of one generation to one of the next older."""

log = structlog.get_logger(__name__)


def search_seldom() -> None:
    """Let Python search for objects that refer to each other less often. To be called when all parts are made.

    The parts stay as long as the process, and are not looked at again. They are most of what there is: some hundred
    thousand objects, a fortieth of a second for each whole search. Next to nothing else becomes such garbage: parts
    that refer to each other let go when a client has gone or a publish is answered, and Python then frees them at once.
    By default it searches whenever 700 more objects were made than freed; a thousand publishes that wait for the broker
    are many more, and a flood of publishes paid a tenth of its time for searches that found nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE, _OLDER, _OLDER)


def use_monotonic_timers(reactor: Any) -> None:
    """Have the reactor's timers follow a clock that cannot be set. To be called before any timer is started.

    Twisted asks ``time.time``. If the machine's clock is then set back by an hour, no time-out ends and no
    heart-beat is sent for an hour; if it is set forward, all of them end at once and every client is cut off.
    ``reactor.seconds()`` is no date any more: dates, for people and for other machines, are ``time.time``.
    """
    reactor.seconds = time.monotonic


class Notify:
    """Notifies systemd, as sd_notify(3) has it; without systemd it does nothing.

    :ivar watchdog: seconds within which systemd wants to hear ``WATCHDOG=1``; 0 when it does not ask for it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """:param environ: the process's environment, where systemd says how to reach it."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._throttle = Throttle(time.monotonic)
        self.watchdog = _watchdog(environ)

    def tell(self, **states: object) -> None:
        """Send states such as ``READY=1``. What does not get there is logged: nothing depends on it here."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in states.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
                way.setblocking(False)  # a systemd that does not read must not stop us
                way.sendto(text.encode(), address)
        except OSError as error:
            if self._throttle.allow("failed"):
                held_back = self._throttle.held_back("failed")
                log.warning("notify.failed", socket=self._address, reason=str(error), held_back=held_back)


def _watchdog(environ: Mapping[str, str]) -> float:
    """As sd_watchdog_enabled(3): the environment of our parent may have been meant for the parent."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6


_STATUS_SECONDS = 10.0
_USEC = 1_000_000


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

        Python's own answer to a SIGINT, an exception, would be swallowed by the callback that runs at that moment.

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
        """Only a reactor that turns comes here, so a hung process sends nothing and systemd starts another one."""
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
