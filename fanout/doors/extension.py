"""An application around another one."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred

from fanout.doors.application import Application, Principal, Tuned
from fanout.message import Message
from fanout.stomp.events import Send
from fanout.stomp.frame import Headers


class Extension:
    """An :class:`~fanout.doors.application.Application` that hands everything on; its subclasses change some of it.

    Each method is what :class:`~fanout.doors.application.Application` says of it.
    """

    def __init__(self, application: Application) -> None:
        """:param application: the inner one."""
        self._application = application

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """Who this is."""
        return await self._application.login(login, passcode, address)

    async def tune(self, destination: str, headers: Headers) -> Tuned:
        """What a subscription means."""
        return await self._application.tune(destination, headers)

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic, from the other nodes."""
        return await self._application.recall(topic)

    async def admit(self, principal: Principal | None, sends: Sequence[Send]) -> tuple[Message, ...]:
        """The messages these SENDs make."""
        return await self._application.admit(principal, sends)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Hand admitted messages to the bus."""
        return self._application.publish(messages)

    def remarks(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """What there is to tell whoever published these."""
        return self._application.remarks(messages)
