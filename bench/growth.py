"""P6: measures the cost of a publish to 100 subscribers with growing numbers of other topics and of other clients.

    python -m bench.growth [--runs 3]

Each other topic has a last message and one subscriber. A client has 250 subscriptions, because a node allows 256. Each
of the other clients subscribes to its own topic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from bench import programs, report, servers
from bench.radios import Radios
from tests.radio import Radio, frame
from tests.services import HOST

TOPICS = (10, 100, 1_000, 10_000, 100_000)
CLIENTS = (0, 10, 100, 1_000, 10_000)
WORK = ("-n", 100, "-m", 10_000, "-w", 8)
_SUBSCRIPTIONS = 250  # of one client


def main() -> None:
    """Run all measurements, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    rows: list[list[object]] = []
    constants = {"fanout.hub.hub.MAX_LAST_MESSAGES": 200_000}
    with servers.node(MAX_LAST_MESSAGES_BYTES=2**30, **constants) as node:
        known = 0
        for number in TOPICS:
            with _other_topics(node, known, number):
                rows.append(_row("topics", number, node, runs))
            known = number
    with servers.node() as node:
        for number in CLIENTS:
            with _other_clients(node, number):
                rows.append(_row("clients", number, node, runs))
    _relative(rows)
    report.table(["others", "number", "CPU µs/delivery", "× least", "publishes/s"], rows)


def _row(kind: str, number: int, node: servers.Target, runs: int) -> list[object]:
    programs.fanload(node, *WORK)  # warms up
    found = [_run(kind, number, node) for _ in range(runs)]
    costs = [each["cpu_us_per_delivery"] for each in found]
    rates = [each["deliveries_per_s"] / 100 for each in found]
    return [kind, f"{number:,}", report.spread(costs, ".3f"), median(costs), report.spread(rates)]


def _run(kind: str, number: int, node: servers.Target) -> dict[str, Any]:
    figures = programs.fanload(node, *WORK)
    report.line(others=kind, number=number, **figures)
    return figures


def _relative(rows: list[list[object]]) -> None:
    """Replace the cost in each row by its ratio to the first row of the same kind."""
    base: dict[object, float] = {}
    for row in rows:
        cost = float(str(row[3]))
        row[3] = f"{cost / base.setdefault(row[0], cost):.2f}"


@contextmanager
def _other_topics(node: servers.Target, known: int, number: int) -> Iterator[None]:
    """Make this number of topics with a last message and a subscriber each. :param known: number of existing topics."""
    address = (HOST, node.port)
    with Radio.connect(address, "1.test", "test", version="1.2") as station:
        for first in range(known, number, 500):
            numbers = range(first, min(first + 500, number))
            station.send(b"".join(frame("SEND", {"destination": _topic(each)}, b"TEXT x") for each in numbers))
            station.so_far()
    listeners = []
    for first in range(0, number, _SUBSCRIPTIONS):
        listener = Radio.connect(address, version="1.2")
        listeners.append(listener)
        numbers = range(first, min(first + _SUBSCRIPTIONS, number))
        fields = [{"id": str(each), "destination": _topic(each), "x-ebu-nofastreply": "yes"} for each in numbers]
        listener.send(b"".join(frame("SUBSCRIBE", each) for each in fields))
        listener.so_far()
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()


@contextmanager
def _other_clients(node: servers.Target, number: int) -> Iterator[None]:
    radios = Radios(node.port, _topic, slide=False)
    radios.connect(number)
    try:
        yield
    finally:
        radios.close()


def _topic(number: int) -> str:
    return f"/topic/id/tests._ebu.nowhere/topic1/other/{number}/text"


if __name__ == "__main__":
    main()
