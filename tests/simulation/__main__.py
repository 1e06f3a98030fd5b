"""``python -m tests.simulation``: see ``make simulate``. The exit code is 0 only if every invariant held.

A seed alone is run once, with its trace. Otherwise seeds are run one after another, a process for each core.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time

from tests.simulation.account import FAULT
from tests.simulation.campaign import Result, run_for
from tests.simulation.named import NAMED, OPEN
from tests.simulation.schedule import Outcome, Plan, Schedule, from_seed, minimise, run, simulated

MOST = 20
"""Failures that are named in the last line."""
SHOWN = 5
"""Failures whose trace is printed; further ones are counted."""


def explain(schedule: Schedule, name: str) -> None:
    """The smallest schedule that breaks the same invariant, and what happens in it."""

    def fails(smaller: Schedule) -> bool:
        return any(violation.name == name for violation in run(smaller).violations)

    with simulated():
        schedule = minimise(schedule, fails)
    print(f"{schedule.brokers} broker nodes, {schedule.fronts} nodes, {schedule.watchdogs} watchdogs")
    for action in schedule.actions:
        print(f"    {action}")
    show(schedule)


def show(schedule: Schedule) -> Outcome:
    """Run it, and print its trace."""
    with simulated(logging.INFO):
        outcome = run(schedule, trace=True)
    print("\n".join(outcome.trace))
    return outcome


def check_named() -> list[str]:
    """The names of schedules that do not give what they should."""
    wrong = []
    with simulated():
        for name, named in NAMED.items():
            broken = {violation.name for violation in run(named.schedule).violations}
            if (named.breaks in broken) != named.open:
                wrong.append(name)
    return wrong


def print_figures(result: Result, minutes: float) -> None:
    """What was run, what was injected, what was found."""
    faults = {name.removeprefix(FAULT): count for name, count in result.counts.items() if name.startswith(FAULT)}
    others = {name: count for name, count in result.counts.items() if not name.startswith(FAULT)}
    print(f"schedules: {result.schedules}")
    print(f"schedules per minute: {result.schedules / minutes:.0f}")
    print(f"seeds: {result.first} to {result.last}")
    print("faults injected:", ", ".join(f"{name}: {count}" for name, count in sorted(faults.items())))
    print("messages:", ", ".join(f"{name}: {count}" for name, count in sorted(others.items())))
    for name in sorted(OPEN & result.found.keys()):
        print(f"open fault {name!r} found in: {result.found[name]}")
    print("found:", ", ".join(f"seed {seed} breaks {name!r}" for seed, name in result.failures[:MOST]) or "nothing")
    print(f"failures: {len(result.failures)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seconds", type=float, help="(default: 600, or one schedule if a seed is given)")
    parser.add_argument("--seed", type=int, help="the first one; each schedule has the next (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--khepri",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether an exclusive queue outlives its broker node, as with RabbitMQ 4.2 and later (default: yes)",
    )
    return parser.parse_args()


def main() -> int:
    """Run schedules, and print the figures."""
    arguments = _arguments()
    plan = Plan(khepri=arguments.khepri)
    if arguments.seed is not None and arguments.seconds is None:
        outcome = show(from_seed(arguments.seed, plan))
        return 1 if {violation.name for violation in outcome.violations} - OPEN else 0
    wrong = check_named()
    for name in wrong:
        print(f"named schedule {name!r}: it is marked as {'open' if NAMED[name].open else 'repaired'}, and is not")
    began = time.monotonic()
    result = run_for(arguments.seconds or 600.0, arguments.seed or 0, arguments.jobs, plan)
    minutes = (time.monotonic() - began) / 60
    for seed, name in result.failures[:SHOWN]:
        print(f"\nseed {seed} breaks {name!r}; the smallest schedule that does:")
        explain(from_seed(seed, plan), name)
    print_figures(result, minutes)
    return 1 if result.failures or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
