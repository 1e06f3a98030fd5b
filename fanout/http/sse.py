"""Server-sent events (HTML Standard, 9.2): a request whose answer never ends.

    new client                the newest message of each topic, then all that are published
    with Last-Event-ID        the messages after that one, then all that are published
    unknown Last-Event-ID     the same as for a new client

A slow client takes no more memory than a slow STOMP client, because it has the same outbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote, unquote

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from fanout.http.http_server import HttpRequest
from fanout.http.limits import COMMENT_SECONDS
from fanout.http.pending_requests import PendingRequests, TopicSubscription
from fanout.hub.subscriber import Form, OutboxSubscriber

EVENT_STREAM = "text/event-stream"
_COMMENT = b":\n\n"
_RETRY = b"retry: 3000\n\n"  # Milliseconds that a browser waits before it reconnects.
_LINE_END = re.compile(r"\r\n|\r|\n")
_PLAIN = "".join(chr(each) for each in range(0x21, 0x7F) if chr(each) != "%")


async def stream(
    requests: PendingRequests,
    request: HttpRequest,
    destinations: Sequence[str],
    form: Callable[[str], Form],
    last_id: str | None,
) -> None:
    """Answer with events until the client disconnects.

    :param destinations: the topics, as the client wrote them.
    :param form: a function from a destination to the form that encodes its messages as events.
    :param last_id: the id of the last message that the client received; None for a new client.
    :raises HttpError: too many requests wait, or a destination is invalid.
    """
    keys = await requests.resolve(destinations)
    if not request.gone:
        Stream(requests, request, keys, [form(each) for each in destinations]).begin(last_id)


def put_headers(request: HttpRequest) -> None:
    """Set the headers of an event stream."""
    request.put_header("content-type", EVENT_STREAM)
    request.put_header("cache-control", "no-store")
    request.put_header("x-accel-buffering", "no")  # otherwise nginx would buffer events


def event(name: str, data: str, event_id: str) -> bytes:
    """Encode one event.

    :param name: the name of the event, without line breaks.
    :param data: one or more lines. Every line end becomes a LF.
    :param event_id: the id that the client will send as ``Last-Event-ID``; from :func:`encode_id`.
    """
    lines = _LINE_END.sub("\ndata: ", data)
    return f"id: {event_id}\nevent: {name}\ndata: {lines}\n\n".encode()


def encode_id(message_id: str) -> str:
    """Encode the id of a message as the id of an event, in printable ASCII."""
    return quote(message_id, safe=_PLAIN)


def last_event_id(header: str | None) -> str | None:
    """The id of the message from a ``Last-Event-ID`` header; None if there is none."""
    return unquote(header or "") or None


@implementer(IPushProducer)
class Stream(OutboxSubscriber):
    """One client: a subscriber, and the producer of its connection."""

    __slots__ = ("_blocked_at", "_request", "_requests", "_subscription", "slot")
    protocol = "sse"

    def __init__(
        self, requests: PendingRequests, request: HttpRequest, keys: Sequence[str], forms: Sequence[Form]
    ) -> None:
        super().__init__(requests.flusher)
        self.slot: int | None = None
        self._requests = requests
        self._request: HttpRequest | None = request
        self._blocked_at: float | None = None
        self._subscription = TopicSubscription(requests, keys, forms, self, request.address)

    def begin(self, last_id: str | None) -> None:
        """Send the messages that the client missed, or the newest ones, and wait for more."""
        request = self._request
        assert request is not None
        put_headers(request)
        request.stream(self)
        request.write(_RETRY)  # type: ignore[no-untyped-call]
        request.hold(self.leave)
        self._requests.pending.add(self)
        missed = self._subscription.since(last_id, self._requests.replay) if last_id else None
        heard = self._subscription.newest() if missed is None else missed
        for cohort, message in heard:  # One at a time, because all together may exceed the limit of the outbox.
            self._outbox.offer(cohort, cohort.encode(message))
        self._schedule()

    # The subscriber

    @property
    def address(self) -> str:
        """The client's IP address; empty after it has disconnected."""
        return self._request.address if self._request is not None else ""

    def write(self, data: bytes) -> None:
        """Send octets to the client."""
        if self._request is not None:
            self._request.write(data)  # type: ignore[no-untyped-call]

    def cut_off(self) -> None:
        """Disconnect a client that does not read."""
        if self._request is not None:
            self._requests.warn("client.slow", self._request.address, reason="does not read what it is sent")
            self._request.abort()

    # The connection's producer

    def pauseProducing(self) -> None:
        """The connection's buffer is full."""
        self._outbox.block()
        if self._blocked_at is None:
            self._blocked_at = self._requests.clock()
            self._schedule()

    def resumeProducing(self) -> None:
        """The connection's buffer has room again."""
        self._blocked_at = None
        self._outbox.unblock()

    def stopProducing(self) -> None:
        """The connection is closing; :meth:`leave` follows."""

    # Time

    def on_timer(self, now: float) -> None:
        """Send a comment if there were no events for COMMENT_SECONDS. Disconnect a client that does not read."""
        if self._request is None:
            return
        if self._blocked_at is not None:
            if now - self._blocked_at >= self._requests.settings.WRITE_TIMEOUT:
                self.cut_off()
                return
        elif now - self._outbox.sent_at >= COMMENT_SECONDS:
            self._outbox.send(_COMMENT)
            self._outbox.flush()
        self._schedule()

    def _schedule(self) -> None:
        if self._blocked_at is None:
            self._requests.wheel.schedule(self, self._outbox.sent_at + COMMENT_SECONDS)
        else:
            self._requests.wheel.schedule(self, self._blocked_at + self._requests.settings.WRITE_TIMEOUT)

    # The end

    def close(self) -> None:
        """End the stream, because the node shuts down. A browser then reconnects, to another node."""
        request = self._request
        self.leave()
        if request is not None:
            request.channel.persistent = 0
            request.unregisterProducer()  # type: ignore[no-untyped-call]
            request.finish()

    def leave(self) -> None:
        """End the subscription, because the client has disconnected or the stream ends."""
        if self._request is not None:
            self._request.lost = None
            self._request = None
            self._outbox.close()
            self._subscription.close(self)
            self._requests.pending.discard(self)
            self._requests.wheel.forget(self)
