"""The smallest application: a topic is what it is called, and whoever knows the token may publish on any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

from twisted.internet.defer import Deferred

from fanout.application.interface import Principal, Publication, Refused, ResolvedTopic
from fanout.bus.interface import Bus, together
from fanout.hub.message import Headers, Message


class OpenTopics:
    """An :class:`~fanout.application.interface.Application` in which every name is a topic."""

    def __init__(
        self,
        bus: Bus,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        token: str = "",
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param new_id: makes the id of a message, each another.
        :param token: the password, with any login, of who may publish; empty for everybody.
        """
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._token = token

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """Whoever knows the token."""
        known = compare_digest(passcode.encode(), self._token.encode())
        return Principal(login, login) if known else None

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """A topic is what it is called."""
        return ResolvedTopic(destination)

    async def recall(self, topic: str) -> Message | None:
        """There is no other memory than the hub's."""
        return None

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages. :raises Refused: the client may not publish."""
        if self._token and principal is None:
            raise Refused("not allowed", "This needs the token, as the password of HTTP Basic.")
        when = int(self._clock())
        return tuple(Message(each.destination, each.body, self._new_id(), when, each.headers) for each in publications)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Hand them to the bus; fires when it has all of them."""
        return together(self._bus.publish(each) for each in messages)

    def receipt_headers(self, messages: Sequence[Message]) -> None:
        """There is nothing to add."""
