"""The life cycle of a daemon: setting up its process, signals from outside, and notifications to systemd.

======= ==========================================================================================
SIGTERM shut down in order; SIGINT does the same. A second one ends the process at once
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
"""How many more objects may be made than freed until Python searches the young ones: a search takes 5 ms, and about 5
MiB may be garbage until then, such as tracebacks, the remains of calls in Twisted's thread pool, or wsproto's parser of
a WebSocket that is closed (3 KB, because its generator refers to itself)."""

_OLDER = 5
"""How many searches of one generation there are for one of the next older generation."""

log = structlog.get_logger(__name__)


def search_seldom() -> None:
    """Make Python search for reference cycles less often. Call this when all parts are made.

    The parts exist as long as the process, and are not searched again. They are most of all objects: some hundred
    thousand, and a complete search of them takes a fortieth of a second. Almost nothing else becomes such garbage:
    parts that refer to each other drop their references when a client has disconnected or a publish is answered, and
    Python then frees them at once.

    By default Python searches whenever 700 more objects were made than freed. A thousand publishes that wait for the
    broker are many more objects, and under a high rate of publishes the searches took a tenth of the time and found
    nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE, _OLDER, _OLDER)


def use_monotonic_timers(reactor: Any) -> None:
    """Make the reactor's timers use a clock that cannot be set. Call this before any timer is started.

    By default Twisted uses ``time.time``. If the machine's clock is then set back by an hour, no time-out ends and no
    heart-beat is sent for an hour. If it is set forward, all time-outs end at once and every client is disconnected.
    After this call ``reactor.seconds()`` is not a date any more: dates, for people and for other machines, are
    ``time.time``.
    """
    reactor.seconds = time.monotonic


class Notify:
    """Notifies systemd in the way of sd_notify(3); without systemd it does nothing.

    :ivar watchdog: seconds within which systemd expects ``WATCHDOG=1``; 0 if it does not.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """:param environ: the process's environment, in which systemd says how to reach it."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._throttle = Throttle(time.monotonic)
        self.watchdog = _watchdog(environ)

    def tell(self, **states: object) -> None:
        """Send states such as ``READY=1``. A failure is only logged, because nothing here depends on it."""
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
    """The interval of systemd's watchdog, read in the way of sd_watchdog_enabled(3): the environment may have been
    meant for our parent process.
    """
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6


_STATUS_SECONDS = 10.0
_USEC = 1_000_000


class Service:
    """Runs a reactor until the process is asked to end."""

    def __init__(
        self,
        reactor: Any,
        notify: Notify,
        *,
        stop: Callable[[], Deferred[Any]],
        reload: Callable[[], None],
        status: Callable[[], str],
    ) -> None:
        """Install the signal handlers. Signals are handled when the reactor runs.

        Python's default reaction to a SIGINT, an exception, would be lost in the callback that runs at that moment.

        :param reactor: Twisted's reactor.
        :param notify: notifies systemd.
        :param stop: ends the work in order; its Deferred fires when that is done.
        :param reload: reads the settings again, and reports errors in them itself.
        :param status: the state of the process, in one line for people.
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
        """Run the reactor. Call this when all ports are open."""
        search_seldom()
        self._reactor.run()

    def _begin(self) -> None:
        """Called when the reactor runs. It has set its own signal handlers, which would report a second SIGTERM as an
        error.
        """
        self._answer_end_with(self._ending)
        self._notify.tell(READY=1, STATUS=self._status())
        beat = LoopingCall(self._beat)
        beat.clock = self._reactor
        beat.start(self._notify.watchdog / 2 or _STATUS_SECONDS, now=False)

    def _beat(self) -> None:
        """Notify systemd. Only a reactor that runs calls this, so a process that hangs sends nothing, and systemd
        replaces it.
        """
        self._notify.tell(WATCHDOG=1, STATUS=self._status())

    def _answer_end_with(self, handler: Callable[..., None] | signal.Handlers) -> None:
        self._ending = handler
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)

    def _end(self, *_: object) -> None:
        """End the process. From now on the kernel handles the signals, so that even a process that hangs can be
        ended.
        """
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
            log.exception("reload.failed", advice="the process continues with the previous settings")
        self._notify.tell(READY=1, STATUS=self._status())
