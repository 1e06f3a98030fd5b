"""Several front-ends on one machine: ``server.py --workers N``.

The parent binds the listening sockets and serves nobody itself; each worker inherits them, and the kernel gives a new
client to whoever accepts first. A worker is a full node on the one RabbitMQ. When one dies its clients are gone, and
come back to the others; it is started again, after growing pauses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from fanout.process.supervisor import DEFAULT_RETRY_POLICY, LAST_PAUSE
from radiovis.node.worker import WorkerInfo

COMMAND = "worker"
PATIENCE = 30.0
"""Seconds a worker may take to end once its clients were let go: the bus gets what is on its way."""
_WRONG = 2  # a worker's exit code when the operator has to put something right
_FIRST_SOCKET = 3  # behind standard input, output and error

log = structlog.get_logger(__name__)


class Worker(ProcessProtocol):
    """One worker, through all its lives.

    :ivar number: from 1.
    :ivar pid: of its process; None while it has none.
    """

    def __init__(self, workers: Workers, number: int, sockets: Mapping[str, int]) -> None:
        """:param sockets: name → descriptor in this process."""
        self.number = number
        self.pid: int | None = None
        self._workers = workers
        self._sockets = dict(sockets)
        self._process: Any = None
        self._ended: Deferred[None] | None = None
        self._call: Any = None
        self._began = 0.0
        self._failures = 0
        self._lives = 0

    @property
    def tells(self) -> bool:
        """Whether it listens for operators."""
        return "admin" in self._sockets

    def begin(self) -> None:
        """Start a process."""
        self._call = None
        self._lives += 1
        self._began = self._workers.reactor.seconds()
        places = dict(zip(self._sockets, range(_FIRST_SOCKET, _FIRST_SOCKET + len(self._sockets)), strict=True))
        descriptors = {place: self._sockets[name] for name, place in places.items()}
        command = [sys.executable, sys.argv[0], COMMAND, str(WorkerInfo(self.number, places)), *self._workers.words]
        self._process = self._workers.reactor.spawnProcess(
            self, sys.executable, command, env=None, childFDs={0: "w", 1: 1, 2: 2, **descriptors}
        )
        self.pid = self._process.pid
        log.info("worker.started", worker=self.number, pid=self.pid)

    def processEnded(self, reason: Failure) -> None:
        """Start it again, unless all are to end."""
        pid, self.pid, self._process = self.pid, None, None
        ended = reason.value
        assert isinstance(ended, ProcessDone | ProcessTerminated)
        code: int | None = ended.exitCode
        if self._ended is not None:
            if code != 0:
                self._workers.exit_code = self._workers.exit_code or 1
                log.warning("worker.ended", worker=self.number, pid=pid, reason=_in_words(reason))
            self._ended.callback(None)
        elif code == _WRONG and self._lives == 1:
            self._workers.give_up(_WRONG)  # it has said why, and would say so again
        else:
            self._begin_again(pid, reason)

    def _begin_again(self, pid: int | None, reason: Failure) -> None:
        lived = self._workers.reactor.seconds() - self._began
        self._failures = 1 if lived > LAST_PAUSE else self._failures + 1
        pause = DEFAULT_RETRY_POLICY.pause(self._failures)
        log.error("worker.died", worker=self.number, pid=pid, reason=_in_words(reason), again_in=pause)
        self._call = self._workers.reactor.callLater(pause, self.begin)

    def end(self) -> Deferred[None]:
        """Let it end in order; fires when it has, at the latest when it was killed for taking too long."""
        self._ended = Deferred()
        if self._call is not None:
            self._call.cancel()
        if self._process is None:
            self._ended.callback(None)
            return self._ended
        self._signal("TERM")
        killing = self._workers.reactor.callLater(self._workers.retry_policy, self._signal, "KILL")
        return self._ended.addCallback(lambda _: killing.cancel() if killing.active() else None)

    def reload(self) -> None:
        """Have it read its settings again; one that is to be started will do so anyway."""
        if self._process is not None:
            self._signal("HUP")

    def _signal(self, name: str) -> None:
        try:
            self._process.signalProcess(name)
        except ProcessExitedAlready:
            return  # and processEnded comes


class Workers:
    """All workers of a machine.

    :ivar exit_code: for the parent: 0 when all ended in order.
    :ivar words: the arguments of ``serve``; each worker gets them too.
    """

    def __init__(
        self, reactor: Any, words: Sequence[str], sockets: Sequence[Mapping[str, int]], *, drain: float = 0.0
    ) -> None:
        """
        :param sockets: for each worker, name → descriptor of the listening sockets it gets.
        :param drain: seconds over which a worker lets its clients go.
        """
        self.retry_policy = drain + PATIENCE
        self.reactor = reactor
        self.words = tuple(words)
        self.exit_code = 0
        self.members = [Worker(self, number, each) for number, each in enumerate(sockets, 1)]

    def start(self) -> None:
        """Start all; the reactor must run."""
        log.info("workers.starting", workers=len(self.members), pid=os.getpid())
        for worker in self.members:
            worker.begin()

    def give_up(self, exit_code: int) -> None:
        """End, as it would be no use to go on."""
        if not self.exit_code:
            self.exit_code = exit_code
            self.reactor.stop()

    def reload(self) -> None:
        """Have all read their settings again."""
        for worker in self.members:
            worker.reload()

    def status(self) -> str:
        """How they are doing, in one line for people."""
        running = sum(worker.pid is not None for worker in self.members)
        return f"{running} of {len(self.members)} workers run"

    def stop(self) -> Deferred[Any]:
        """End all; fires when they have."""
        return DeferredList([worker.end() for worker in self.members])


def _in_words(reason: Failure) -> str:
    if reason.check(ProcessDone):
        return "it ended by itself"
    ended = reason.value
    assert isinstance(ended, ProcessTerminated)
    return f"signal {ended.signal}" if ended.signal else f"exit code {ended.exitCode}"
