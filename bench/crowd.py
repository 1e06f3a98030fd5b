"""Many bad subscribers: measures their effect on the other radios, the memory, and the events in the log.

    python -m bench.crowd [--runs 3]

900 radios are served as in P1 and P2. At the same time other clients read one octet a second, never read, close the
connection in the middle of a frame, vanish all at once, or get a message of 256 KiB.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench import programs, report, servers
from bench.radios import Radios
from tests.processes import Server
from tests.radio import Radio, frame

MIB = 2**20
WORKS = {8: ("-n", 900, "-m", 2_000, "-w", 8), 1: ("-n", 900, "-m", 700, "-w", 1)}
BAD = "/topic/id/tests._ebu.nowhere/topic1/bad"
SLOW, VANISHING = 100, 5_000
BEGUN = 1.5
"""Seconds after which the subscribers of the load are connected and it publishes."""
FILLING, PIECE = 80, 60_000
"""Number and octets of the messages that fill the buffers of a client that does not read. The kernel's buffers hold up
to 4 MiB."""
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@dataclass
class Stage:
    """One run of the load.

    :ivar ready: set when the bad clients are connected. Then the load begins.
    :ivar over: set when the load has ended.
    """

    server: Server
    ready: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def station(self) -> Radio:
        return Radio.connect(self.server.address, "1.test", "test")


def one_octet_a_second(stage: Stage) -> None:
    """Read one octet a second. The server closes a client whose outbox does not shrink within WRITE_TIMEOUT."""
    radios = _full(stage)
    stage.ready.set()
    while not stage.over.wait(1):
        for each in radios:
            with contextlib.suppress(ConnectionError):
                each.octet()
    stage.server.wait_for("client.slow", seconds=60)
    for each in radios:
        each.close()


def never_read(stage: Stage) -> None:
    """Never read. The server logs that the clients are slow, and closes them."""
    radios = _full(stage)
    stage.ready.set()
    stage.over.wait()
    stage.server.wait_for("client.slow", seconds=60)
    for each in radios:
        each.close()


def close_mid_frame(stage: Stage) -> None:
    """Connect, send half a frame, read half a frame and close; one client after the other, as fast as possible."""
    stage.ready.set()
    with stage.station() as station:
        station.publish(BAD, b"x" * PIECE)
        while not stage.over.is_set():
            with Radio(stage.server.address) as radio:
                radio.send(frame("CONNECT") + frame("SUBSCRIBE", {"destination": BAD}))
                radio.send(b"SEND\ndestination:" + BAD.encode() + b"\ncontent-length:1000\n\nhalf")
                radio.octet()


def vanish(stage: Stage) -> None:
    """All clients vanish at once with a reset, as when a radio mast fails."""
    radios = Radios(stage.server.address[1], lambda number: f"{BAD}/{number % 100}", slide=False)
    radios.connect(VANISHING)
    stage.ready.set()
    stage.over.wait(BEGUN)
    for each in radios.sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    radios.close()


def large_message(stage: Stage) -> None:
    """All clients get one large message, and read it as fast as possible."""
    radios = Radios(stage.server.address[1], lambda _: BAD, slide=False)
    radios.connect(VANISHING)
    stage.ready.set()
    stage.over.wait(BEGUN)
    with stage.station() as station:
        station.publish(BAD, b"x" * (MIB // 4 - 200))
        while not stage.over.is_set():
            radios.beat(0.1, 3_600)
    radios.close()


@dataclass(frozen=True)
class Case:
    """One kind of bad client.

    :ivar act: what the clients do. It returns after the stage is over.
    :ivar number: number of clients; 0 if one after the other connects.
    :ivar outbox: OUTBOX_BYTES. It bounds the memory of a client: these octets in its outbox, and the same number in its
        transport.
    """

    name: str
    act: Callable[[Stage], None]
    number: int
    outbox: int = 65_536


CASES = (
    Case("read one octet a second", one_octet_a_second, SLOW),
    Case("never read", never_read, SLOW),
    Case("close in the middle of a frame", close_mid_frame, 0),
    Case("vanish at once", vanish, VANISHING),
    Case("are sent 256 KiB", large_message, VANISHING, outbox=MIB // 4),
)


def main() -> None:
    """Run all measurements, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = range(parser.parse_args().runs)
    found: dict[Case, list[dict[str, Any]]] = defaultdict(list)
    for _ in runs:
        for case in CASES:
            found[case].append(_measure(case))
            report.line(clients=case.name, **found[case][-1])
    headings = ["clients", "number"]
    headings += [
        f"w={window}: {each}" for window in WORKS for each in ("deliveries/s", "× without", "CPU µs", "without")
    ]
    headings += ["lost", "memory MiB: before", "most", "after", "may be", "log"]
    report.table(headings, [_row(case, figures) for case, figures in found.items()])


def _measure(case: Case) -> dict[str, Any]:
    """Measure each work on a new node, first without the bad clients, then with them."""
    with Server(
        "--test", "--rabbitmq-loopback", OUTBOX_BYTES=case.outbox, WRITE_TIMEOUT=15, **servers.LIMITS
    ) as server:
        target = servers.Target(case.name, server.address[1], (server.pid,), servers.OURS)
        figures: dict[str, Any] = {"lost": 0}
        programs.fanload(target, *WORKS[8])  # warms up
        for window, work in WORKS.items():
            figures |= _speed(programs.fanload(target, *work), f"without {window}")
        figures["before"], known = server.memory() / MIB, len(server.log)
        with _watched(server) as most:
            for window, work in WORKS.items():
                beside = _beside(case, Stage(server), target, work)
                figures |= _speed(beside, f"with {window}")
                figures["lost"] += beside["lost"]
        logged = Counter(event["event"] for event in server.log[known:])
        return {**figures, "most": max(most) / MIB, "after": server.memory() / MIB, "log": dict(logged)}


def _speed(figures: dict[str, Any], name: str) -> dict[str, float]:
    return {name: figures["deliveries_per_s"], f"{name}, CPU": figures["cpu_us_per_delivery"]}


def _beside(case: Case, stage: Stage, target: servers.Target, work: tuple[object, ...]) -> dict[str, Any]:
    """Run the load while the bad clients act."""
    with ThreadPoolExecutor(1) as pool:
        bad = pool.submit(case.act, stage)
        while not (stage.ready.wait(0.1) or bad.done()):
            pass
        try:
            return programs.fanload(target, *work)
        finally:
            stage.over.set()
            bad.result()


@contextmanager
def _watched(server: Server) -> Iterator[list[int]]:
    """Sample the octets of memory of the server twenty times a second, until the end of the ``with`` block."""
    seen, over = [server.memory()], threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            seen.append(server.memory())

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield seen
        finally:
            over.set()
            looking.result()


def _full(stage: Stage) -> list[Radio]:
    """Subscribers with full outboxes, because they have read nothing. They also subscribe to the topic of the load."""
    radios = [Radio(stage.server.address, receive_buffer=4_096) for _ in range(SLOW)]
    for each in radios:
        wanted = ({"destination": topic, "x-ebu-nofastreply": "yes"} for topic in (BAD, servers.TOPIC))
        each.send(frame("CONNECT") + b"".join(frame("SUBSCRIBE", headers) for headers in wanted))
    with stage.station() as station:
        for _ in range(FILLING):
            station.publish(BAD, b"x" * PIECE)
    return radios


def _row(case: Case, mine: list[dict[str, Any]]) -> list[object]:
    def of(key: str, form: str) -> str:
        return report.spread([each[key] for each in mine], form)

    def speed(window: int) -> list[str]:
        share = [each[f"with {window}"] / each[f"without {window}"] for each in mine]
        cpu = [of(f"{name} {window}, CPU", ".2f") for name in ("with", "without")]
        return [of(f"with {window}", ",.0f"), report.spread(share, ".2f"), *cpu]

    lost, log = sum(each["lost"] for each in mine), mine[-1]["log"]
    bound = median(each["before"] for each in mine) + 2 * case.outbox * case.number / MIB
    memory = [of("before", ".0f"), of("most", ".0f"), of("after", ".0f"), f"{bound:,.0f}" if case.number else ""]
    return [case.name, case.number or "one by one", *speed(8), *speed(1), lost, *memory, log or "nothing"]


if __name__ == "__main__":
    main()
