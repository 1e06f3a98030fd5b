"""What the tests of polls and streams need: requests without sockets, which remember their answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock

from fanout.application.interface import Refused, ResolvedTopic
from fanout.http.limits import HttpServerSettings
from fanout.http.pending_requests import PendingRequests
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, OutboxSettings
from fanout.listeners.client_limits import SubscriptionLimit


@dataclass(frozen=True)
class PlainForm:
    """Writes ``destination=id``, and a line's end."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        return f"{self.destination}={message.message_id}\n".encode()


class Channel:
    persistent = 1


class Asked:
    """A request.

    :ivar status: of its answer; None while it is held.
    :ivar got: what was written to it.
    """

    def __init__(self) -> None:
        self.channel = Channel()
        self.address = "192.0.2.1"
        self.status: int | None = None
        self.got = b""
        self.headers: dict[str, str] = {}
        self.gone = False
        self.finished = False
        self.aborted = False
        self.producer: Any = None
        self.lost: Callable[[], None] | None = None

    def put_header(self, name: str, value: str) -> None:
        self.headers[name] = value

    def hold(self, lost: Callable[[], None]) -> None:
        self.lost = lost

    def refuse(self, status: int, detail: str) -> None:
        self.status = status

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        self.status, self.got = status, body

    def write(self, data: bytes) -> None:
        self.got += data

    def stream(self, producer: Any) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True
        self.leave()

    def leave(self) -> None:
        """The client goes away."""
        self.gone = True
        if self.lost is not None:
            self.lost()


class Application:
    """Knows what the other nodes kept, and takes every destination but ``/wrong`` for its own key in lower case."""

    def __init__(self) -> None:
        self.kept: dict[str, Message] = {}

    async def resolve(self, destination: str, headers: object) -> ResolvedTopic:
        if destination == "/wrong":
            raise Refused("wrong", "This is wrong.")
        return ResolvedTopic(destination.lower())

    async def recall(self, topic: str) -> Message | None:
        return self.kept.get(topic)


class House:
    """The pending requests of a server, with their hub.

    :ivar failures: what was reported as failed.
    :ivar turns: how often something was to be done in a later turn of the reactor.
    """

    def __init__(self, *, subscription_limit: SubscriptionLimit | None = None, **settings: Any) -> None:
        subscription_limit = subscription_limit or SubscriptionLimit()
        self.clock = Clock()
        self.failures: list[Exception] = []
        self.client_warnings: list[str] = []
        self.turns = 0
        self.application = Application()
        history = History(self.clock.seconds)
        self.hub = Hub(lambda member, error: self.failures.append(error), history=history)
        flusher = Flusher(
            self.clock.seconds,
            lambda flush: self.clock.callLater(0, flush),
            lambda outbox, error: self.failures.append(error),
            OutboxSettings.model_construct(OUTBOX_BYTES=settings.pop("outbox", 4096)),
        )
        self.requests = PendingRequests(
            application=self.application,  # type: ignore[arg-type]
            hub=self.hub,
            history=history,
            flusher=flusher,
            later=self._later,
            clock=self.clock.seconds,
            warn=lambda event, address, **fields: self.client_warnings.append(event),
            failed=lambda client, error: self.failures.append(error),
            subscription_limit=subscription_limit,
            settings=HttpServerSettings.model_construct(**settings),
        )

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        self.turns += 1
        self.clock.callLater(delay, call)

    def say(self, topic: str, *ids: str) -> None:
        """Messages come from the bus."""
        for each in ids:
            self.hub.publish(topic, Message(topic, b"x", each, 1))

    def end(self) -> None:
        """The node ends."""
        for client in list(self.requests.pending):
            client.close()

    def turn(self) -> None:
        """A turn of the reactor."""
        self.clock.advance(0)

    def wait(self, seconds: float) -> None:
        """Time passes, the wheel turning."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            self.requests.tick()


def join(lines: Sequence[bytes]) -> bytes:
    """An answer of several messages."""
    return b"".join(lines)
