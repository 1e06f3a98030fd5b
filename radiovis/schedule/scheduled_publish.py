"""An application that holds what is to be shown later, and passes on everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from fanout.application.interface import Application, Extension, Principal, Refused
from fanout.bus.interface import together
from fanout.hub.message import Message, Publication
from radiovis.schedule.held_slides import SlideIntake
from radiovis.schedule.timetable import for_now, trigger_time


class ScheduledApplication(Extension):
    """Hands on to another application what is for now."""

    def __init__(
        self, application: Application, entrance: SlideIntake, clock: Callable[[], float], horizon: float
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param horizon: how many seconds ahead a message may be.
        """
        super().__init__(application)
        self._entrance = entrance
        self._clock = clock
        self._horizon = horizon

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """:raises Refused: it is not allowed, or one of them is too far ahead."""
        messages = await self._application.admit(principal, publications)
        latest = self._clock() + self._horizon
        for message in messages:
            if (trigger_time(message) or 0) > latest:
                detail = f"A trigger-time may be {self._horizon:g} s ahead (SCHEDULE_HORIZON)."
                raise Refused("The trigger-time is too far ahead", detail, unfit=True)
        return messages

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Fires when all that goes on air now is with the bus, and all that waits lies safely."""
        now = self._clock()
        later, at_once = [], []
        for message in messages:
            at = trigger_time(message)
            if not message.body or (at or 0) > now:  # An empty body cancels what waits.
                later.append(message)
            else:  # A time that is over means now: some receivers show nothing else (contract §4).
                at_once.append(message if at is None else for_now(message))
        if not later:
            return self._application.publish(at_once)
        begun = [self._entrance.hold(each) for each in later]
        begun += [self._application.publish(at_once)] if at_once else []
        return together(begun)
