"""An application whose answers are counted: one piece for all doors, as none of them counts itself."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.doors.application import Application, Principal, Refused
from fanout.doors.extension import Extension
from fanout.doors.tally import Tally
from fanout.message import Message
from fanout.stomp.events import Send


class CountedApplication(Extension):
    """Hands everything on to another application, and counts what comes back."""

    def __init__(self, application: Application, tally: Tally) -> None:
        super().__init__(application)
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

    def _published(self, result: None, messages: Sequence[Message]) -> None:
        self._tally.publishes["accepted"] += len(messages)
        self._tally.published_octets += sum(len(message.body) for message in messages)

    def _failed(self, failure: Failure, messages: Sequence[Message]) -> Failure:
        self._tally.publishes["bus"] += len(messages)
        return failure
