"""What the watchdog's tasks talk to, as the tests say."""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.defer import Deferred, fail, succeed

from fanout.bus.interface import BusError, BusState
from fanout.hub.message import Message
from radiovis.watchdog.log import Entry, LogError, LogFull, LogState
from radiovis.watchdog.topic_deadlines import Liveness


class FakeBus:
    """A bus that keeps what is published."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.connected = True
        self.refusing = False

    def bodies(self) -> list[tuple[str, str]]:
        return [(message.topic, message.body.decode()) for message in self.published]

    def start(self, receive: object, connected: object) -> None:
        raise NotImplementedError

    def publish(self, message: Message) -> Deferred[None]:
        if self.refusing:
            return fail(BusError("no broker"))
        self.published.append(message)
        return succeed(None)

    def state(self) -> BusState:
        return BusState(self.connected, "as the test says", 0)

    def stop(self) -> Deferred[None]:
        return succeed(None)


class FakeLeader:
    """A leader, unless the test says otherwise. ``truth`` is what the broker would say; False after ``last`` claims."""

    def __init__(self) -> None:
        self.leaderless = 0.0
        self.leading = True
        self.truth = True
        self.claims = 0
        self.last = -1

    async def claim(self) -> bool:
        self.claims += 1
        self.truth = self.truth and self.claims != self.last + 1
        self.leading = self.truth
        return self.truth


class FakeLog:
    """A log in a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.full = False
        self.failing = False
        self.cleanups: list[int] = []

    def add(self, entry: Entry) -> Deferred[None]:
        if self.full:
            return fail(LogFull("the disk is full"))
        self.entries.append(entry)
        return succeed(None)

    def cleanup(self, max_age: int) -> Deferred[int]:
        if self.failing:
            return fail(LogError("the log is down"))
        self.cleanups.append(max_age)
        return succeed(3)

    def state(self) -> LogState:
        return LogState()

    def stop(self) -> Deferred[None]:
        return succeed(None)


class FakeMemory:
    """What was alive before the start."""

    def __init__(self) -> None:
        self.lives: dict[str, Liveness] = {}
        self.asked: list[list[str]] = []

    async def recall(self, topics: Collection[str]) -> dict[str, Liveness]:
        self.asked.append(list(topics))
        return {topic: life for topic, life in self.lives.items() if topic in topics}
