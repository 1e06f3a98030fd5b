"""P1 and P2: compares fan-out with the floor and with other STOMP servers, alternately in one run.

    python -m bench.table [--runs 5] [--subscribers 100 1000 5000] [--without-peers]

The speed of a machine varies, so compare the ratios and the CPU time of each delivery.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from contextlib import ExitStack
from itertools import product
from typing import Any

from bench import activemq, programs, report, servers

WINDOWS = (8, 1)
OTHERS = "STOMP"  # the end of the name of another server; these are slow, and their speed depends little on ids
DELIVERIES, DELIVERIES_OF_OTHERS = 300_000, 100_000
"""Deliveries of each server in one run: about a second of work."""
LEAST = 20  # messages; fewer would measure little

Work = tuple[int, int, bool]  # subscribers, window, whether each subscriber has its own subscription id
Runs = dict[tuple[Work, str], list[dict[str, Any]]]


def main() -> None:
    """Run all measurements, and print the results."""
    given = _arguments()
    runs: Runs = defaultdict(list)
    with ExitStack() as stack:
        ours = (servers.floor(), servers.node(), servers.stand_alone())
        targets = [stack.enter_context(each) for each in ours]
        if not given.without_peers:
            targets.append(stack.enter_context(servers.stomp_broker()))
            if activemq.JAR.exists():
                targets.append(stack.enter_context(activemq.activemq()))
        for work in product(given.subscribers, WINDOWS, (False, True)):
            for run, target in product(range(given.runs), targets):
                if not (work[2] and target.name.endswith(OTHERS)):
                    runs[work, target.name].append(_measure(target, work, run))
    works = dict.fromkeys(work for work, _ in runs)
    rows = [_row(work, target.name, runs) for work in works for target in targets if (work, target.name) in runs]
    report.table(
        ["N", "w", "ids", "server", "deliveries/s", "× floor", "CPU µs/delivery", "p50 ms", "p99 ms", "lost"], rows
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--subscribers", type=int, nargs="+", default=[100, 1_000, 5_000])
    parser.add_argument("--without-peers", action="store_true")
    return parser.parse_args()


def _measure(target: servers.Target, work: Work, run: int) -> dict[str, Any]:
    subscribers, window, own_ids = work
    deliveries = DELIVERIES_OF_OTHERS if target.name.endswith(OTHERS) else DELIVERIES
    messages = max(LEAST, deliveries // subscribers)
    flags = ["-n", subscribers, "-m", messages, "-w", window, *(["-u"] if own_ids else [])]
    figures = programs.fanload(target, *flags)
    report.line(server=target.name, window=window, own_ids=own_ids, run=run, **figures)
    return figures


def _row(work: Work, name: str, runs: Runs) -> list[object]:
    subscribers, window, own_ids = work
    ids = "own" if own_ids else "one"
    return [f"{subscribers:,}", window, ids, name, *report.fan_out(runs[work, name], runs[work, "floor"])]


if __name__ == "__main__":
    main()
