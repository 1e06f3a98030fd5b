"""What every HTTP interface of ours has in common: methods, CORS, parameters, and errors as JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from fanout.doors.http_request import HttpRequest

log = structlog.get_logger(__name__)


class HttpError(Exception):
    """A request that gets no other answer than this.

    :ivar status: of HTTP, 4xx or 5xx.
    :ivar detail: for the client: why, and what to do.
    :ivar headers: to be sent with it.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


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


def parameters(request: HttpRequest, name: str) -> list[str]:
    """The values of a parameter of the query. :raises HttpError: one is not UTF-8."""
    try:
        return [value.decode() for value in (request.args or {}).get(name.encode(), [])]
    except UnicodeDecodeError:
        raise HttpError(400, f"The parameter {name} should be UTF-8.") from None


def parameter(request: HttpRequest, name: str) -> str | None:
    """The value of a parameter that may stand once; None when it is missing or empty.

    :raises HttpError: it stands more than once, or is not UTF-8.
    """
    values = parameters(request, name)
    if len(values) > 1:
        raise HttpError(400, f"The parameter {name} may stand once.")
    return values[0] or None if values else None


def basic_login(request: HttpRequest, realm: str) -> tuple[str, str]:
    """Login and password of HTTP Basic (RFC 7617). :raises HttpError: there are none."""
    scheme, _, credentials = (request.getHeader("authorization") or "").partition(" ")
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except (ValueError, binascii.Error):
        decoded = ""
    login, colon, password = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise unauthorized("This needs a login, by HTTP Basic.", realm)
    return login, password


def unauthorized(detail: str, realm: str) -> HttpError:
    """The error that makes clients ask for a password."""
    return HttpError(401, detail, WWW_Authenticate=f'Basic realm="{realm}", charset="UTF-8"')
