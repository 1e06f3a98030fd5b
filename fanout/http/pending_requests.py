"""What HTTP requests that wait for messages have in common: polls and event streams stay open for a long time.

:class:`PendingRequests` is what they share on a node, :class:`PendingRequest` is what each of them offers, and
:class:`TopicSubscription` is the topics of one request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults

from fanout.application.interface import Application, Refused
from fanout.http.response import HttpError
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, OutboxSettings
from fanout.hub.subscriber import Cohort, Form, Subscriber
from fanout.hub.timer_wheel import Wheel
from fanout.listeners.client_limits import SubscriptionLimit
from fanout.settings.field import HOSTS, MAX_PORT, SettingsGroup, setting
from fanout.stomp.limits import StompSettings


class HttpSettings(SettingsGroup):
    """HTTP."""

    HTTP_IP: str = setting("0.0.0.0", "The one address to listen on for HTTP.")  # noqa: S104
    HTTP_PORT: int = setting(
        8080, "The port to listen on for HTTP: polls, streams, publishing, pages; 0 = none.", ge=0, le=MAX_PORT
    )
    HTTP_POLL_TIMEOUT: float = setting(
        12, "How long a poll is held; below 15, as some clients wait no longer.", "s", ge=1, le=300, reload=True
    )
    HTTP_CATCH_UP_SECONDS: float = setting(
        2,
        "How long a poll waits for the message of its last_id, which another node may have received earlier.",
        "s",
        ge=0,
        le=60,
        reload=True,
    )
    HTTP_COMMENT_SECONDS: float = setting(
        15,
        "Silence after which an event stream gets a comment; proxies cut silent ones after 30 to 60 s.",
        "s",
        ge=1,
        reload=True,
    )
    HTTP_MAX_TOPICS: int = setting(
        16, "Most topics of one poll; most clients ask for two.", "topics", ge=1, le=256, reload=True
    )
    HTTP_MAX_LISTENERS: int = setting(
        10_000, "Most polls and event streams held at a time; those beyond get a 503.", "clients", ge=1, reload=True
    )
    HTTP_BODY_BYTES: int = setting(
        16_384, "Largest body of a request; the longest publish needs 2,000.", "octets", ge=1024, reload=True
    )
    HTTP_REQUEST_TIMEOUT: float = setting(
        30, "Time for a request to be complete; an idle connection is kept as long.", "s", ge=1, reload=True
    )


class HttpServerSettings(HttpSettings, OutboxSettings):
    """Everything that polls and event streams read."""


# The WebSockets themselves are in websocket.py, which imports Twisted's web server; a command that only reads the
# settings should start without it.


class WebSocketSettings(SettingsGroup):
    """WebSocket."""

    WEBSOCKET_ORIGINS: str = setting(
        "",
        "Origins whose scripts may connect, such as https://www.example.org, with commas; empty = all.",
        pattern=HOSTS,
        reload=True,
    )
    WEBSOCKET_MESSAGE_BYTES: int = setting(
        1_048_576,
        "Largest message; it may hold several frames, each of at most MAX_FRAME_BYTES.",
        "octets",
        ge=1024,
        reload=True,
    )
    WEBSOCKET_PING_SECONDS: float = setting(
        25,
        "Silence of a client before it is pinged, 0 = never; many proxies close connections silent for 60 s.",
        "s",
        ge=0,
        reload=True,
    )
    WEBSOCKET_PONG_SECONDS: float = setting(
        30,
        "Silence after the ping before a client is disconnected; a phone may take long to wake up.",
        "s",
        ge=1,
        reload=True,
    )


class WebSocketServerSettings(WebSocketSettings, StompSettings):
    """Everything that a WebSocket server reads: LINGER_SECONDS of STOMP, too, the time for the closing handshake."""


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

    :ivar settings: HTTP_MAX_LISTENERS, HTTP_MAX_TOPICS, HTTP_POLL_TIMEOUT and so on; new values count for requests to
        come, and for timers that are set anew.
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
        most = self.settings.HTTP_MAX_TOPICS
        if len(destinations) > most:
            raise HttpError(400, f"Up to {most} topics at once; these are {len(destinations)}.")
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

        :param limit: at most so many messages; cohorts with the same topic each get theirs besides.
        """
        topics = {cohort.topic for cohort in self._cohorts}
        position = self._requests.history.position(topics, last_id)
        if position is None:
            return [] if last_id in {message.message_id for _, message in self.newest()} else None
        following = self._requests.history.after(topics, position, limit)
        return [(cohort, each.message) for each in following for cohort in self._cohorts if cohort.topic == each.topic]


def encode(heard: Sequence[tuple[Cohort, Message]]) -> list[bytes]:
    """Messages in the forms of their cohorts."""
    return [cohort.encode(message) for cohort, message in heard]
