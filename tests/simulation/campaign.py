"""Many schedules, one seed after another, in several processes (:func:`run_for`)."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from tests.simulation.named import OPEN
from tests.simulation.schedule import Plan, from_seed, run, simulated

PIECE = 10
"""Schedules that a process is given at once."""


@dataclass
class Result:
    """What some schedules gave.

    :ivar first: the lowest seed.
    :ivar failures: seeds, and what they broke.
    """

    first: int = 0
    schedules: int = 0
    found: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def last(self) -> int:
        """The highest seed."""
        return self.first + self.schedules - 1

    def add(self, other: Result) -> None:
        self.schedules += other.schedules
        self.found += other.found
        self.failures += other.failures
        self.counts += other.counts


def run_seeds(first: int, plan: Plan) -> Result:
    """In a process of its own."""
    result = Result(first)
    with simulated():
        for seed in range(first, first + PIECE):
            outcome = run(from_seed(seed, plan))
            result.schedules += 1
            result.counts.update(outcome.counts)
            broken = {violation.name for violation in outcome.violations}
            result.found.update(broken)
            result.failures += [(seed, name) for name in sorted(broken - OPEN)]
    return result


def run_for(seconds: float, first: int, jobs: int, plan: Plan) -> Result:
    """As many seeds as fit, and at least one piece, however long the processes take to start."""
    result = Result(first)
    deadline = time.monotonic() + seconds
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("forkserver")) as pool:
        running: set[Future[Result]] = {pool.submit(run_seeds, first, plan)}
        while running:
            while len(running) < 2 * jobs and time.monotonic() < deadline:
                first += PIECE
                running.add(pool.submit(run_seeds, first, plan))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                result.add(each.result())
    result.failures.sort()
    return result
