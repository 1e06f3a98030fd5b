"""The transports: measures fan-out and memory of STOMP over TCP, TLS and WebSocket, alternately in one run.

    python -m bench.carriers [--runs 5] [--subscribers 1000]

Each run has its own node, because a node reuses freed memory, which would not be measured. Only the subscribers use the
transport: the station always publishes over TCP.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import programs, report, servers
from tests.authority import Authority
from tests.services import HOST, free_port

WINDOWS = (8, 1)
DELIVERIES = 300_000
IDLE_SECONDS = 2
TCP = "TCP"


def main() -> None:
    """Run all measurements, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--subscribers", type=int, default=1_000)
    given = parser.parse_args()
    runs: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for run in range(given.runs):
        for name in (TCP, "TLS", "WebSocket"):
            for figures in _measure(name, given.subscribers, run):
                runs[figures["window"], name].append(figures)
    rows = [_row(window, name, figures, runs[window, TCP]) for (window, name), figures in sorted(runs.items())]
    report.table(
        ["w", "over", "deliveries/s", "× TCP", "CPU µs/delivery", "p50 ms", "p99 ms", "lost", "KiB/connection"], rows
    )


def _measure(name: str, subscribers: int, run: int) -> Iterator[dict[str, Any]]:
    """Measure one node: first the memory, then the fan-out with each window."""
    with _node() as targets:
        target = targets[name]
        programs.fanload(target, "-n", 1, "-m", 100, "-w", 1)  # warms up
        idle = programs.fanload(target, "-n", subscribers, "-i", IDLE_SECONDS)
        for window in WINDOWS:
            figures = programs.fanload(target, "-n", subscribers, "-m", DELIVERIES // subscribers, "-w", window)
            figures |= {"window": window, "kb_per_conn": idle["kb_per_conn"]}
            report.line(over=name, run=run, **figures)
            yield figures


@contextmanager
def _node() -> Iterator[dict[str, servers.Target]]:
    """One node, as a target for each of its transports."""
    secure, web = free_port(), free_port()
    with TemporaryDirectory() as folder:
        certificate = Authority(Path(folder)).issue("node.pem", HOST)
        with servers.node(TLS_CERTIFICATE=certificate, STOMP_TLS_PORT=secure, HTTP_PORT=web) as plain:
            flags = (*plain.flags, "-c", f"{HOST}:{plain.port}")
            yield {
                TCP: plain,
                "TLS": replace(plain, port=secure, flags=(*flags, "-T")),
                "WebSocket": replace(plain, port=web, flags=(*flags, "-W", "/stomp")),
            }


def _row(window: int, name: str, mine: list[dict[str, Any]], plain: list[dict[str, Any]]) -> list[object]:
    memory = report.spread([each["kb_per_conn"] for each in mine], ".1f")
    return [window, name, *report.fan_out(mine, plain), memory]


if __name__ == "__main__":
    main()
