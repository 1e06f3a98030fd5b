"""A schedule: what happens when, made from a seed or by Hypothesis (:func:`make`), and its run (:func:`run`)."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from unittest import mock

import structlog
from twisted.logger import globalLogPublisher

from fanout.bus import stream
from tests.simulation.account import FAULT, SAMPLE_SECONDS, Account, Violation
from tests.simulation.cluster import Cluster
from tests.simulation.network import Network
from tests.simulation.processes import WATCHED, FrontEnd, Machine, Parts, WatchdogMachine
from tests.simulation.session import Session
from tests.simulation.world import World

FAULTS = (
    "reset",
    "lost confirm",
    "partition",
    "broker killed",
    "broker isolated",
    "broker parted",
    "blocked",
    "slow client",
    "node killed",
    "node restarted",
    "all killed",
    "watchdog killed",
    "paused",
    "disk full",
    "clock",
    "clock back",
)
FIRST, LAST = 2.0, 22.0
"""Seconds between which everything happens."""
QUIET_SECONDS, MOST_SECONDS = 3.0, 120.0
"""How long all must be well before the end is checked, and within which time they must be."""
SMALL_STREAM = {"MAX_OCTETS": 2_000, "SEGMENT_OCTETS": 500}
"""A stream that has room for about ten messages."""
DOWN_SECONDS = 3.0
"""A process that ended is started again after so long at most."""
SECONDS = (0.2, 1.0, 3.0, 7.0, 12.0, 20.0)
"""How long a fault lasts."""
STEPS = (2, 5, 60, 3000)
LAGS = (0.2, 0.8, 2.0)
TOPICS = 3

Draw = Callable[[int], int]
"""An integer from 0 to below the argument."""


@dataclass(frozen=True, slots=True)
class Action:
    """:ivar which: chooses process or topic; :ivar size: chooses how long or how much; :ivar where: the broker node."""

    at: float
    kind: str
    which: int
    size: int
    where: int = 0

    def __str__(self) -> str:
        return f"{self.at:.2f} s {self.kind} which={self.which} size={self.size} where={self.where}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    :ivar seed: decides the latencies.
    :ivar small: whether the stream deletes its oldest messages soon.
    """

    seed: int
    brokers: int
    fronts: int
    watchdogs: int
    actions: tuple[Action, ...]
    khepri: bool = True
    small: bool = False


@dataclass(slots=True)
class Outcome:
    """:ivar trace: what happened, if it was asked for."""

    violations: list[Violation]
    counts: dict[str, int]
    trace: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule may contain. :ivar faults: kinds, each as likely as it is often named."""

    faults: tuple[str, ...] = FAULTS
    khepri: bool = True
    most_faults: int = 4


def make(seed: int, draw: Draw, plan: Plan) -> Schedule:
    """Draw a schedule."""
    brokers, fronts, watchdogs = 1 + draw(3), 2 + (draw(3) == 0), 1 + draw(2)
    actions = [_draw_publish(draw) for _ in range(4 + draw(8))]
    actions += [_draw_fault(draw, plan) for _ in range(1 + draw(plan.most_faults))]
    ordered = tuple(sorted(actions, key=lambda each: each.at))
    return Schedule(seed, brokers, fronts, watchdogs, ordered, plan.khepri, small=draw(4) == 0)


def from_seed(seed: int, plan: Plan) -> Schedule:
    """The schedule of a seed."""
    rng = Random(seed)
    return make(seed, rng.randrange, plan)


def _when(draw: Draw) -> float:
    return FIRST + draw(int((LAST - FIRST) * 20)) / 20


def _draw_publish(draw: Draw) -> Action:
    return Action(_when(draw), "publish", draw(TOPICS + 1), 1 + draw(3))


def _draw_fault(draw: Draw, plan: Plan) -> Action:
    return Action(_when(draw), plan.faults[draw(len(plan.faults))], draw(6), draw(len(SECONDS)), draw(3))


# Running


class Run:
    """One run of a schedule."""

    def __init__(self, schedule: Schedule, *, trace: bool = False) -> None:
        self._schedule = schedule
        self.world = world = World(schedule.seed)
        world.trace = [] if trace else None
        self._network = Network(world)
        self._cluster = Cluster(world, self._network, schedule.brokers, Session, khepri=schedule.khepri)
        self.parts = Parts(world, self._network, self._cluster)
        self._topics = [f"/topic/id/topic{number}.example/sid/text" for number in range(TOPICS)]
        self._fronts: list[FrontEnd] = []
        self._watchdogs: list[WatchdogMachine] = []
        self.account = Account(self.parts, self._fronts, self._watchdogs)
        self._restarts = 0
        self._faults: dict[str, Callable[[Action], None]] = {
            "publish": self._publish,
            "reset": self._reset,
            "lost confirm": self._lose_confirm,
            "partition": self._partition,
            "broker killed": self._kill_broker,
            "broker isolated": self._isolate_broker,
            "broker parted": self._part_broker,
            "blocked": self._block,
            "slow client": self._slow_down,
            "node killed": self._kill_front,
            "node restarted": self._stop_front,
            "all killed": self._kill_all,
            "watchdog killed": self._kill_watchdog,
            "paused": self._pause,
            "disk full": self._fill_disk,
            "clock": self._set_clock,
            "clock back": self._set_clock_back,
        }

    @property
    def _machines(self) -> list[Machine]:
        return [*self._fronts, *self._watchdogs]

    def go(self) -> Outcome:
        world = self.world
        for number in range(self._schedule.fronts):
            self._fronts.append(self._front(number, f"node{number}"))
        for number in range(self._schedule.watchdogs):
            self._watchdogs.append(self._watchdog(number, f"watchdog{number}"))
        world.later(SAMPLE_SECONDS, self.account.sample)
        for action in self._schedule.actions:
            world.at(action.at, self._do, action)
        world.run_until(LAST + 0.5)
        self._heal()
        self._wait_until_quiet()
        self._check()
        return Outcome(self.account.violations, self.account.counts, world.trace or [])

    def _do(self, action: Action) -> None:
        if action.kind != "publish":
            self.account.counts[FAULT + action.kind] += 1
            self.world.say("fault: %s which=%s size=%s where=%s", action.kind, action.which, action.size, action.where)
        self._faults[action.kind](action)

    def _front(self, number: int, name: str) -> FrontEnd:
        front = FrontEnd(name, self.parts, number, [*self._topics, f"{WATCHED}text"])
        front.process.call(front.start)
        return front

    def _watchdog(self, number: int, name: str) -> WatchdogMachine:
        watchdog = WatchdogMachine(name, self.parts, number)
        watchdog.process.call(watchdog.start)
        return watchdog

    # The actions

    def _publish(self, action: Action) -> None:
        """A station is logged in to one node, always the same."""
        topic = [*self._topics, f"{WATCHED}text"][action.which]
        front = self._fronts[action.which % len(self._fronts)]
        for _ in range(action.size):
            if front.running:
                self.account.publish(front, topic)

    def _machine(self, action: Action) -> Machine:
        machines = self._machines
        return machines[action.which % len(machines)]

    def _broker(self, action: Action) -> Any:
        return self._cluster.nodes[action.where % len(self._cluster.nodes)]

    def _reset(self, action: Action) -> None:
        connections = self._network.of(self._machine(action).process)
        for connection in connections[action.size % 2 : action.size % 2 + 1]:
            connection.cut()

    def _lose_confirm(self, action: Action) -> None:
        """The connection ends before the next confirm of this node."""
        process, before = self._machine(action).process, self._cluster.losing
        self._cluster.losing = {*before, process}

    def _partition(self, action: Action) -> None:
        one, other = self._machine(action).process, self._broker(action).process
        self._network.part(one, other)
        self.world.later(SECONDS[action.size], self._network.join, one, other)

    def _kill_broker(self, action: Action) -> None:
        node = self._broker(action)
        if node.up:
            self._cluster.kill(node)
            self.world.later(SECONDS[action.size], self._cluster.revive, node)

    def _isolate_broker(self, action: Action) -> None:
        node = self._broker(action)
        if node.up and not node.process.paused:
            self._cluster.isolate(node)
            self.world.later(SECONDS[action.size], self._cluster.heal, node)

    def _part_broker(self, action: Action) -> None:
        """One at a time: two would reach each other."""
        node = self._broker(action)
        if len(self._cluster.nodes) > 1 and not self._cluster.apart:
            self._cluster.part(node)
            self.world.later(SECONDS[action.size], self._cluster.rejoin, node)

    def _block(self, action: Action) -> None:
        self._cluster.set_alarm(True)
        self.world.later(SECONDS[action.size], self._cluster.set_alarm, False)

    def _slow_down(self, action: Action) -> None:
        process = self._machine(action).process
        self._network.lag[process] = LAGS[action.where]
        self.world.later(SECONDS[action.size], self._network.lag.pop, process, None)

    def _kill_front(self, action: Action) -> None:
        number = action.which % len(self._fronts)
        self._end_front(number, self._fronts[number], action)

    def _stop_front(self, action: Action) -> None:
        """It is asked to end, and starts again."""
        number = action.which % len(self._fronts)
        front = self._fronts[number]
        front.process.call(front.stop, lambda: self.world.later(0, self._end_front, number, front, action))

    def _kill_all(self, action: Action) -> None:
        """The power fails: memcached is empty, and no node knows anything."""
        for number, front in enumerate(self._fronts):
            self._end_front(number, front, action)
        self.parts.memory.forget()

    def _end_front(self, number: int, front: FrontEnd, action: Action) -> None:
        if front.process.dead:
            return
        self._kill(front)
        front.ended = self.world.now
        self.account.former.append(front)
        self.world.later(min(SECONDS[action.size], DOWN_SECONDS), self._restart_front, number, front)

    def _restart_front(self, number: int, former: FrontEnd) -> None:
        self._restarts += 1
        self.world.say("%s starts again", former.name)
        self._fronts[number] = self._front(number, f"node{number}.{self._restarts}")

    def _kill_watchdog(self, action: Action) -> None:
        number = action.which % len(self._watchdogs)
        if not self._watchdogs[number].process.dead:
            self._kill(self._watchdogs[number])
            self.world.later(min(SECONDS[action.size], DOWN_SECONDS), self._restart_watchdog, number)

    def _restart_watchdog(self, number: int) -> None:
        self._restarts += 1
        self._watchdogs[number] = self._watchdog(number, f"watchdog{number}.{self._restarts}")

    def _kill(self, machine: Machine) -> None:
        connections = self._network.of(machine.process)
        machine.process.kill()
        for connection in connections:
            connection.hang_up(machine.process)

    def _pause(self, action: Action) -> None:
        process = self._machine(action).process
        process.pause()
        self.world.later(SECONDS[action.size], process.resume)

    def _fill_disk(self, action: Action) -> None:
        self.parts.disk.refusing = True
        self.world.later(SECONDS[action.size], self._free_disk)

    def _free_disk(self) -> None:
        self.parts.disk.refusing = False

    def _set_clock(self, action: Action) -> None:
        self.world.wall_error += STEPS[action.where % len(STEPS)]

    def _set_clock_back(self, action: Action) -> None:
        self.world.wall_error -= STEPS[action.where % len(STEPS)]

    # The end

    def _heal(self) -> None:
        self.world.say("everything is healed")
        self._cluster.set_alarm(False)
        self._cluster.losing = set()
        self._free_disk()
        self._network.lag.clear()
        for node in self._cluster.nodes:
            self._cluster.rejoin(node)
            self._cluster.heal(node)
            for machine in self._machines:
                self._network.join(machine.process, node.process)
        for machine in self._machines:
            machine.process.resume()

    def _wait_until_quiet(self) -> None:
        well, give_up = 0.0, self.world.now + MOST_SECONDS
        while well < QUIET_SECONDS and self.world.now < give_up:
            self.world.run_until(self.world.now + 1.0)
            well = well + 1.0 if self._well() else 0.0

    def _well(self) -> bool:
        for machine in self._machines:
            state = machine.bus.state()
            if machine.process.dead or machine.stopping or not (state.connected and state.caught_up):
                return False
            if state.reads_later:
                return False
        return (
            any(each.leading for each in self._watchdogs)
            and all(map(self.account.retains_default, self._fronts))
            and not any(each.state == "waiting" and not each.front.process.dead for each in self.account.published)
        )

    def _check(self) -> None:
        account, world = self.account, self.world
        topics = [f"/topic/id/probe{number}.example/sid/text" for number in range(len(self._fronts))]
        for front in self._fronts:
            for topic in self._topics:
                front.process.call(front.recall, topic)
        world.run_until(world.now + 0.5)
        account.check_recovered(self._machines)
        account.check_nothing_lost(self._topics)
        for front, topic in zip(self._fronts, topics, strict=True):
            account.publish(front, topic)
        world.run_until(world.now + 2.0)
        account.check_probes(topics)
        account.check_order()


def run(schedule: Schedule, *, trace: bool = False) -> Outcome:
    """Run a schedule. Use inside :func:`simulated`."""
    each = Run(schedule, trace=trace)
    _current[:] = [each]
    size = SMALL_STREAM if schedule.small else {}
    with (
        mock.patch("time.time", each.world.wall),
        mock.patch("os.urandom", each.world.octets),
        mock.patch.dict(vars(stream), size),
    ):
        outcome = each.go()
        gc.collect()  # An error that nobody has handled is reported now, and not in a later run.
    each.account.check_errors()
    return outcome


_current: list[Run] = []


def _is_here() -> bool:
    """Whether it is the simulation that logs, and not a thread that another test has left behind."""
    return bool(_current) and threading.current_thread() is threading.main_thread()


def _log_event(_logger: object, level: str, event: dict[str, Any]) -> Any:
    """To the trace; an error with a traceback is a fault inside the product."""
    if _is_here():
        run_now = _current[0]
        if event.get("exc_info") or level == "critical":
            run_now.parts.errors.append(str(event))
        run_now.world.say("    log %s %s", level, event)
    raise structlog.DropEvent


def _on_twisted_event(event: dict[str, Any]) -> None:
    if event.get("isError") and _is_here():
        failure = event.get("log_failure")
        _current[0].parts.errors.append(failure.getTraceback() if failure is not None else str(event))


@contextmanager
def simulated(level: int = logging.ERROR) -> Iterator[None]:
    """Logs of the product go to the trace of the current run, and to nowhere else."""
    before, disabled, collecting = structlog.get_config(), logging.root.manager.disable, gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()  # Each run ends with a collection of its own.
    structlog.configure(
        processors=[_log_event],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.disable(logging.CRITICAL)
    globalLogPublisher.addObserver(_on_twisted_event)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(_on_twisted_event)
        logging.disable(disabled)
        structlog.configure(**before)
        _current.clear()
        gc.unfreeze()
        if collecting:
            gc.enable()


def minimise(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Leave out actions as long as it still fails."""
    smaller = True
    while smaller:
        smaller = False
        for index in range(len(schedule.actions)):
            actions = schedule.actions[:index] + schedule.actions[index + 1 :]
            fewer = replace(schedule, actions=actions)
            if fails(fewer):
                schedule, smaller = fewer, True
                break
    return schedule
