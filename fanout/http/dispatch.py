"""Dispatches requests: finds the handler of a request in the routing table, calls it, and sends its answer.

    request → OperatorAuth, if the site has one → Routes.find → handler → Response, NextValue or Upgrade → client

For an error, a handler raises :class:`~fanout.http.response.HttpError`, and the site's error pages make the answer. Any
other exception is a bug: it is logged, and the client gets a 500. If an exception is raised after a part of the answer
was sent, the connection is closed, so that no client takes a part for the whole.

A handler that waits for something is cancelled if its client disconnects, unless the handler has called
:meth:`~fanout.http.routing.Request.run_to_end`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterable, Sequence
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from fanout.http.auth import HostNames, OperatorAuth
from fanout.http.files import OneFile
from fanout.http.http_server import HttpRequest
from fanout.http.longpoll import LongPolls, Question
from fanout.http.pending_requests import PendingRequests
from fanout.http.response import (
    NEVER_KEPT,
    REASONS,
    Answer,
    CustomBody,
    EventStream,
    HttpError,
    NextValue,
    Response,
    Upgrade,
)
from fanout.http.routing import CORS, Found, Request, Routes
from fanout.http.sse import put_headers, stream

_WITHOUT_BODY = frozenset({204, 304})
_OUR_FAULT = HttpError(500, "An error occurred in the server; its log has the details.")
_PREFLIGHT = {
    "access-control-allow-headers": "Last-Event-ID, Cache-Control",
    "access-control-max-age": "86400",
}
"""Headers of the answer to a CORS preflight: a browser sends one before a script sends such headers to another site."""

log = structlog.get_logger(__name__)


class Dispatcher:
    """Answers every request of a site: the ``handle`` of a :class:`fanout.http.http_server.HttpSite`."""

    def __init__(
        self,
        routes: Routes,
        pending: PendingRequests | None = None,
        auth: OperatorAuth | None = None,
        *,
        host_names: HostNames | None = None,
    ) -> None:
        """
        :param routes: the routing table.
        :param pending: the requests that wait for messages; None on a site without topics.
        :param auth: decides whether a client may use the routes that need a token; None on a site that has no such
            routes.
        :param host_names: the host names that a site without ``auth`` accepts; None for every name.
        """
        self._routes = routes
        self._host_names = host_names
        self._auth = auth
        self._open_routes = routes if auth is None else auth.open_routes(routes)
        self._sender = _Sender(pending)

    def __call__(self, http: HttpRequest) -> None:
        """Answer a request, now or later."""
        try:
            answer = self._ask(http)
            if isinstance(answer, Response) and isinstance(answer.body, bytes):
                _write(http, answer)  # without a Deferred, which would double the time
                return
        except Exception:  # noqa: BLE001  (_failed answers all exceptions)
            self._failed(Failure(), http)
            return
        answering = Deferred.fromCoroutine(self._send(http, answer))
        if not answering.called and http.lost is None:
            http.lost = answering.cancel
        answering.addErrback(self._failed, http)

    def check(self, http: HttpRequest) -> None:
        """Check a request before its body is read. :raises HttpError: the request is refused."""
        found = self._find(http)
        if found.before is not None:
            found.before(Request(http, found.segments, found.parameters))

    def _ask(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        found = self._find(http)
        if found.public:
            for name, value in CORS.items():
                http.put_header(name, value)
        if found.handler is None:
            return _answer_to_options(found)
        return found.handler(Request(http, found.segments, found.parameters))

    async def _send(self, http: HttpRequest, answer: Answer | Awaitable[Answer]) -> None:
        await self._sender.send(http, await answer if isawaitable(answer) else answer)

    def _find(self, http: HttpRequest) -> Found:
        method, path = http.method.decode("ascii"), _path(http)
        if self._auth is None:
            _check_host(http)
            if self._host_names is not None:
                self._host_names.check(http)
            return self._routes.find(method, path)
        try:  # OperatorAuth checks the host itself; health checks may omit it
            found = self._routes.find(method, path)
        except HttpError:
            if self._auth.allows(http):
                raise
        else:
            if found.without_auth or self._auth.allows(http):
                return found
        return self._open_routes.find(method, path)

    def _failed(self, failure: Failure, http: HttpRequest) -> None:
        error = failure.value
        if not isinstance(error, HttpError):
            if http.gone and isinstance(error, CancelledError):
                return
            log.error(
                "http.failed",
                method=http.method.decode("ascii", "replace"),
                path=http.path.decode("ascii", "replace"),
                exc_info=(failure.type, failure.value, failure.getTracebackObject()),
            )
            error = _OUR_FAULT
        if http.gone:
            return
        if http.startedWriting:
            http.abort()  # so that the client does not take a part of the answer for the whole
        else:
            _write(http, http.channel.site.pages.page(error))


def _answer_to_options(found: Found) -> Response:
    """The answer to OPTIONS if the route has no handler for it."""
    headers = {"allow": ", ".join(found.methods), **dict([NEVER_KEPT])}
    if found.public:
        headers["access-control-allow-methods"] = ", ".join(each for each in found.methods if each != "OPTIONS")
        headers |= _PREFLIGHT
    return Response(status=204, headers=tuple(headers.items()))


def _path(http: HttpRequest) -> bytes:
    """The path of a request, which may also be a whole URL, as for a proxy (RFC 9112, 3.2.2).

    :raises HttpError: it is neither a path nor a URL.
    """
    if http.path.startswith(b"/"):
        return http.path
    try:
        return urlsplit(http.path).path or b"/"
    except ValueError:
        raise HttpError(400, "A request must name a path, or a whole URL.") from None


def _check_host(http: HttpRequest) -> None:
    """Check the Host header (RFC 9112, 3.2). :raises HttpError: there are several, or HTTP/1.1 has none."""
    hosts = http.requestHeaders.getRawHeaders(b"host") or []
    if len(hosts) > 1 or (not hosts and http.clientproto == b"HTTP/1.1"):
        http.channel.persistent = 0
        raise HttpError(400, "A request of HTTP/1.1 must have exactly one Host header.", Connection="close")


class _Sender:
    """Sends each kind of answer."""

    def __init__(self, pending: PendingRequests | None) -> None:
        self._pending = pending
        self._polls = LongPolls(pending) if pending is not None else None

    async def send(self, http: HttpRequest, answer: Answer) -> None:
        """Send an answer. Returns when it is written, or the request is held. :raises HttpError: it is refused."""
        if isinstance(answer, NextValue):
            await self._hold(http, answer)
        elif isinstance(answer, Upgrade):
            if not http.gone:
                http.lost = None
                http.channel.hand_over(answer.protocol, answer.head)
        elif isinstance(answer.body, bytes):
            _write(http, answer)
        elif isinstance(answer.body, Path):
            _send_file(http, answer, answer.body)
        else:
            await self._send_pieces(http, answer)

    async def _hold(self, http: HttpRequest, answer: NextValue) -> None:
        if http.method == b"HEAD":
            http.announce(answer.content_type)
            return
        assert self._polls is not None, "this site has no pending requests"
        await self._polls.ask(http, _question(answer))

    async def _send_pieces(self, http: HttpRequest, response: Response) -> None:
        body = response.body
        if http.gone:
            await _close(body)
            return
        if response.status in _WITHOUT_BODY:
            await _close(body)
            _write(http, replace(response, body=b""))
            return
        _begin(http, response)
        if isinstance(body, EventStream):
            await self._stream(http, body)
        elif isinstance(body, CustomBody):
            await _write_custom(http, response, body)
        else:
            http.put_header("content-type", response.content_type)
            if http.method == b"HEAD":
                await _close(body)
                http.finish()
            else:
                await _Flow(http).send(_pieces(body))

    async def _stream(self, http: HttpRequest, body: EventStream) -> None:
        assert self._pending is not None, "this site has no pending requests"
        if http.method != b"HEAD":
            await stream(self._pending, http, body.destinations, body.form, body.last_id)
            return
        await self._pending.resolve(body.destinations)  # refuses the same requests as for GET
        if not http.gone:
            put_headers(http)
            http.finish()


async def _write_custom(http: HttpRequest, response: Response, body: CustomBody) -> None:
    if http.method == b"HEAD":
        http.announce(response.content_type)
    else:
        await body.write()


def _question(answer: NextValue) -> Question:
    """The parameters of a long poll for this answer."""

    def respond(http: HttpRequest, messages: Sequence[bytes]) -> None:
        _write(http, answer.answer(messages))

    question = Question(
        answer.destinations,
        answer.last_id,
        answer.single,
        answer.form,
        respond,
        newest=answer.newest,
        seconds=answer.seconds,
    )
    nothing = answer.nothing
    return question if nothing is None else replace(question, nothing=lambda http: _write(http, nothing))


def _write(http: HttpRequest, response: Response) -> None:
    """Answer with a body of octets, unless the client has disconnected."""
    if http.gone:
        return
    _begin(http, response)
    if response.status in _WITHOUT_BODY:
        http.defaultContentType = None
        http.responseHeaders.removeHeader(b"content-length")
        http.finish()
        return
    assert isinstance(response.body, bytes), "this answer needs a body of octets"
    http.answer(response.status, response.body, response.content_type)


def _begin(http: HttpRequest, response: Response) -> None:
    """Set status and headers. A header of the handler replaces the site's header of that name, and may be repeated."""
    http.setResponseCode(response.status, REASONS.get(response.status, b""))
    for name in {name for name, _ in response.headers}:
        http.responseHeaders.removeHeader(name)
    for name, value in response.headers:
        http.responseHeaders.addRawHeader(name.encode(), value.encode(errors="replace"))


def _send_file(http: HttpRequest, response: Response, path: Path) -> None:
    """Send a file with Twisted's server of files, which supports ranges and dates."""
    _begin(http, response)
    http.render(OneFile(path, response.content_type))  # type: ignore[no-untyped-call]


def _announced(http: HttpRequest) -> float:
    """The Content-Length that the handler has set; infinity if there is none. With a wrong number of octets in the
    body, the client could not parse the next answer.
    """
    length = http.responseHeaders.getRawHeaders(b"content-length")
    return int(length[0]) if length else math.inf


async def _pieces(body: object) -> AsyncGenerator[bytes, None]:
    """The pieces of a body. The body is closed at the end, also after an exception."""
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
    """Close a body that is a generator, so that it can clean up."""
    if hasattr(body, "aclose"):
        await body.aclose()
    elif hasattr(body, "close"):
        body.close()


@implementer(IPushProducer)
class _Flow:
    """Sends pieces as fast as the client reads them: unread octets are limited by the buffer of its transport."""

    def __init__(self, http: HttpRequest) -> None:
        self._http = http
        self._room: Deferred[None] | None = None

    async def send(self, pieces: AsyncGenerator[bytes, None]) -> None:
        """Send all pieces, or stop when the client disconnects."""
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
            await pieces.aclose()  # The client may have disconnected: the generator must end nevertheless.
            if not http.gone:
                http.unregisterProducer()  # type: ignore[no-untyped-call]
        if 0 < left < math.inf:
            raise ValueError(f"the body ends {left} octets before its Content-Length")
        if not http.gone:
            http.finish()

    def pauseProducing(self) -> None:
        """The buffer of the connection is full."""
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """The buffer of the connection has room again."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is closing; the request's ``lost`` follows."""
