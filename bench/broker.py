"""P5: two nodes on one RabbitMQ: fan-out to 1,000 subscribers of the other node, and publishes/s with confirms.

python -m bench.broker [--runs 5]
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from statistics import median

from bench import programs, report, servers
from tests.radio import Radio, frame
from tests.services import HOST

FAN_OUT = ("-n", 1_000, "-m", 400, "-w", 8)
PUBLISHES = 20_000
STATIONS = 4
_BATCH = 500  # RECEIPTs that are waited for together


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = range(parser.parse_args().runs)
    alone: list[float] = []
    across: list[float] = []
    publishes: list[float] = []
    costs: list[float] = []
    with servers.node() as node, servers.two_nodes() as (first, second):
        through = f"{HOST}:{first.port}"
        for run in runs:
            for name, target, flags, rates in (("alone", node, (), alone), ("two", second, ("-c", through), across)):
                figures = programs.fanload(target, *FAN_OUT, *flags)
                report.line(work="fan-out", nodes=name, run=run, **figures)
                rates.append(figures["deliveries_per_s"])
            spent = servers.cpu(first)
            publishes.append(_publishes(first))
            costs.append(1e6 * (servers.cpu(first) - spent) / PUBLISHES)
            report.line(work="publishes with confirms", run=run, per_s=publishes[-1], cpu_us=costs[-1])
    rows = [
        ["fan-out, 1,000 subscribers, one node without a broker", report.spread(alone), "1.00"],
        ["the same, published at another node", report.spread(across), f"{median(across) / median(alone):.2f}"],
        ["publishes into one node, each confirmed", report.spread(publishes), ""],
        ["its CPU µs for one, while nobody listens", report.spread(costs), ""],
    ]
    report.table(["work", "per s, or µs", "× without a broker"], rows)


def _publishes(node: servers.Target) -> float:
    """Publishes per second of several stations that ask for a RECEIPT of each; RabbitMQ has confirmed it by then."""
    octets = b"".join(
        frame("SEND", {"destination": servers.TOPIC, "receipt": str(number)}, b"TEXT " + b"x" * 59)
        for number in range(_BATCH)
    )
    with ExitStack() as connected:
        address = (HOST, node.port)
        stations = [
            connected.enter_context(Radio.connect(address, "1.test", "test", version="1.2")) for _ in range(STATIONS)
        ]
        began = time.perf_counter()
        for station in stations:
            station.send(octets)
        for _ in range(PUBLISHES // _BATCH // STATIONS - 1):
            for station in stations:
                station.frames(_BATCH)
                station.send(octets)  # the node has the others' to work on
        for station in stations:
            station.frames(_BATCH)
        return PUBLISHES / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
