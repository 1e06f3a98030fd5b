"""Sends the held messages when they are due (:class:`HeldSlides`). This is a task of the watchdog, and only the leader
does it.

A :class:`SlideStore` stores held messages, so that no crash loses them: in a queue of the broker, or in a SQLite file.
Each store has a file of its own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol, runtime_checkable

import structlog
from twisted.internet.defer import Deferred, FirstError, gatherResults

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Leader
from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.message import Message
from radiovis.schedule.trigger_time import SlideIntake, for_now, trigger_time

# The held messages, in the order in which they are due. Sans-IO, and without a clock. The name of a message is its
# topic, as its publisher spells it, and its message-id. The next message with the same name replaces it, whether that
# message is held or sent at once. A message with an empty body cancels it.

MOST_HELD = 1_000
"""How many messages of all stations may be held at a time. Each has at most MAX_FRAME_BYTES (256 KiB), so all of them
take at most 250 MiB; usually they take 1 MB."""
HEARD = 10_000
"""How many sent messages are remembered, so that a message sent just before a leader died is not sent again."""

Name = tuple[str, str]
"""Topic and message-id."""


@dataclass(frozen=True, slots=True)
class Held:
    """One held message.

    :ivar message: the message.
    :ivar at: Unix time in seconds at which it is due.
    :ivar number: rises with the order of arrival.
    :ivar ticket: the store's number of the message.
    """

    message: Message
    at: float
    number: int
    ticket: int

    @property
    def name(self) -> Name:
        """The name of the message."""
        return name_of(self.message)


def name_of(message: Message) -> Name:
    """The name of a message."""
    return message.topic, message.message_id


def _order(held: Held) -> tuple[float, int]:
    """The sort key: by time, and then by arrival; no two are equal."""
    return held.at, held.number


class Timetable:
    """The held messages, by the time at which they are due."""

    def __init__(self) -> None:
        self._held: dict[Name, Held] = {}
        self._in_order: list[Held] = []  # the same messages, sorted
        self._heard: BoundedDict[Name, int] = BoundedDict(HEARD)
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, message: Message, at: float, ticket: int) -> Held | None:
        """Add a message. Returns the message that it replaces.

        If a message with this name was sent after this one was published, this one is not added, and is returned
        itself.

        :param at: Unix time in seconds at which it is due.
        :param ticket: the store's number of the message.
        """
        self._arrived += 1
        held = Held(message, at, self._arrived, ticket)
        if self._heard.get(held.name, message.when) > message.when:
            return held
        before = self.cancel(held.name)
        self._held[held.name] = held
        insort(self._in_order, held, key=_order)
        return before

    def cancel(self, name: Name) -> Held | None:
        """Remove a message. Returns it, or None if there was none."""
        held = self._held.pop(name, None)
        if held is not None:
            del self._in_order[bisect_left(self._in_order, _order(held), key=_order)]
        return held

    def heard(self, message: Message) -> Held | None:
        """A message was sent. Removes and returns the held message with its name that was published before it."""
        name = name_of(message)
        self._heard[name] = message.when
        held = self._held.get(name)
        return self.cancel(name) if held is not None and held.message.when <= message.when else None

    def remove(self, held: Held) -> bool:
        """Remove exactly this message. Returns whether it was still held."""
        if self._held.get(held.name) is not held:
            return False
        self.cancel(held.name)
        return True

    def forget(self) -> None:
        """Drop all held messages; the names of sent messages stay known."""
        self._held.clear()
        self._in_order.clear()

    def next_at(self) -> float | None:
        """When the next message is due; None if nothing is held."""
        return self._in_order[0].at if self._in_order else None

    def due(self, now: float, limit: int) -> list[Held]:
        """The due messages, in the order of their times. Each stays until it is removed.

        :param now: Unix time in seconds. It may jump.
        :param limit: how many at most.
        """
        return list(takewhile(lambda held: held.at <= now, self.upcoming(limit)))

    def upcoming(self, limit: int) -> list[Held]:
        """The next messages, in the order of their times."""
        return self._in_order[:limit]


Take = Callable[[Message, int], None]
"""Called with each message of a store, in the order of arrival, and with the store's number of the message, the
ticket."""


class SlideStore(Protocol):
    """A store as the leading watchdog uses it: passes on the held messages."""

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Start to pass on the held messages and new ones, or continue.

        :param take: called with each message.
        :param forget: called if all messages passed on so far will be passed on again, with other tickets.
        :param room: whether there is room for more messages.
        :raises BusError: the store cannot be read now.
        """

    def done(self, ticket: int) -> None:
        """Drop a message."""

    async def stop(self) -> None:
        """Pass on no more messages. Messages that are not done stay in the store."""


@runtime_checkable
class LocalSlideStore(SlideIntake, SlideStore, Protocol):
    """Optional ability of an intake that is the store as well, so that the same process can send the messages."""


AT_ONCE = 100
"""How many messages are sent at once. The next ones follow when these are confirmed, so that clients are served in
between."""
SHOWN = 20
"""How many of the next messages status and dashboard show."""
_BODY = 600  # characters of a body that are shown

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class HeldCounters:
    """Counts of held messages since the start: sent at their time, replaced by a later publish, and cancelled."""

    sent: int = 0
    replaced: int = 0
    cancelled: int = 0


class HeldSlides:
    """Holds messages, and sends them when they are due."""

    def __init__(
        self,
        store: SlideStore,
        bus: Bus,
        leader: Leader,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        most: int = MOST_HELD,
    ) -> None:
        """
        :param store: stores the held messages.
        :param bus: publishes them.
        :param leader: the election.
        :param clock: Unix time in seconds that does not jump, for the time of each message.
        :param wall: Unix time in seconds by the machine's clock, which may jump. It decides which messages are due,
            because people set a trigger-time by such a clock.
        :param most: how many messages may be held at a time.
        """
        self.counters = HeldCounters()
        self._store = store
        self._bus = bus
        self._leader = leader
        self._clock = clock
        self._wall = wall
        self._most = most
        self._timetable = Timetable()
        self._sending: set[Name] = set()

    def __len__(self) -> int:
        return len(self._timetable)

    @property
    def is_due(self) -> bool:
        """Whether a message is due."""
        next_at = self._timetable.next_at()
        return next_at is not None and next_at <= self._wall()

    async def send_due(self) -> None:
        """Send all due messages.

        :raises BusError: the broker or the file does not answer. Messages that were not sent stay due.
        """
        if not self._leader.leading:
            self._timetable.forget()
            return
        await self._store.ensure(self._take, self._timetable.forget, room=len(self._timetable) < self._most)
        if self.is_due and await self._leader.claim():
            await self._send_due()

    def heard(self, message: Message) -> None:
        """A message was sent. It replaces the held message with its name."""
        if name_of(message) in self._sending:
            return  # This process sent it, and handles its confirm.
        replaced = self._timetable.heard(message)
        if replaced is not None:
            self.counters.replaced += 1
            self._store.done(replaced.ticket)

    def report(self) -> dict[str, Any]:
        """The held messages, for the status command and the dashboard."""
        following = [
            {
                "topic": held.message.topic,
                "message_id": held.message.message_id,
                "at": held.at,
                "body": held.message.body.decode(errors="replace")[:_BODY],
            }
            for held in self._timetable.upcoming(SHOWN)
        ]
        return {"held": len(self), "most": self._most, "next": following}

    async def stop(self) -> None:
        """Stop sending. The store keeps the held messages."""
        await self._store.stop()

    # From the store

    def _take(self, message: Message, ticket: int) -> None:
        if not message.body:
            self._cancel(message, ticket)
            return
        at = trigger_time(message)
        if at is None:
            log.warning("schedule.no_time", topic=message.topic, message_id=message.message_id, advice="dropped")
            self._store.done(ticket)
            return
        replaced = self._timetable.hold(message, at, ticket)
        log.debug("schedule.held", topic=message.topic, message_id=message.message_id, at=at)
        if replaced is not None:
            self.counters.replaced += 1
            self._store.done(replaced.ticket)

    def _cancel(self, message: Message, ticket: int) -> None:
        """Drop the cancelled message first: after a crash in between, the next leader finds the cancellation."""
        cancelled = self._timetable.cancel(name_of(message))
        if cancelled is not None:
            self.counters.cancelled += 1
            log.info("schedule.cancelled", topic=message.topic, message_id=message.message_id)
            self._store.done(cancelled.ticket)
        self._store.done(ticket)

    # Sending

    async def _send_due(self) -> None:
        while due := self._timetable.due(self._wall(), AT_ONCE):
            if not self._leader.leading:
                raise BusError("the lead was lost while held messages were sent")
            await _all([self._send(held) for held in due])

    def _send(self, held: Held) -> Deferred[None]:
        self._sending.add(held.name)
        sent = self._bus.publish(for_now(held.message, int(self._clock())))
        return sent.addCallback(self._sent, held).addBoth(self._answered, held)

    def _sent(self, _: None, held: Held) -> None:
        self.counters.sent += 1
        late = round(self._wall() - held.at, 3)
        log.info("schedule.sent", topic=held.message.topic, message_id=held.message.message_id, late=late)
        if self._timetable.remove(held):
            self._store.done(held.ticket)

    def _answered(self, outcome: Any, held: Held) -> Any:
        self._sending.discard(held.name)
        return outcome


async def _all(begun: list[Deferred[None]]) -> None:
    """Wait for all of them.

    :raises BusError: one of them failed.
    """
    try:
        await gatherResults(begun, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
