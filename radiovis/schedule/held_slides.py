"""Sends what is held when its time has come. A task of the watchdog; only the one that leads does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import structlog
from twisted.internet.defer import Deferred, FirstError, gatherResults

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Leader
from fanout.hub.message import Message
from radiovis.schedule.timetable import Held, Name, Timetable, for_now, name_of, trigger_time

# The seam between the schedule and where held messages lie, so that no crash loses them.

Take = Callable[[Message, int], None]
"""Is given each message of a shelf, in the order they were put there, with the ticket by which the shelf knows it."""


class SlideIntake(Protocol):
    """Where nodes put messages that are to be shown later, and those with an empty body that cancel one."""

    def hold(self, message: Message) -> Deferred[None]:
        """Keep a message; fires when no crash can lose it. Fails with :class:`~fanout.bus.interface.BusError`."""


@runtime_checkable
class SlideStore(Protocol):
    """What the watchdog that leads takes them from."""

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Give what lies there, and from now on what comes; or go on.

        :param forget: called when all that was given will be given again, with other tickets.
        :param room: whether more is wanted.
        :raises BusError: it cannot be had now.
        """

    def done(self, ticket: int) -> None:
        """A message needs not be kept any longer."""

    async def stop(self) -> None:
        """Give no more. What is not done stays."""


AT_ONCE = 100
"""Sent side by side, and then confirmed, before the next ones: radios get their turn in between."""
SHOWN = 20
"""The next ones, for status and dashboard."""
_BODY = 600  # characters of a body that are shown

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ScheduleCounters:
    """What happened since the start: sent at their time; replaced by a later publish; cancelled."""

    sent: int = 0
    replaced: int = 0
    cancelled: int = 0


class Schedule:
    """What is held, and its way on air."""

    def __init__(
        self,
        store: SlideStore,
        bus: Bus,
        leader: Leader,
        most: int,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """
        :param most: messages held, beyond which no more are wanted.
        :param clock: Unix time in seconds, by which all messages are stamped.
        :param wall: the same by the machine's clock, which may jump: what is due is what people read there.
        """
        self.counters = ScheduleCounters()
        self._shelf = store
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
        """Whether something is to be sent now."""
        next_at = self._timetable.next_at()
        return next_at is not None and next_at <= self._wall()

    async def send_due(self) -> None:
        """One round.

        :raises BusError: the broker, or the file, is not there; what could not be sent is due again with the next one.
        """
        if not self._leader.leading:
            self._timetable.forget()
            return
        await self._shelf.ensure(self._take, self._timetable.forget, room=len(self._timetable) < self._most)
        if self.is_due and await self._leader.claim():
            await self._send_due()

    def heard(self, message: Message) -> None:
        """A message is on air: it replaces the one that is held under its name."""
        if name_of(message) in self._sending:
            return  # Its way ends with its confirm.
        replaced = self._timetable.heard(message)
        if replaced is not None:
            self.counters.replaced += 1
            self._shelf.done(replaced.ticket)

    def report(self) -> dict[str, Any]:
        """What is held, for the status command and the dashboard."""
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
        """Send no more; what is held stays where it lies."""
        await self._shelf.stop()

    # From the shelf

    def _take(self, message: Message, ticket: int) -> None:
        if not message.body:
            self._cancel(message, ticket)
            return
        at = trigger_time(message)
        if at is None:
            log.warning("schedule.no_time", topic=message.topic, message_id=message.message_id, advice="dropped")
            self._shelf.done(ticket)
            return
        replaced = self._timetable.hold(message, at, ticket)
        log.debug("schedule.held", topic=message.topic, message_id=message.message_id, at=at)
        if replaced is not None:
            self.counters.replaced += 1
            self._shelf.done(replaced.ticket)

    def _cancel(self, message: Message, ticket: int) -> None:
        """What it cancels goes first: should we die in between, the cancellation is there for the next one."""
        cancelled = self._timetable.cancel(name_of(message))
        if cancelled is not None:
            self.counters.cancelled += 1
            log.info("schedule.cancelled", topic=message.topic, message_id=message.message_id)
            self._shelf.done(cancelled.ticket)
        self._shelf.done(ticket)

    # On air

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
            self._shelf.done(held.ticket)

    def _answered(self, outcome: Any, held: Held) -> Any:
        self._sending.discard(held.name)
        return outcome


async def _all(begun: list[Deferred[None]]) -> None:
    """Wait for all of them. :raises BusError: one of them failed."""
    try:
        await gatherResults(begun, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
