"""A table of routes as a resource of Twisted: finds the handler, calls it, and answers."""

from __future__ import annotations

from inspect import isawaitable
from urllib.parse import urlsplit

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from fanout.doors.http_endpoint import HttpError, answer_options
from fanout.doors.http_request import HttpRequest
from fanout.doors.listening import ListeningDoor
from fanout.web.error_pages import ErrorPages
from fanout.web.request import Request
from fanout.web.response import Answer
from fanout.web.routes import Found, Routes
from fanout.web.sending import Sender, write

_OUR_FAULT = HttpError(500, "The server made an error; its operator finds it in the log.")

log = structlog.get_logger(__name__)


class Face(Resource):
    """A whole site, or a part of one, from a table."""

    isLeaf = True

    def __init__(self, routes: Routes, pages: ErrorPages | None = None, door: ListeningDoor | None = None) -> None:
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
