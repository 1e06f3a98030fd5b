"""The seam between the doors and the application they serve."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from fanout.hub.message import Message
from fanout.stomp.events import Send
from fanout.stomp.frame import Headers


class Refused(Exception):
    """The application will not do what a client asks.

    :ivar summary: a few words for the client.
    :ivar detail: one or two sentences: why, and what to do.
    :ivar temporary: whether the same request may well succeed later.
    :ivar unfit: whether what was sent is at fault, and not who sent it.
    """

    def __init__(self, summary: str, detail: str = "", *, temporary: bool = False, unfit: bool = False) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.temporary = temporary
        self.unfit = unfit


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has logged in.

    :ivar login: as the client gave it; for logs.
    :ivar name: whom it stands for, in the application's terms.
    """

    login: str
    name: str


@dataclass(frozen=True, slots=True)
class ResolvedTopic:
    """Where a subscription belongs.

    :ivar topic: the hub's key.
    :ivar replay: whether the client wants the last message at once.
    """

    topic: str
    replay: bool = True


class Application(Protocol):
    """What the doors ask. Nothing here blocks; an exception other than :class:`Refused` is a bug and is logged."""

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """Who this is; None for wrong credentials.

        :param address: the client's, in text form.
        :raises Refused: it cannot be found out now, or this address has failed too often.
        """
        ...

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """What a subscription means. :raises Refused: nothing."""
        ...

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic this node has none of, from wherever the nodes share them.

        Everybody who asks at the same time gets the same object.
        """
        ...

    async def admit(self, principal: Principal | None, sends: Sequence[Send]) -> tuple[Message, ...]:
        """The messages these SENDs make. :raises Refused: when any of them is not allowed; then none is published.

        :param principal: None for an anonymous client.
        """
        ...

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Hand admitted messages to the bus; fires when it has all of them, fails with :class:`fanout.bus.BusError`."""
        ...

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """What there is to tell whoever published these, and wants an answer; None when there is nothing.

        :raises Refused: nothing.
        """
        ...


# An application around another one.


class Extension:
    """An :class:`~fanout.application.interface.Application` that hands everything on; its subclasses change some of it.

    Each method is what :class:`~fanout.application.interface.Application` says of it.
    """

    def __init__(self, application: Application) -> None:
        """:param application: the inner one."""
        self._application = application

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """Who this is."""
        return await self._application.login(login, passcode, address)

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """What a subscription means."""
        return await self._application.resolve(destination, headers)

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic, from the other nodes."""
        return await self._application.recall(topic)

    async def admit(self, principal: Principal | None, sends: Sequence[Send]) -> tuple[Message, ...]:
        """The messages these SENDs make."""
        return await self._application.admit(principal, sends)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Hand admitted messages to the bus."""
        return self._application.publish(messages)

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """What there is to tell whoever published these."""
        return self._application.receipt_headers(messages)
