"""One simulated time for everything: :class:`World` calls what is due. A :class:`Process` can be paused or killed.

Each process has a clock of its own (a ``twisted.internet.task.Clock``), on which the product's timers lie. It stands
still while the process is paused, and is dropped when the process is killed: nothing else has to be cancelled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock

EPOCH = 1_800_000_000
"""Unix time at which a simulation begins."""


class ProcessClock(Clock):
    """A Clock whose calls lie among the events of the world. :ivar calls: those to come."""

    calls: dict[DelayedCall, None]  # type: ignore[assignment]  # A list there, in which every call would be searched.

    def __init__(self, world: World, process: Process) -> None:
        super().__init__()
        self.rightNow = world.now
        self.calls = {}
        self._world = world
        self._process = process

    def callLater(self, delay: float, function: Callable[..., object], *args: object, **kw: object) -> Any:
        call = DelayedCall(self.seconds() + delay, function, args, kw, self._cancelled, self._place, self.seconds)
        self.calls[call] = None
        self._place(call)
        return call

    def _place(self, call: DelayedCall) -> None:
        self._world.at(call.getTime(), self._due, call)

    def _cancelled(self, call: DelayedCall) -> None:
        self.calls.pop(call, None)  # A process that was killed has none any more.

    def _due(self, call: DelayedCall) -> None:
        if call not in self.calls or self._process.paused:
            return  # It was cancelled, or is made when the process goes on.
        now = self.rightNow = self._world.now
        if call.getTime() > now:
            self._place(call)  # It was put off.
            return
        self._make(call)

    def _make(self, call: DelayedCall) -> None:
        del self.calls[call]
        call.called = 1
        call.func(*call.args, **call.kw)

    def catch_up(self) -> None:
        """Make the calls that were due while the process was paused, in order."""
        now = self.rightNow = self._world.now
        for call in sorted(self.calls, key=DelayedCall.getTime):
            if call in self.calls and call.getTime() <= now:
                self._make(call)


class Process:
    """A process of an operating system."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.clock = ProcessClock(world, self)
        self.paused = False
        self.dead = False
        self._world = world
        self._backlog: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Something came from outside. A paused process sees it later, a dead one never."""
        if self.dead:
            return
        if self.paused:
            self._backlog.append((function, args))
            return
        self.clock.rightNow = self._world.now
        function(*args)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        if self.dead or not self.paused:
            return
        self.paused = False
        backlog, self._backlog = self._backlog, []
        self.clock.catch_up()
        for function, args in backlog:
            self.call(function, *args)

    def kill(self) -> None:
        self.dead = True
        self._backlog.clear()
        self.clock.calls.clear()


class World:
    """The time, what is due next, and the one source of chance.

    :ivar now: seconds since the beginning.
    :ivar rng: decides latencies; it comes from the seed.
    :ivar faults: decides how long faults last that have no length of their own; it comes from the seed, too.
    :ivar wall_error: seconds that the machines' clocks are fast.
    :ivar octets: ``os.urandom()`` of all machines, from which UUIDs are made.
    :ivar trace: lines about what happens; None if nobody asks for them.
    """

    def __init__(self, seed: object) -> None:
        self.now = 0.0
        self.rng = Random(str(seed))
        self.faults = Random(f"faults {seed}")
        self.wall_error = 0.0
        self.trace: list[str] | None = None
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()
        self.octets = Random(f"octets {seed}").randbytes

    def wall(self) -> float:
        """``time.time()`` of all machines."""
        return EPOCH + self.now + self.wall_error

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Call at a time."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), call, args))

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        """Call after some seconds."""
        self.at(self.now + delay, call, *args)

    def say(self, text: str, *args: object) -> None:
        """Add a line to the trace, if there is one."""
        if self.trace is not None:
            self.trace.append(f"{self.now:8.3f}  {text % args if args else text}")

    def run_until(self, end: float) -> None:
        """Let time pass."""
        events = self._events
        while events and events[0][0] <= end:
            self.now, _, call, args = heapq.heappop(events)
            call(*args)
        self.now = end
