"""One run: a crowd on a cluster whose parts fail by a seeded schedule, and the account of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.internet.threads import blockingCallFromThread

from tests.chaos.crowd import Crowd
from tests.chaos.parts import FAULTS, WATCHDOG_TOPIC, Parts
from tests.radio import Radio

HEAL_SECONDS = 180.0  # Two cores shared with 35 other processes have been seen to need 60 s for what takes 1 s.


class NotHealedError(AssertionError):
    """The cluster did not come back by itself."""


class InterruptedRunError(Exception):
    """A signal: somebody does not want the rest of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """:ivar seconds: for how long new faults begin; the last one heals, and the end is checked, behind that.
    :ivar rate: publishes of each publisher per second.
    :ivar faults: those of :data:`~tests.chaos.parts.FAULTS` that happen.
    :ivar broker_nodes: of RabbitMQ.
    """

    seconds: float
    seed: int
    radios: int
    publishers: int
    rate: float
    faults: list[str]
    broker_nodes: int


@dataclass(slots=True)
class Figures:
    """What came out. The run is good when nothing was lost, doubled, disordered or wrong, and nothing logged."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    publishes: int = 0
    receipted: int = 0
    deliveries: int = 0
    reconnects: int = 0
    stayed: int = 0
    lost: list[Any] = field(default_factory=list)
    doubled: list[Any] = field(default_factory=list)
    disordered: list[Any] = field(default_factory=list)
    wrong_last: list[str] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.wrong_last or self.errors)

    def lines(self) -> Iterator[str]:
        """For people, and for tests: ``name: number``."""
        yield f"seed: {self.seed}"
        yield f"faults: {self.faults.total()}"
        yield from (f"  {name}: {count}" for name, count in sorted(self.faults.items()))
        for name in ("publishes", "receipted", "deliveries", "reconnects", "stayed"):
            yield f"{name}: {getattr(self, name)}"
        for name in ("lost", "doubled", "disordered", "wrong_last", "errors"):
            found = getattr(self, name)
            yield f"{name}: {len(found)}" + (f", such as {found[:5]}" if found else "")


class Run:
    """Blocks, in a thread beside the reactor's; the crowd lives in the reactor."""

    def __init__(self, reactor: Any, plan: Plan, say: Callable[[str], None]) -> None:
        """:param say: takes a line about what happens now."""
        self._reactor = reactor
        self._plan = plan
        self._say = say
        self._chance = Random(plan.seed)
        self._figures = Figures(plan.seed)
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End soon, and leave no process behind: once the fault of this moment is over."""
        self._interrupted.set()

    def go(self) -> Figures:
        """All of it.

        :raises NotHealedError: the cluster did not come back from a fault.
        :raises InterruptedRunError: see :meth:`interrupt`.
        """
        plan = self._plan
        with Parts(plan.broker_nodes) as parts:
            addresses = [each.address for each in parts.nodes]
            crowd = Crowd(self._reactor, addresses, plan.radios, plan.publishers, plan.rate, plan.seed, parts.is_ready)
            self._in_reactor(crowd.start)
            try:
                self._heal(parts, crowd, "start")
                self._inject(parts, crowd)
                self._finish(parts, crowd)
            finally:
                self._in_reactor(crowd.stop)
        return self._figures

    def _in_reactor(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return blockingCallFromThread(self._reactor, call, *arguments)

    def _wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._in_reactor(holds):
            if time.monotonic() > deadline:
                return False
            self._pause(0.1)
        return True

    def _pause(self, seconds: float) -> None:
        if self._interrupted.wait(seconds):
            raise InterruptedRunError("interrupted")

    def _heal(self, parts: Parts, crowd: Crowd, fault: str) -> None:
        newest = self._in_reactor(crowd.newest)
        began = time.monotonic()
        ready = range(len(parts.nodes))
        if not self._wait(lambda: all(map(parts.is_ready, ready)) and crowd.healthy_since(newest), HEAL_SECONDS):
            raise NotHealedError(f"not well again {HEAL_SECONDS:g} s after {fault!r}, seed {self._plan.seed}")
        self._say(f"well {time.monotonic() - began:.1f} s after {fault}")

    def _inject(self, parts: Parts, crowd: Crowd) -> None:
        """One fault after the other: each kind once, in a random order, then all again."""
        deadline = time.monotonic() + self._plan.seconds
        while True:
            for name in self._chance.sample(self._plan.faults, len(self._plan.faults)):
                if time.monotonic() > deadline:
                    return
                self._say(name)
                FAULTS[name](parts, self._chance)
                self._figures.faults[name] += 1
                self._heal(parts, crowd, name)
                self._pause(self._chance.uniform(0, 1))

    def _finish(self, parts: Parts, crowd: Crowd) -> None:
        """One last slide each; once everybody has it, the accounts are closed."""
        self._in_reactor(crowd.pause)
        last = [self._in_reactor(each.publish) for each in crowd.publishers]
        if not self._wait(lambda: not any(each.outstanding for each in crowd.publishers), HEAL_SECONDS):
            raise NotHealedError("receipts are missing at the end")
        self._wait(lambda: crowd.all_heard(last), 20)
        figures, account = self._figures, crowd.account
        figures.publishes, figures.receipted = account.publishes()
        figures.deliveries = sum(life.count for life in account.lives)
        figures.reconnects = crowd.reconnects
        figures.stayed = sum(each.reconnects == 0 for each in crowd.radios)
        figures.lost = list(account.lost())
        figures.doubled = [(life.radio, *each) for life in account.lives for each in life.doubled]
        figures.disordered = [(life.radio, *each) for life in account.lives for each in life.disordered]
        figures.wrong_last = list(self._wrong_last(parts, dict(zip(crowd.topics, last, strict=True))))
        figures.errors = parts.all_errors()

    def _wrong_last(self, parts: Parts, last: dict[str, int]) -> Iterator[str]:
        """What a new radio on either node is shown, and whether the watchdog still speaks."""
        for number, each in enumerate(parts.nodes):
            with Radio.connect(each.address, version="1.2") as radio:
                for topic, newest in last.items():
                    radio.subscribe(topic, id=topic)
                    shown = [found.body for found in radio.so_far()]
                    if shown != [b"SHOW http://chaos/ %d" % newest]:
                        yield f"node {number}, {topic}: {shown} instead of {newest}"
                radio.subscribe(WATCHDOG_TOPIC, id="watchdog", fast_reply=False)
                try:
                    radio.expect("MESSAGE", subscription="watchdog")
                except TimeoutError:
                    yield f"node {number}: nothing from the watchdog"
