"""The output of a measurement: one line of JSON after each run, and a Markdown table after all runs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any


def line(**figures: Any) -> None:
    """Print the figures of one run as a line of JSON."""
    print(json.dumps(figures), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print the table of all runs, with the facts about this machine."""
    python = platform.python_version()
    print(f"\n{os.cpu_count()} cores, Python {python}, load average {os.getloadavg()[0]:.1f} at the end\n")
    for row in (headings, ["---"] * len(headings), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, the minimum and the maximum: ``1,200 (1,100–1,300)``. :param form: how to format each number."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def fan_out(runs: Sequence[Mapping[str, Any]], compared: Sequence[Mapping[str, Any]]) -> list[object]:
    """The common cells of all tables of fan-out: rate, ratio to another rate, CPU time, latencies, lost messages.

    :param compared: the runs whose rate is the divisor of the ratio.
    """

    def of(key: str) -> list[float]:
        return [each[key] for each in runs]

    full = median(each["deliveries_per_s"] for each in compared)
    return [
        spread(of("deliveries_per_s")),
        f"{median(of('deliveries_per_s')) / full:.2f}",
        spread(of("cpu_us_per_delivery"), ".2f"),
        spread(of("lat_ms_p50"), ".1f"),
        spread(of("lat_ms_p99"), ".1f"),
        int(sum(of("lost"))),
    ]
