"""``python -m tests.soak``: constant load on one node for long; its memory and files must be flat at the end.

Radios stay, radios come and go, publishers publish with receipts, receivers poll over HTTP. The exit code is 0 only if
the last third of the time holds no more memory and files than the second, but for a tolerance.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import fmean
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.python.failure import Failure

from tests import services
from tests.chaos.crowd import Crowd
from tests.chaos.run import InterruptedRunError
from tests.processes import Server, node
from tests.radio import Radio
from tests.web import ask, poll_path

MEMORY_TOLERANCE = 0.01  # of what it held in the second third; measured: 0.0004 in two minutes
FILES_TOLERANCE = 4  # connections that come and go are at any number at the moment of a look
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """:ivar memory: octets of the node; ``files`` it has open."""

    memory: int
    files: int


@dataclass(slots=True)
class Soak:
    """One run. Blocks, in a thread beside the reactor's."""

    seconds: float
    radios: int
    publishers: int
    rate: float
    say: Callable[[str], None]
    comings: int = 0
    interrupted: threading.Event = field(default_factory=threading.Event)

    def interrupt(self) -> None:
        """End soon, and leave no process behind."""
        self.interrupted.set()

    def go(self) -> bool:
        """Whether memory and files were flat.

        :raises InterruptedRunError: see :meth:`interrupt`.
        """
        ports = {"STOMP_PORT": services.free_port(), "HTTP_PORT": services.free_port()}
        quick = {"HTTP_POLL_TIMEOUT": 1, "fanout.http.limits.CATCH_UP_SECONDS": 0, "HISTORY_SECONDS": 30}
        with node(**quick, **ports) as server:
            crowd = Crowd(reactor, [server.address], self.radios, self.publishers, self.rate, seed=0)
            self._in_reactor(crowd.start)
            self.say(f"load on a node: {self.radios} radios, {self.publishers} publishers")
            try:
                looks = self._load(server, crowd)
            finally:
                self._in_reactor(crowd.stop)
            faults = server.faults
        publishes, receipted = crowd.account.publishes()
        deliveries = sum(life.count for life in crowd.account.lives)
        lost = len(list(crowd.account.lost()))
        self.say(f"publishes: {publishes}, receipted: {receipted}, deliveries: {deliveries}, lost: {lost}")
        self.say(f"came and went: {self.comings}, reconnects: {crowd.reconnects}, errors: {len(faults)}")
        flat = [self._flat(looks, *each) for each in (("memory", MEMORY_TOLERANCE, 0), ("files", 0, FILES_TOLERANCE))]
        return all(flat) and not lost and not faults

    def _in_reactor(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return blockingCallFromThread(reactor, call, *arguments)

    def _load(self, server: Server, crowd: Crowd) -> list[Look]:
        """Let time pass with somebody who comes and goes, and look at the node now and then."""
        looks: list[Look] = []
        chance, end = Random(0), time.monotonic() + self.seconds
        while time.monotonic() < end:
            next_look = time.monotonic() + LOOK_SECONDS
            while time.monotonic() < next_look:
                self._pause(0)
                self._come_and_go(server, crowd.topics, chance)
            looks.append(Look(server.memory(), server.open_files()))
            if len(looks) % 30 == 0:
                self.say(f"memory {looks[-1].memory / 2**20:.1f} MiB, files {looks[-1].files}")
        self._in_reactor(crowd.pause)
        self._pause(2)  # for the last receipts and deliveries
        return looks

    def _pause(self, seconds: float) -> None:
        if self.interrupted.wait(seconds):
            raise InterruptedRunError("interrupted")

    def _come_and_go(self, server: Server, topics: list[str], chance: Random) -> None:
        """A radio on any topic, every time another one too; a poll; a wrong frame."""
        with Radio.connect(server.address, version=chance.choice((None, "1.1", "1.2"))) as radio:
            radio.subscribe(chance.choice(topics), id="1")
            radio.subscribe(f"/topic/soak/{chance.randrange(10**9)}/image", id="2")
            radio.say("UNSUBSCRIBE", {"id": "nobody's"})
        ask(server.http, poll_path(chance.choice(topics), last_id="0"))
        ask(server.http, "/nothing")
        self.comings += 1

    def _flat(self, looks: list[Look], name: str, share: float, more: float) -> bool:
        third = len(looks) // 3
        before, after = (fmean(getattr(each, name) for each in part) for part in (looks[third:-third], looks[-third:]))
        flat = after <= before * (1 + share) + more
        unit, word = (2**20, "MiB") if name == "memory" else (1, "open")
        self.say(
            f"{name}: {before / unit:.2f} {word} in the second third, {after / unit:.2f} in the last "
            f"({after / before - 1:+.2%}): {'flat' if flat else 'GROWING'}"
        )
        return flat


def main() -> int:
    """Run it, and print the figures."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--radios", type=int, default=200)
    parser.add_argument("--publishers", type=int, default=5)
    parser.add_argument("--rate", type=float, default=2.0, help="publishes of each publisher per second")
    given = vars(parser.parse_args())
    began = time.monotonic()
    outcome: list[bool | Failure] = []

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    def start() -> None:
        deferToThread(soak.go).addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    soak = Soak(**given, say=say)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: soak.interrupt())  # Twisted's would stop the reactor under the running thread.
    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    found = outcome[0]
    if isinstance(found, Failure) and found.check(InterruptedRunError):
        print("interrupted")
        return 1
    if isinstance(found, Failure):
        print(found.getTraceback())
        return 1
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
