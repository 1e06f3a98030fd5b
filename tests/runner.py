"""Runs test files in several processes, one file at a time in each, and counts what passed and failed.

Each process lives long, has servers of its own and takes the next file when one has ended. The output of a file is kept
until it has ended, so that the output of two files never mixes. A process that dies is a failure of its file.

Why not pynose's multiprocess plugin: it forks after the reactor was imported, so its processes share one epoll (167 of
483 tests with sockets failed). Why not ``trial -j``: it distributes single tests, so the brokers and nodes that a class
starts once would be started for every test.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nose.core import TestProgram
from nose.plugins import Plugin

STOP_SECONDS = 10  # For a process to end in order; what it started is killed then.

_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Tally:
    """How many tests passed, failed and were skipped; as text, the last line of a run."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"

    @property
    def good(self) -> bool:
        """Whether tests ran and none failed."""
        return self.passed > 0 and not self.failed


class _Counter(Plugin):  # type: ignore[misc]  # nose has no types.
    """Keeps what nose counted."""

    name = "counter"
    enabled = True
    tally = Tally()

    def options(self, parser: object, env: object) -> None:
        """No options: always on."""

    def configure(self, options: object, conf: object) -> None:
        """Nothing to configure."""

    def finalize(self, result: Any) -> None:
        """Called by nose when all tests have run."""
        failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
        skipped = len(result.skipped)
        self.tally = Tally(max(0, result.testsRun - failed - skipped), failed, skipped)


def nosetests(arguments: list[str]) -> Tally:
    """Run nosetests in this process."""
    counter = _Counter()
    TestProgram(argv=["nosetests", *arguments], addplugins=[counter], exit=False)
    return counter.tally


@dataclass(frozen=True)
class Report:
    """What became of one file.

    :ivar output: all that was printed meanwhile, tracebacks of failures among it.
    :ivar seconds: how long it took.
    """

    file: str
    tally: Tally
    output: str
    seconds: float


def run(files: list[str], environments: list[dict[str, str]]) -> Iterator[Report]:
    """Run every file, in this order; a report each when it has ended.

    :param environments: variables for each process; there are as many processes.
    """
    waiting = deque(files)
    jobs = [_Job(environment) for environment in environments[: len(files)]]
    try:
        for job in jobs:
            job.give(waiting.popleft())
        busy = {job.pipe: job for job in jobs}
        while busy:
            for pipe in wait(list(busy)):
                job = busy.pop(pipe)  # type: ignore[arg-type]  # wait() gives what it was given.
                yield job.take()
                if waiting:
                    job.give(waiting.popleft())
                    busy[job.pipe] = job
    finally:
        for job in jobs:
            job.close()


class _Job:
    """A process, and another if it dies."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._log = tempfile.NamedTemporaryFile(prefix="radiovis-tests-")  # noqa: SIM115  # Closed in close().
        self._file: str | None = None
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_work, args=(theirs, self._environment, self._log.name))
        self._process.start()
        theirs.close()  # Now its end is the end of the pipe.

    def give(self, file: str) -> None:
        """Let it run this file; it must have none."""
        self._log.truncate(0)
        self._file, self._began = file, time.monotonic()
        with suppress(OSError):  # It is dead already, which take() finds.
            self.pipe.send(file)

    def take(self) -> Report:
        """Wait for the end of its file, or for its own."""
        assert self._file is not None
        died = ""
        try:
            tally: Tally = self.pipe.recv()
        except (EOFError, OSError):
            tally, died = Tally(failed=1), f"{self._file}: the process that ran it {self._bury()}\n"
            self._start()
        output = Path(self._log.name).read_text(errors="replace")
        report = Report(self._file, tally, output + died, time.monotonic() - self._began)
        self._file = None
        return report

    def close(self) -> None:
        """End it, and whatever it has started."""
        if self._file is not None:
            self._signal(signal.SIGINT)
        self.pipe.close()
        self._process.join(STOP_SECONDS)
        self._bury()
        self._log.close()

    def _bury(self) -> str:
        """Kill what is left, and say how the process ended."""
        self.pipe.close()
        self._process.join(STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, number)


def _work(pipe: Connection, environment: dict[str, str], log: str) -> None:
    """Run the files that are asked for until nobody asks any more.

    The session of its own keeps Ctrl-C away: who started us tells us and everything we started.
    """
    os.setsid()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    with suppress(EOFError):
        while True:
            tally = nosetests([pipe.recv()])
            sys.stdout.flush()
            sys.stderr.flush()
            pipe.send(tally)
