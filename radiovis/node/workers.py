"""Several nodes on one machine: ``server.py --workers N``.

The process that an operator starts is a supervisor. It does not serve clients. It starts N workers; each is a complete
node, which listens on the public ports itself with ``SO_REUSEPORT``. The kernel spreads new connections over the
listening sockets by a hash of their addresses, so no process passes connections to another one.

* A worker that dies loses its clients; they reconnect to the others. The supervisor starts it again, after growing
  pauses. If the first start of a worker fails with exit code 2 the supervisor ends everything, because an operator has
  to correct something first.
* SIGTERM and SIGHUP are passed on to every worker. On SIGTERM each worker drains by itself, and the supervisor waits
  for all.
* A worker whose supervisor dies ends itself (:class:`ParentWatch`).
* Worker n, from 0, has its operators' listener at ``ADMIN_PORT + n`` and ``ADMIN_TLS_PORT + n``. Prometheus reads each
  of them and adds up the values.

The supervisor keeps a bound socket for every public port; these sockets do not listen. So one process finds out at the
start whether a port is taken, and a ``STOMP_PORT`` of 0 is the same free port for all workers.

The other design is one listening socket that all workers inherit. It needs to pass on descriptors, and the worker that
wakes up first takes most of many simultaneous connections. It has one advantage: if a worker dies, another one accepts
the connections that the kernel has queued. With ``SO_REUSEPORT`` they are reset. A worker that ends in order accepts
its queue first.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated, ReactorNotRunning
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from fanout.listeners import port
from fanout.process.supervised_tasks import DEFAULT_SUPERVISOR_POLICY, LAST_PAUSE
from fanout.settings import SettingsError
from fanout.settings.field import MAX_PORT
from radiovis.admin.listener import AdminPorts
from radiovis.node.listeners import listen_addresses
from radiovis.settings import Settings

COMMAND = "worker"
"""The command of a worker: ``server.py worker NUMBER FLAGS…``. See also ``radiovis/commands/main.py``."""
END_SECONDS = 30.0
"""Seconds that a worker may take to end after its drain, because the bus has to send the waiting messages."""
_WRONG = 2  # a worker's exit code when an operator has to correct something
_STDIN = 0

log = structlog.get_logger(__name__)


class WorkerProcess(ProcessProtocol):
    """One worker: its process, and the processes that replace it.

    :ivar number: number of the worker, from 0.
    :ivar pid: process id; None while there is no process.
    """

    def __init__(self, supervisor: WorkerSupervisor, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self._supervisor = supervisor
        self._process: Any = None
        self._ended: Deferred[None] | None = None
        self._call: Any = None
        self._began = 0.0
        self._failures = 0
        self._starts = 0

    def begin(self) -> None:
        """Start a process."""
        self._call = None
        self._starts += 1
        self._began = self._supervisor.reactor.seconds()
        command = [sys.executable, sys.argv[0], COMMAND, str(self.number), *self._supervisor.words]
        # The worker's standard input is a pipe: see ParentWatch.
        self._process = self._supervisor.reactor.spawnProcess(
            self, sys.executable, command, env=None, childFDs={_STDIN: "w", 1: 1, 2: 2}
        )
        self.pid = self._process.pid
        log.info("worker.started", worker=self.number, pid=self.pid)

    def processEnded(self, reason: Failure) -> None:
        """Start the worker again, unless all workers are to end."""
        pid, self.pid, self._process = self.pid, None, None
        ended = reason.value
        assert isinstance(ended, ProcessDone | ProcessTerminated)
        code: int | None = ended.exitCode
        if self._ended is not None:
            if code != 0:
                self._supervisor.exit_code = self._supervisor.exit_code or 1
                log.warning("worker.ended", worker=self.number, pid=pid, reason=_in_words(reason))
            self._ended.callback(None)
        elif code == _WRONG and self._starts == 1:
            self._supervisor.give_up(_WRONG)  # The worker has logged why, and would fail again.
        else:
            self._begin_again(pid, reason)

    def _begin_again(self, pid: int | None, reason: Failure) -> None:
        lived = self._supervisor.reactor.seconds() - self._began
        self._failures = 1 if lived > LAST_PAUSE else self._failures + 1
        pause = DEFAULT_SUPERVISOR_POLICY.pause(self._failures)
        log.error("worker.died", worker=self.number, pid=pid, reason=_in_words(reason), again_in=pause)
        self._call = self._supervisor.reactor.callLater(pause, self.begin)

    def end(self) -> Deferred[None]:
        """Send SIGTERM.

        :return: fires when the process has ended; it is killed if it takes longer than ``DRAIN_SECONDS`` and
            :data:`END_SECONDS` together.
        """
        self._ended = Deferred()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._process is None:
            self._ended.callback(None)
            return self._ended
        self._signal("TERM")
        killing = self._supervisor.reactor.callLater(self._supervisor.end_seconds, self._signal, "KILL")
        return self._ended.addCallback(lambda _: killing.cancel() if killing.active() else None)

    def reload(self) -> None:
        """Send SIGHUP. A worker without a process reads its settings at the next start."""
        if self._process is not None:
            self._signal("HUP")

    def _signal(self, name: str) -> None:
        try:
            self._process.signalProcess(name)
        except ProcessExitedAlready:
            return  # processEnded follows.


class WorkerSupervisor:
    """The supervisor, which ``server.py --workers N`` runs.

    :ivar exit_code: the exit code of this process: 0 if all workers ended in order.
    :ivar words: the arguments of ``serve``, which each worker gets too.
    """

    def __init__(self, reactor: Any, settings: Settings, words: Sequence[str], *, fake: bool) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: the settings of the process.
        :param words: the arguments of ``serve``.
        :param fake: whether it runs with ``--test``.
        :raises SettingsError: several workers cannot run with these settings.
        :raises CannotListenError: a port is taken.
        """
        ports = AdminPorts.of(settings, fake=fake)
        check_workers(settings, ports)
        if ports.wanted:
            ports.auth(settings)
        self.reactor = reactor
        self.words = tuple(words)
        self.exit_code = 0
        self._settings = settings
        self._reserved: list[socket.socket] = []
        self._reserve(fake=fake)
        self._check_admin_ports(ports)
        self.members = [WorkerProcess(self, number) for number in range(settings.WORKERS)]

    def _reserve(self, *, fake: bool) -> None:
        for place in listen_addresses(self._settings, fake=fake).values():
            reserved = port.reserve(place.ip, place.port)
            self._reserved.append(reserved)
            if not place.port:  # Only STOMP_PORT = 0 is a free port; the others are off with 0.
                self.words += ("--stomp-port", str(reserved.getsockname()[1]))

    def _check_admin_ports(self, ports: AdminPorts) -> None:
        """:raises CannotListenError: a port that the operator has set is taken."""
        chosen = [ports.plain if ports.chosen else 0, ports.secure]
        for first in filter(None, chosen):
            for number in range(self._settings.WORKERS):
                port.check_free(ports.ip, first + number)

    @property
    def end_seconds(self) -> float:
        """Seconds that a worker may take to end."""
        return self._settings.DRAIN_SECONDS + END_SECONDS

    def start(self) -> None:
        """Start all workers when the reactor runs."""
        self.reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        log.info("workers.starting", workers=len(self.members), pid=os.getpid())
        for worker in self.members:
            worker.begin()

    def give_up(self, exit_code: int) -> None:
        """End all workers and this process with an exit code."""
        if not self.exit_code:
            self.exit_code = exit_code
            self.reactor.stop()

    def reload(self, settings: Settings | None = None) -> None:
        """Make all workers read their settings again.

        :param settings: the settings for this process; None if they cannot be used.
        """
        self._settings = settings or self._settings
        for worker in self.members:
            worker.reload()

    def status(self) -> str:
        """The state of the workers, in one line for people."""
        running = sum(worker.pid is not None for worker in self.members)
        return f"{running} of {len(self.members)} workers are running"

    def stop(self) -> Deferred[Any]:
        """End all workers. The Deferred fires when they have ended."""
        for each in self._reserved:
            each.close()
        return DeferredList([worker.end() for worker in self.members])


def check_workers(settings: Settings, ports: AdminPorts) -> None:
    """
    :param settings: the settings of the process.
    :param ports: the operators' ports of the first worker.
    :raises SettingsError: several workers cannot run with these settings.
    """
    count = settings.WORKERS
    for name in ("STANDALONE", "RABBITMQ_LOOPBACK"):
        if getattr(settings, name):
            raise SettingsError(f"WORKERS = {count}: workers exchange messages through RabbitMQ; remove {name}.")
    if settings.WITH:
        raise SettingsError(
            f"WITH = {settings.WITH}: it would run in each of {count} workers; run it as a separate program."
        )
    for name, first in ((ports.setting, ports.plain), (ports.secure_setting, ports.secure)):
        if first and first + count - 1 > MAX_PORT:
            raise SettingsError(f"{name} = {first}: the ports of {count} workers would exceed {MAX_PORT}.")
    if ports.plain and ports.secure and abs(ports.plain - ports.secure) < count:
        raise SettingsError(
            f"{ports.secure_setting} = {ports.secure}: too close to {ports.setting} = {ports.plain}:"
            f" {count} workers need {count} ports from each."
        )


def _in_words(reason: Failure) -> str:
    if reason.check(ProcessDone):
        return "it ended by itself"
    ended = reason.value
    assert isinstance(ended, ProcessTerminated)
    return f"signal {ended.signal}" if ended.signal else f"exit code {ended.exitCode}"


class ParentWatch(FileDescriptor):
    """Stops the reactor of a worker when its supervisor has ended. Otherwise the worker would keep the ports, and an
    operator could not stop it through the process that they started.

    The supervisor holds the other end of our standard input and never writes, so the kernel reports every kind of end.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        # Ctrl-C in a terminal is meant for the supervisor. It sends us SIGTERM once, so a second SIGTERM is not for us.
        os.setpgid(0, 0)
        reactor.addSystemEventTrigger("before", "shutdown", signal.signal, signal.SIGTERM, signal.SIG_IGN)
        self.startReading()  # type: ignore[no-untyped-call]

    def fileno(self) -> int:
        return _STDIN

    def doRead(self) -> Exception | None:
        return None if os.read(_STDIN, 1) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """The supervisor has ended."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # The worker is already stopping.
