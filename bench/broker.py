"""P5: two nodes with one RabbitMQ. Measures fan-out to 1,000 subscribers of the other node, and confirmed publishes/s.

python -m bench.broker [--runs 5]
"""

from __future__ import annotations

import argparse
import socket
import time
from contextlib import ExitStack
from statistics import median

from bench import programs, report, servers
from tests.radio import frame
from tests.services import HOST

FAN_OUT = ("-n", 1_000, "-m", 400, "-w", 8)
PUBLISHES = 20_000
STATIONS = 4
SECONDS = 30.0  # the time limit for an answer
_BATCH = 500  # SENDs before a wait for their RECEIPTs


def main() -> None:
    """Run all measurements, and print the results."""
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
        ["the node's CPU µs for each publish, without subscribers", report.spread(costs), ""],
    ]
    report.table(["work", "per s, or µs", "× without a broker"], rows)


class _Station:
    """A publisher that only counts the frames it receives. Its cost reduces the measured rate, so it does no more."""

    def __init__(self, node: servers.Target) -> None:
        self.socket = socket.create_connection((HOST, node.port), SECONDS)
        self.socket.sendall(frame("CONNECT", {"login": "1.test", "passcode": "test", "accept-version": "1.2"}))
        self.wait(1)

    def wait(self, frames: int) -> None:
        """Read this many frames. Each ends with a NUL, and the bodies have no NUL.

        :raises ConnectionError: an ERROR came, or the end of the connection.
        """
        while frames > 0:
            octets = self.socket.recv(65_536)
            if not octets or b"ERROR\n" in octets:
                raise ConnectionError(f"expected a RECEIPT, but got {octets[:200]!r}")
            frames -= octets.count(b"\0")


def _publishes(node: servers.Target) -> float:
    """Publishes per second of several stations. Each has a RECEIPT, which is sent after the confirm of RabbitMQ."""
    octets = b"".join(
        frame("SEND", {"destination": servers.TOPIC, "receipt": str(number)}, b"TEXT " + b"x" * 59)
        for number in range(_BATCH)
    )
    stations = [_Station(node) for _ in range(STATIONS)]
    with ExitStack() as connected:
        for station in stations:
            connected.enter_context(station.socket)
        began = time.perf_counter()
        for station in stations:
            station.socket.sendall(octets)
        for _ in range(PUBLISHES // _BATCH // STATIONS - 1):
            for station in stations:
                station.wait(_BATCH)
                station.socket.sendall(octets)  # meanwhile the node processes those of the others
        for station in stations:
            station.wait(_BATCH)
        return PUBLISHES / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
