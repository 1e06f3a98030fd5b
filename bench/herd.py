"""P3, P4 and P8: 10,000 radios reconnect at once. Measures the memory of each, and the CPU time of idle radios.

python -m bench.herd [--radios 10000] [--runs 3]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from bench import programs, report, servers
from bench.radios import Radios

IDLE_SECONDS = 30.0
HEART_BEAT = 10.0


def main() -> None:
    """Run all measurements, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--radios", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    runs = [_measure(given.radios, run) for run in range(given.runs)]
    headings = {
        "per_s": ("ready/s", ",.0f"),
        "per_core": ("ready per CPU second", ",.0f"),
        "refused": ("refused", "g"),
        "kib": ("KiB/connection", ".2f"),
        "idle_cpu": ("idle CPU %", ".2f"),
    }
    row = [report.spread([run[key] for run in runs], form) for key, (_, form) in headings.items()]
    report.table(["radios", *(heading for heading, _ in headings.values())], [[f"{given.radios:,}", *row]])


def _measure(number: int, run: int) -> dict[str, Any]:
    with servers.node() as node:
        programs.fanload(node, "-n", 1, "-m", 1, "-w", 1)  # warms up, and publishes a last slide
        before, spent = servers.memory(node), servers.cpu(node)
        beats = f"{HEART_BEAT * 1000:.0f}"
        radios = Radios(node.port, lambda _: servers.TOPIC, slide=True, heart_beat=f"{beats},{beats}")
        seconds = radios.connect(number)
        used = servers.cpu(node) - spent
        radios.beat(HEART_BEAT, HEART_BEAT)  # until all radios are idle
        memory = (servers.memory(node) - before) / number
        spent, began = servers.cpu(node), time.monotonic()
        radios.beat(IDLE_SECONDS, HEART_BEAT)
        idle = 100 * (servers.cpu(node) - spent) / (time.monotonic() - began)
        radios.close()
    figures = {
        "radios": number,
        "seconds": round(seconds, 3),
        "per_s": number / seconds,
        "per_core": number / used,
        "refused": radios.refused,
        "kib": memory,
        "idle_cpu": idle,
    }
    report.line(run=run, **figures)
    return figures


if __name__ == "__main__":
    main()
