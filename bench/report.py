"""What a measurement prints: a line of JSON for each run as it ends, and a table (Markdown) when all have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any


def line(**figures: Any) -> None:
    """One run."""
    print(json.dumps(figures), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """All runs."""
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end\n")
    for row in (headings, ["---"] * len(headings), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, and from where to where: ``1,200 (1,100–1,300)``."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
