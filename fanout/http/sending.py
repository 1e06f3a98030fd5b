"""Writes a handler's answer to the client."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import getChildForRequest
from zope.interface import implementer

from fanout.http.longpoll import LongPolls, Question
from fanout.http.pending import PendingRequests
from fanout.http.response import Answer, Elsewhere, EventStream, NextValue, Response
from fanout.http.server import REASONS, HttpRequest
from fanout.http.sse import EVENT_STREAM, stream

_WITHOUT_BODY = frozenset({204, 304})


class Sender:
    """Knows how each kind of answer is written."""

    def __init__(self, door: PendingRequests | None) -> None:
        """:param door: for answers that listen to topics; None when there are none."""
        self._door = door
        self._polls = LongPolls(door) if door is not None else None

    async def send(self, http: HttpRequest, answer: Answer) -> None:
        """Answer; returns when all is written, or the request is held. :raises HttpError: it cannot be done."""
        if isinstance(answer, Elsewhere):
            _pass_on(http, answer)
        elif isinstance(answer, NextValue):
            await self._hold(http, answer)
        elif isinstance(answer.body, bytes):
            write(http, answer)
        else:
            await self._send_pieces(http, answer)

    async def _hold(self, http: HttpRequest, answer: NextValue) -> None:
        if http.method == b"HEAD":
            http.announce(answer.content_type)
            return

        def respond(http: HttpRequest, values: Sequence[bytes]) -> None:
            write(http, answer.answer(values[0]))

        question = Question(
            (answer.destination,),
            answer.last_id,
            True,
            answer.form,
            respond,
            newest=False,
            seconds=math.inf if answer.seconds is None else answer.seconds,
            nothing=lambda http: write(http, answer.nothing),
        )
        assert self._polls is not None, "this face has no door for those who listen"
        await self._polls.ask(http, question)

    async def _send_pieces(self, http: HttpRequest, response: Response) -> None:
        body = response.body
        if response.status in _WITHOUT_BODY:
            await _close(body)
            write(http, replace(response, body=b""))
            return
        kind = EVENT_STREAM if isinstance(body, EventStream) else response.content_type
        _begin(http, response)
        if http.method == b"HEAD":
            await _close(body)
            http.announce(kind)
        elif isinstance(body, EventStream):
            assert self._door is not None, "this face has no door for those who listen"
            await stream(self._door, http, body.destinations, body.form, body.last_id)
        else:
            http.put_header("content-type", kind)
            await _Flow(http).send(_pieces(body))


def write(http: HttpRequest, response: Response) -> None:
    """Answer with a body of octets, unless nobody waits for it any more."""
    if http.gone:
        return
    _begin(http, response)
    if response.status in _WITHOUT_BODY:
        http.defaultContentType = None
        http.responseHeaders.removeHeader(b"content-length")
        http.finish()  # type: ignore[no-untyped-call]
        return
    assert isinstance(response.body, bytes), "this answer needs a body of octets"
    http.answer(response.status, response.body, response.content_type)


def _begin(http: HttpRequest, response: Response) -> None:
    """Status and headers. One of the handler's replaces ours of that name, and may stand more than once."""
    http.setResponseCode(response.status, REASONS.get(response.status, b""))
    for name in {name for name, _ in response.headers}:
        http.responseHeaders.removeHeader(name)
    for name, value in response.headers:
        http.responseHeaders.addRawHeader(name.encode(), value.encode(errors="replace"))


def _pass_on(http: HttpRequest, answer: Elsewhere) -> None:
    """Let a resource of Twisted answer."""
    whole = [*(http.prepath or []), *(http.postpath or [])]
    place = len(whole) - answer.rest
    http.prepath, http.postpath = whole[:place], whole[place:]
    http.render(getChildForRequest(answer.resource, http))


def _announced(http: HttpRequest) -> float:
    """Octets a body has by its header; what were more or less would be taken for a part of the next answer."""
    length = http.responseHeaders.getRawHeaders(b"content-length")
    return int(length[0]) if length else math.inf


async def _pieces(body: object) -> AsyncIterator[bytes]:
    """Any kind of body, piece by piece; closed whatever happens."""
    try:
        if isinstance(body, AsyncIterable):
            async for piece in body:
                yield piece
        elif isinstance(body, Iterable) and not isinstance(body, str):
            for piece in body:
                yield piece
        else:
            raise TypeError(f"A body is octets, or pieces of them, or a subscription; not {type(body).__name__}.")
    finally:
        await _close(body)


async def _close(body: object) -> None:
    """Let a generator that will not be asked any more clean up."""
    if hasattr(body, "aclose"):
        await body.aclose()
    elif hasattr(body, "close"):
        body.close()


@implementer(IPushProducer)
class _Flow:
    """Sends pieces as fast as the client takes them: what it has not read yet is bounded by its transport."""

    def __init__(self, http: HttpRequest) -> None:
        self._http = http
        self._room: Deferred[None] | None = None

    async def send(self, pieces: AsyncIterator[bytes]) -> None:
        """To the end, or until the client goes."""
        http = self._http
        left = _announced(http)
        http.registerProducer(self, True)  # type: ignore[no-untyped-call]
        try:
            async for piece in pieces:
                if http.gone:
                    return
                left -= len(piece)
                if left < 0:
                    raise ValueError("the body is longer than its Content-Length")
                http.write(piece)  # type: ignore[no-untyped-call]
                if self._room is not None:
                    await self._room
        finally:
            if not http.gone:
                http.unregisterProducer()  # type: ignore[no-untyped-call]
        if 0 < left < math.inf:
            raise ValueError(f"the body ends {left} octets before its Content-Length")
        if not http.gone:
            http.finish()  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        """The connection is full."""
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """It has room again."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is closing; the request's ``lost`` follows."""
