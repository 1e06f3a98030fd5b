"""RadioVIS, as the servers ask it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from fanout.application.interface import Application, Principal, Refused, ResolvedTopic
from fanout.application.login_throttle import LoginThrottle
from fanout.application.observer import ClientCounters
from fanout.bus.interface import Bus, together
from fanout.hub.message import Headers, Message, Publication
from radiovis.directory.interface import Directory, DirectoryError
from radiovis.publish_rights import PublishRights
from radiovis.topic_resolution import TopicResolver

_NO_FAST_REPLY = "x-ebu-nofastreply"


class RadioVIS:
    """An :class:`fanout.application.interface.Application`."""

    def __init__(
        self,
        directory: Directory,
        resolver: TopicResolver,
        publishing: PublishRights,
        recall: Callable[[str], Awaitable[Message | None]],
        bus: Bus,
        throttle: LoginThrottle,
        log: Any,
    ) -> None:
        """:param recall: finds the last message of a topic from before the start of this node."""
        self._directory = directory
        self._resolver = resolver
        self._publishing = publishing
        self._recall = recall
        self._bus = bus
        self._throttle = throttle
        self._log = log

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """Who this is. A directory that does not answer lets nobody in, and says so in no other words than for a wrong
        password (contract §1.4).
        """
        await self._throttle.turn(address, login)
        try:
            known = await self._directory.check_auth(login, passcode, address)
        except DirectoryError as error:
            self._log.warning("login.unanswered", login=login, reason=str(error))
            detail = "The directory of stations does not answer; try again later."
            raise Refused("Wrong credentials", detail, temporary=True) from None
        if not known:
            self._throttle.failed(address, login)
            return None
        self._throttle.succeeded(address, login)
        return Principal(login, login.partition(".")[0])

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """The hub's key; the last slide is wanted unless ``x-ebu-nofastreply`` is exactly ``yes`` (contract §1.7)."""
        wanted = dict(reversed(headers)).get(_NO_FAST_REPLY) != "yes"  # the first of repeated headers counts
        return ResolvedTopic(await self._resolver.resolve(destination), replay=wanted)

    async def recall(self, topic: str) -> Message | None:
        """The last slide that another node kept, or this one before its start."""
        return await self._recall(topic)

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages these publications make, if they are allowed."""
        return await self._publishing.admit(principal, publications)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Hand messages to the bus; fires when it has all of them."""
        if len(messages) == 1:
            return self._bus.publish(messages[0])
        if not messages:
            return succeed(None)
        return together(self._bus.publish(each) for each in messages)

    def receipt_headers(self, messages: Sequence[Message]) -> None:
        """The broker has them: there is nothing to add."""


class CountedApplication:
    """Counts the answers of another application. One of these stands before all servers, so none of them counts.

    It is no :class:`~fanout.application.interface.Extension`: methods that count nothing are the inner application's
    own, so that a publish costs no call more.
    """

    def __init__(self, application: Application, counters: ClientCounters) -> None:
        self._application = application
        self._counters = counters
        self.resolve = application.resolve
        self.recall = application.recall
        self.receipt_headers = application.receipt_headers

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """See :meth:`Application.login <fanout.application.interface.Application.login>`."""
        try:
            principal = await self._application.login(login, passcode, address)
        except Refused:
            self._counters.logins["unanswered"] += 1
            raise
        self._counters.logins["refused" if principal is None else "accepted"] += 1
        return principal

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """See :meth:`Application.admit <fanout.application.interface.Application.admit>`."""
        try:
            return await self._application.admit(principal, publications)
        except Refused as refused:
            self._counters.publishes["unanswered" if refused.temporary else "forbidden"] += len(publications)
            raise

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """See :meth:`Application.publish <fanout.application.interface.Application.publish>`."""
        published = self._application.publish(messages)
        return published.addCallbacks(self._published, self._failed, callbackArgs=(messages,), errbackArgs=(messages,))

    def _published(self, result: None, messages: Sequence[Message]) -> None:
        self._counters.publishes["accepted"] += len(messages)
        self._counters.published_octets += sum(len(message.body) for message in messages)

    def _failed(self, failure: Failure, messages: Sequence[Message]) -> Failure:
        self._counters.publishes["bus"] += len(messages)
        return failure
