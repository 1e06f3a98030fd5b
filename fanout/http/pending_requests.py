"""What HTTP requests that wait for messages have in common: polls and event streams stay open for a long time.

:class:`PendingRequests` is what they share on a node, :class:`PendingRequest` is what each of them offers, and
:class:`TopicSubscription` is the topics of one request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults

from fanout.application.interface import Application, Refused
from fanout.http.limits import MAX_TOPICS, HttpServerSettings
from fanout.http.response import HttpError
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher
from fanout.hub.subscriber import Cohort, Form, Subscriber
from fanout.hub.timer_wheel import Wheel
from fanout.listeners.client_limits import SubscriptionLimit


class PendingRequest(Protocol):
    """A request that waits for messages.

    :ivar slot: for the wheel.
    """

    slot: int | None

    @property
    def protocol(self) -> str:
        """What the client speaks, in a word."""
        ...

    def on_timer(self, now: float) -> None:
        """For the wheel."""
        ...

    def close(self) -> None:
        """Answer or end it, as the node shuts down."""
        ...


@dataclass(eq=False, slots=True)
class PendingRequests:
    """What all polls and streams of a node share.

    :ivar settings: HTTP_MAX_LISTENERS, HTTP_POLL_TIMEOUT and so on; new values count for requests to come, and for
        timers that are set anew.
    :ivar later: calls a function after so many seconds.
    :ivar clock: seconds, monotonic; the wheel's and the flusher's too.
    :ivar warn: logs a client's fault: event name, address, fields.
    :ivar failed: is called with a client whose answer raised, and the exception.
    :ivar subscription_limit: how many subscriptions there may be, shared with other servers.
    :ivar replay: messages of the history that are sent to one client at once.
    """

    application: Application
    hub: Hub
    history: History
    flusher: Flusher
    later: Callable[[float, Callable[[], None]], object]
    clock: Callable[[], float]
    warn: Callable[..., None]
    failed: Callable[[object, Exception], None]
    settings: HttpServerSettings = field(default_factory=HttpServerSettings)
    replay: int = 64
    subscription_limit: SubscriptionLimit = field(default_factory=SubscriptionLimit)
    wheel: Wheel[PendingRequest] = field(default_factory=Wheel)
    pending: set[PendingRequest] = field(default_factory=set)

    def tick(self) -> None:
        """Look at every client that is due. To be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self.failed)

    async def resolve(self, destinations: Sequence[str]) -> list[str]:
        """The hub's key of each destination; its last message is then in the hub, if any node knows one.

        :raises HttpError: there is no room, or a destination means nothing.
        """
        if len(self.pending) >= self.settings.HTTP_MAX_LISTENERS:
            raise HttpError(503, "Too many clients listen here; try again later.", Retry_After="10")
        if len(destinations) > MAX_TOPICS:
            raise HttpError(400, f"Up to {MAX_TOPICS} topics at once; these are {len(destinations)}.")
        return await self.keys(destinations)

    async def keys(self, destinations: Sequence[str]) -> list[str]:
        """As :meth:`resolve`, for a client that does not listen. :raises HttpError: a destination means nothing."""
        try:
            keys = [(await self.application.resolve(destination, ())).topic for destination in destinations]
        except Refused as refused:
            raise HttpError(400, refused.detail or refused.summary) from None
        recalled = (self.hub.recall(key, self.application.recall) for key in keys if self.hub.last(key) is None)
        await gatherResults([Deferred.fromCoroutine(each) for each in recalled], consumeErrors=True)
        return keys


class TopicSubscription:
    """The topics one request listens to: its cohorts, and the messages on them."""

    __slots__ = ("_address", "_cohorts", "_requests")

    def __init__(
        self, requests: PendingRequests, keys: Sequence[str], forms: Sequence[Form], member: Subscriber, address: str
    ) -> None:
        """:raises HttpError: the address, or all clients together, have too many subscriptions already."""
        self._requests = requests
        self._address = address
        if not requests.subscription_limit.take(address, len(keys)):
            raise HttpError(503, "Too many subscriptions here; try again later.", Retry_After="10")
        self._cohorts = tuple(requests.hub.join(key, form, member)[0] for key, form in zip(keys, forms, strict=True))

    def close(self, member: Subscriber) -> None:
        """Listen no more. May be called again."""
        cohorts, self._cohorts = self._cohorts, ()
        for cohort in cohorts:
            self._requests.hub.leave(cohort, member)
        self._requests.subscription_limit.give_back(self._address, len(cohorts))

    def newest(self) -> list[tuple[Cohort, Message]]:
        """The last message of each topic, the oldest first."""
        known = [(cohort, self._requests.hub.last(cohort.topic)) for cohort in self._cohorts]
        found = [(cohort, message) for cohort, message in known if message is not None]
        return sorted(found, key=lambda each: self._requests.history.place(each[0].topic, each[1]))

    def since(self, last_id: str, limit: int) -> list[tuple[Cohort, Message]] | None:
        """What followed the message with this id, the oldest first; None when this node does not know it.

        :param limit: at most so many, those of cohorts with the same topic counted for each of them.
        """
        topics = {cohort.topic for cohort in self._cohorts}
        position = self._requests.history.position(topics, last_id)
        if position is None:
            return [] if last_id in {message.message_id for _, message in self.newest()} else None
        following = self._requests.history.after(topics, position, limit)
        found = ((cohort, each.message) for each in following for cohort in self._cohorts if cohort.topic == each.topic)
        return list(islice(found, limit))
