"""An application that holds what is to be shown later, and passes on everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from fanout.doors.application import Application, Principal, Refused, Tuned
from fanout.message import Message
from fanout.stomp.events import Send
from fanout.stomp.frame import Headers
from radiovis.schedule.shelf import Entrance
from radiovis.schedule.trigger_time import for_now, trigger_time


class ScheduledApplication:
    """An :class:`~fanout.doors.application.Application` that hands everything on to another one."""

    def __init__(
        self, application: Application, entrance: Entrance, clock: Callable[[], float], horizon: float
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param horizon: how many seconds ahead a message may be.
        """
        self._application = application
        self._entrance = entrance
        self._clock = clock
        self._horizon = horizon

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """See :meth:`Application.login <fanout.doors.application.Application.login>`."""
        return await self._application.login(login, passcode, address)

    async def tune(self, destination: str, headers: Headers) -> Tuned:
        """See :meth:`Application.tune <fanout.doors.application.Application.tune>`."""
        return await self._application.tune(destination, headers)

    async def recall(self, topic: str) -> Message | None:
        """See :meth:`Application.recall <fanout.doors.application.Application.recall>`."""
        return await self._application.recall(topic)

    async def admit(self, principal: Principal | None, sends: Sequence[Send]) -> tuple[Message, ...]:
        """:raises Refused: it is not allowed, or one of them is too far ahead."""
        messages = await self._application.admit(principal, sends)
        latest = self._clock() + self._horizon
        for message in messages:
            if (trigger_time(message) or 0) > latest:
                detail = f"A trigger-time may be {self._horizon:g} s ahead (SCHEDULE_HORIZON)."
                raise Refused("The trigger-time is too far ahead", detail, unfit=True)
        return messages

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Fires when all that goes on air now is with the bus, and all that waits lies safely."""
        now = self._clock()
        later = [each for each in messages if _waits(each, now)]
        if not later:
            return self._application.publish([_without_past(each) for each in messages])
        at_once = [_without_past(each) for each in messages if not _waits(each, now)]
        begun = [self._entrance.hold(each) for each in later]
        begun += [self._application.publish(at_once)] if at_once else []
        return gatherResults(begun, consumeErrors=True).addCallbacks(lambda _: None, _first)

    def remarks(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """See :meth:`Application.remarks <fanout.doors.application.Application.remarks>`."""
        return self._application.remarks(messages)


def _waits(message: Message, now: float) -> bool:
    """Whether it is for later, or, with an empty body, cancels what is."""
    return not message.body or (trigger_time(message) or 0) > now


def _without_past(message: Message) -> Message:
    """A time that is over means now: some receivers show nothing else (contract §4)."""
    return message if trigger_time(message) is None else for_now(message)


def _first(failure: Failure) -> Failure:
    """The failure inside what ``gatherResults`` made of it."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
