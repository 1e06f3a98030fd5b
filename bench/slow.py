"""P7: 100 of 1,000 subscribers stop reading. Measures the rate of the other 900, their losses, and the memory.

python -m bench.slow [--runs 5]
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

from bench import programs, report, servers
from bench.radios import Radios

WORK = ("-n", 900, "-m", 2_000, "-w", 8)
DEAF = 100


def main() -> None:
    """Run all measurements, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = range(parser.parse_args().runs)
    with servers.node() as node:
        programs.fanload(node, *WORK)  # warms up
        found: dict[int, list[dict[str, Any]]] = {0: [], DEAF: []}
        for _ in runs:
            for deaf, figures in found.items():
                figures.append(_measure(node, deaf))
    full = median(each["deliveries_per_s"] for each in found[0])
    rows = []
    for deaf, figures in found.items():
        rates = [each["deliveries_per_s"] for each in figures]
        lost = sum(each["lost"] for each in figures)
        memory = [each["rss_kb"] / 1024 for each in figures]
        rows.append([deaf, report.spread(rates), f"{median(rates) / full:.2f}", lost, report.spread(memory, ".0f")])
    report.table(["do not read", "deliveries/s to the other 900", "× without them", "lost", "memory MiB"], rows)


def _measure(node: servers.Target, deaf: int) -> dict[str, Any]:
    """Measure with this number of slow radios. They read their RECEIPT and then nothing, so that their buffers fill."""
    radios = Radios(node.port, lambda _: servers.TOPIC, slide=False)
    radios.connect(deaf)
    figures = programs.fanload(node, *WORK)
    radios.close()
    report.line(deaf=deaf, **figures)
    return figures


if __name__ == "__main__":
    main()
