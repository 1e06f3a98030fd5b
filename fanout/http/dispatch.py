"""Finds the handler of a request in the table of routes, calls it, and sends its answer."""

from __future__ import annotations

from collections.abc import Coroutine
from inspect import isawaitable
from typing import Any
from urllib.parse import urlsplit

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from fanout.http.pending import PendingRequests
from fanout.http.response import (
    Answer,
    Elsewhere,
    ErrorPages,
    HttpError,
)
from fanout.http.routing import Found, Request, Route, Routes, every_method
from fanout.http.sending import Sender, write
from fanout.http.server import HttpRequest

log = structlog.get_logger(__name__)


class Branch(Resource):
    """A part of a path, with nothing at its own end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def getChild(self, path: bytes, request: Any) -> IResource:
        """What was not put here does not exist: an empty branch."""
        return Branch()

    def render(self, request: HttpRequest) -> int:
        """404."""
        request.refuse(404, "There is nothing here.")
        return NOT_DONE_YET

    def at(self, path: str, resource: IResource) -> None:
        """Put a resource at a path below, such as ``radiodns/vis/vis.json``."""
        first, _, rest = path.partition("/")
        if not rest:
            self.putChild(first.encode(), resource)
            return
        child = self.children.get(first.encode())
        if child is None:
            child = Branch()
            self.putChild(first.encode(), child)
        child.at(rest, resource)


class Endpoint(Resource):
    """One interface: answers requests of one method, and whatever stands behind it in the path is its own.

    :cvar method: the one it answers, besides OPTIONS, and HEAD where it is GET.
    :cvar public: whether pages of any other site may read the answers. Never for what needs a password.
    """

    isLeaf = True
    method = "GET"
    public = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def respond(self, request: HttpRequest) -> None:
        """Answer, now or later. :raises HttpError: the answer is an error."""
        raise NotImplementedError

    async def announce(self, request: HttpRequest) -> None:
        """Answer HEAD: as GET, since Twisted leaves the body out. What waits or streams has to answer at once instead.

        :raises HttpError: the answer is an error.
        """
        await self.respond(request)

    def render(self, request: HttpRequest) -> int:
        """For Twisted."""
        if self.public:
            request.put_header("access-control-allow-origin", "*")
            request.put_header("access-control-expose-headers", "*")
        methods = "GET, HEAD" if self.method == "GET" else self.method
        if request.method == self.method.encode():
            _watch(self.respond(request), request)
        elif request.method == b"HEAD" and self.method == "GET":
            _watch(self.announce(request), request)
        elif request.method == b"OPTIONS":
            answer_options(request, methods, public=self.public)
        else:
            request.put_header("allow", f"{methods}, OPTIONS")
            request.refuse(405, f"This answers {methods} only.")
        return NOT_DONE_YET


def answer_options(request: HttpRequest, methods: str, *, public: bool) -> None:
    """Answer OPTIONS. Before it sends headers of its own, such as Last-Event-ID, a browser asks so whether it may.

    :param methods: besides OPTIONS, with commas.
    :param public: as for :class:`Endpoint`.
    """
    request.put_header("allow", f"{methods}, OPTIONS")
    if public:
        request.put_header("access-control-allow-methods", methods)
        request.put_header("access-control-allow-headers", "Last-Event-ID, Cache-Control")
        request.put_header("access-control-max-age", "86400")
    request.answer_nothing()


def _watch(responding: Coroutine[Any, Any, None], request: HttpRequest) -> None:
    Deferred.fromCoroutine(responding).addErrback(_failed, request)


def _failed(failure: Failure, request: HttpRequest) -> None:
    error = failure.value
    if isinstance(error, HttpError):
        for name, value in error.headers.items():
            request.put_header(name, value)
        request.refuse(error.status, error.detail)
        return
    log.error("http.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
    if request.startedWriting:
        request.loseConnection()  # type: ignore[no-untyped-call]
    else:
        request.refuse(500, "The server made an error; its operator finds it in the log.")


# A table of routes as a resource of Twisted: finds the handler, calls it, and answers.

_OUR_FAULT = HttpError(500, "The server made an error; its operator finds it in the log.")


class Face(Resource):
    """A whole site, or a part of one, from a table."""

    isLeaf = True

    def __init__(self, routes: Routes, pages: ErrorPages | None = None, door: PendingRequests | None = None) -> None:
        """
        :param pages: what clients see of errors.
        :param door: for handlers that answer with what is said on topics.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._routes = routes
        self._sender = Sender(door)
        self.pages = pages or ErrorPages()

    def render(self, http: HttpRequest) -> int:
        """For Twisted. A handler that waits for something is cancelled when its client goes."""
        responding = Deferred.fromCoroutine(self._respond(http))
        if not responding.called:
            http.lost = responding.cancel
        responding.addErrback(self._failed, http)
        return NOT_DONE_YET

    async def _respond(self, http: HttpRequest) -> None:
        _check_host(http)
        found = self._routes.find(http.method.decode("ascii"), _path(http))
        if found.public:
            http.put_header("access-control-allow-origin", "*")
            http.put_header("access-control-expose-headers", "*")
        if found.handler is None:
            methods = ", ".join(method for method in found.methods if method != "OPTIONS")
            answer_options(http, methods, public=found.public)
        else:
            await self._sender.send(http, await _ask(found, http))

    def _failed(self, failure: Failure, http: HttpRequest) -> None:
        error = failure.value
        if http.gone and isinstance(error, CancelledError | HttpError):
            return  # nobody waits, so the handler was cancelled
        if not isinstance(error, HttpError):
            log.error(
                "web.failed",
                method=http.method.decode("ascii"),
                path=http.path.decode("ascii", "replace"),
                exc_info=(failure.type, failure.value, failure.getTracebackObject()),
            )
            error = _OUR_FAULT
        if http.startedWriting:  # nothing happens if the client has gone
            http.abort()  # so that the client does not take half an answer for a whole one
        else:
            write(http, self.pages.page(error))


async def _ask(found: Found, http: HttpRequest) -> Answer:
    assert found.handler is not None
    answer = found.handler(Request(http, found.path, found.parameters))
    return await answer if isawaitable(answer) else answer


def _path(http: HttpRequest) -> bytes:
    """The path. A client may name the whole URL, as to a proxy (RFC 9112, 3.2.2)."""
    return http.path if http.path.startswith(b"/") else urlsplit(http.path).path or b"/"


def _check_host(http: HttpRequest) -> None:
    """RFC 9112, 3.2. :raises HttpError: a request of HTTP/1.1 does not say once whom it wants."""
    hosts = http.requestHeaders.getRawHeaders(b"host") or []
    if len(hosts) > 1 or (not hosts and http.clientproto == b"HTTP/1.1"):
        http.channel.persistent = 0
        raise HttpError(400, "A request of HTTP/1.1 names its Host once.", Connection="close")


# A resource of Twisted as a part of a site: a WebSocket, a long poll, a tree of resources.


def mount(at: str, resource: IResource) -> list[Route]:
    """The rows of the table: the resource sees to every method there and below.

    :param at: where it is, such as ``/comet``; ``/`` is that page alone, and nothing below.
    """

    def answer(request: Request) -> Elsewhere:
        path = (*(request.http.prepath or ()), *(request.http.postpath or ()))
        return Elsewhere(resource, len(path) - at.count("/"))

    here = every_method(at, answer)
    return [here] if at == "/" else [here, every_method(f"{at}/{{rest:path}}", answer)]
