"""HTTP requests that wait for messages: polls and event streams, which stay open for a long time.

:class:`PendingRequests` contains the objects that they share on a node, :class:`PendingRequest` is their interface, and
:class:`TopicSubscription` subscribes one request to its topics.
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

    :ivar slot: the position of the request in the timer wheel; only the wheel uses it.
    """

    slot: int | None

    @property
    def protocol(self) -> str:
        """The kind of the request in one word, as a label of metrics."""
        ...

    def on_timer(self, now: float) -> None:
        """Check the time limits. Called by the timer wheel."""
        ...

    def close(self) -> None:
        """Answer or end the request, because the node shuts down."""
        ...


@dataclass(eq=False, slots=True)
class PendingRequests:
    """The objects that all polls and streams of a node share.

    :ivar application: resolves destinations to topics, and recalls last messages.
    :ivar hub: delivers the messages.
    :ivar history: the messages of the last minutes, for clients that come back.
    :ivar flusher: writes the outboxes of event streams.
    :ivar settings: HTTP_MAX_LISTENERS, HTTP_POLL_TIMEOUT and so on; new values apply to later requests and timers.
    :ivar later: calls a function after a number of seconds.
    :ivar clock: a monotonic clock in seconds; the wheel and the flusher use the same.
    :ivar warn: logs a client's fault; called with event name, address and fields.
    :ivar failed: called with a request whose answer raised an exception, and the exception.
    :ivar subscription_limit: limits the number of subscriptions, together with other servers.
    :ivar replay: the maximum number of messages of the history that one request gets.
    :ivar wheel: calls the timers of the requests.
    :ivar pending: the requests that wait.
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
        """Call ``on_timer`` of every request that is due. Must be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self.failed)

    async def resolve(self, destinations: Sequence[str]) -> list[str]:
        """Resolve destinations to keys of the hub. Afterwards the hub has the last message of each, if a node knows it.

        :param destinations: the destinations, in the client's spelling.
        :raises HttpError: too many requests wait, there are too many destinations, or one of them is invalid.
        """
        if len(self.pending) >= self.settings.HTTP_MAX_LISTENERS:
            raise HttpError(
                503, "Too many clients wait for messages on this server; try again later.", Retry_After="10"
            )
        if len(destinations) > MAX_TOPICS:
            raise HttpError(400, f"Up to {MAX_TOPICS} topics at once; these are {len(destinations)}.")
        return await self.keys(destinations)

    async def keys(self, destinations: Sequence[str]) -> list[str]:
        """Like :meth:`resolve`, for a request that does not wait. :raises HttpError: a destination is invalid."""
        try:
            keys = [(await self.application.resolve(destination, ())).topic for destination in destinations]
        except Refused as refused:
            raise HttpError(400, refused.detail or refused.summary) from None
        recalled = (self.hub.recall(key, self.application.recall) for key in keys if self.hub.last(key) is None)
        await gatherResults([Deferred.fromCoroutine(each) for each in recalled], consumeErrors=True)
        return keys


class TopicSubscription:
    """The subscriptions of one request, and the messages on their topics."""

    __slots__ = ("_address", "_cohorts", "_requests")

    def __init__(
        self, requests: PendingRequests, keys: Sequence[str], forms: Sequence[Form], member: Subscriber, address: str
    ) -> None:
        """
        :param requests: the objects that all requests share.
        :param keys: the keys of the topics, from :meth:`PendingRequests.resolve`.
        :param forms: the form of the messages of each topic.
        :param member: the subscriber, which gets the messages.
        :param address: the client's IP address.
        :raises HttpError: the address, or all clients together, have too many subscriptions.
        """
        self._requests = requests
        self._address = address
        if not requests.subscription_limit.take(address, len(keys)):
            raise HttpError(503, "Too many subscriptions here; try again later.", Retry_After="10")
        self._cohorts = tuple(requests.hub.join(key, form, member)[0] for key, form in zip(keys, forms, strict=True))

    def close(self, member: Subscriber) -> None:
        """End all subscriptions. May be called several times."""
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
        """The messages after the one with this id, the oldest first; None if this node does not know the id.

        :param limit: the maximum number of messages. A message counts once for each cohort of its topic.
        """
        topics = {cohort.topic for cohort in self._cohorts}
        position = self._requests.history.position(topics, last_id)
        if position is None:
            return [] if last_id in {message.message_id for _, message in self.newest()} else None
        following = self._requests.history.after(topics, position, limit)
        found = ((cohort, each.message) for each in following for cohort in self._cohorts if cohort.topic == each.topic)
        return list(islice(found, limit))
