"""What a measurement prints: a line of JSON for each run as it ends, and a table (Markdown) when all have."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any


def line(**figures: Any) -> None:
    """One run."""
    print(json.dumps(figures), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """All runs."""
    python = platform.python_version()
    print(f"\n{os.cpu_count()} cores, Python {python}, load average {os.getloadavg()[0]:.1f} at the end\n")
    for row in (headings, ["---"] * len(headings), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, and from where to where: ``1,200 (1,100–1,300)``."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def fan_out(runs: Sequence[Mapping[str, Any]], compared: Sequence[Mapping[str, Any]]) -> list[object]:
    """The cells every table of fan-out has: rate, times the rate of others, CPU, latencies, lost."""

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
