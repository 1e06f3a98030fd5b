"""Test files side by side: long-lived processes that run one file at a time, and take the next when it has ended.

What a file prints is kept until it has ended, so that two never mix. A process that dies is a failure of its file.
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

from tests.tally import Tally, nosetests

STOP_SECONDS = 10  # For a process to end in order; what it started is killed then.

_PROCESSES = multiprocessing.get_context("spawn")


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
