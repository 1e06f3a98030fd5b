"""An application whose answers are counted: one piece for all doors, as none of them counts itself."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.doors.application import Application, Principal, Refused, Tuned
from fanout.doors.tally import Tally
from fanout.message import Message
from fanout.stomp.events import Send
from fanout.stomp.frame import Headers


class CountedApplication:
    """An :class:`~fanout.doors.application.Application` that hands everything on to another one."""

    def __init__(self, application: Application, tally: Tally) -> None:
        self._application = application
        self._tally = tally

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """See :meth:`Application.login <fanout.doors.application.Application.login>`."""
        try:
            principal = await self._application.login(login, passcode, address)
        except Refused:
            self._tally.logins["unanswered"] += 1
            raise
        self._tally.logins["refused" if principal is None else "accepted"] += 1
        return principal

    async def tune(self, destination: str, headers: Headers) -> Tuned:
        """See :meth:`Application.tune <fanout.doors.application.Application.tune>`."""
        return await self._application.tune(destination, headers)

    async def recall(self, topic: str) -> Message | None:
        """See :meth:`Application.recall <fanout.doors.application.Application.recall>`."""
        return await self._application.recall(topic)

    async def admit(self, principal: Principal | None, sends: Sequence[Send]) -> tuple[Message, ...]:
        """See :meth:`Application.admit <fanout.doors.application.Application.admit>`."""
        try:
            return await self._application.admit(principal, sends)
        except Refused as refused:
            self._tally.publishes["unanswered" if refused.temporary else "forbidden"] += len(sends)
            raise

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """See :meth:`Application.publish <fanout.doors.application.Application.publish>`."""
        published = self._application.publish(messages)
        return published.addCallbacks(self._published, self._failed, callbackArgs=(messages,), errbackArgs=(messages,))

    def remarks(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """See :meth:`Application.remarks <fanout.doors.application.Application.remarks>`."""
        return self._application.remarks(messages)

    def _published(self, result: None, messages: Sequence[Message]) -> None:
        self._tally.publishes["accepted"] += len(messages)
        self._tally.published_octets += sum(len(message.body) for message in messages)

    def _failed(self, failure: Failure, messages: Sequence[Message]) -> Failure:
        self._tally.publishes["bus"] += len(messages)
        return failure
