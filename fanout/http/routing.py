"""The table of a site: which handler answers which method at which path. Sans-IO.

The first row that fits path and method answers. HEAD is answered by the handler of GET, and OPTIONS by the table,
unless a row has them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import isawaitable
from typing import IO, Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from fanout.http.pending import PendingRequests
from fanout.http.response import Answer, Elsewhere, ErrorPages
from fanout.http.sending import Sender, write
from fanout.http.server import HttpRequest

# What every HTTP interface of ours has in common: methods, CORS, parameters, and errors as JSON.

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


# What a path looks like, and what its parts are called. Sans-IO.
#
# =============== ================================================
# ``/hello``      these segments and no others
# ``{name}``      one whole segment, not empty
# ``{name:path}`` the rest, which may be empty and may have slashes; only at the end
# =============== ================================================
#
# A path is taken apart first and decoded then, so an encoded slash never makes a segment into two: only ``{name:path}``
# takes one. What could climb out of a folder, or forge a line of a log, is no path at all.

_PARAMETER = re.compile(r"\{([a-z_][a-z0-9_]*)(:path)?\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class BadPath(ValueError):
    """This is no path; the text says why, for the client."""


def split(path: bytes) -> list[str]:
    """The segments of a path behind its first slash, each decoded.

    :param path: as the client sent it, without the query.
    :raises BadPath: it is not UTF-8, has control characters, or segments ``.`` or ``..``, encoded or not.
    """
    if not path.startswith(b"/"):
        raise BadPath("A path begins with a slash.")
    if _BAD_PERCENT.search(path):
        raise BadPath("Behind each % of a path stand two hexadecimal digits.")
    try:
        segments = [unquote_to_bytes(segment).decode() for segment in path[1:].split(b"/")]
    except UnicodeDecodeError:
        raise BadPath("A path is UTF-8.") from None
    for segment in segments:
        if _CONTROL.search(segment):
            raise BadPath("A path has no control characters.")
        if {".", ".."} & set(re.split(r"[/\\]", segment)):
            raise BadPath("A path has no segments . or .., encoded or not.")
    return segments


class Pattern:
    """A pattern of paths, such as ``/channels/{name:path}``.

    :ivar text: as it was written.
    :ivar names: of its parameters, in their order.
    """

    def __init__(self, text: str) -> None:
        """:raises ValueError: nothing could match it as it is written."""
        if not text.startswith("/"):
            raise ValueError(f"The pattern {text!r} should begin with a slash.")
        *front, last = text[1:].split("/")
        self.text = text
        self._rest = _name(last) if last.endswith(":path}") else None
        self._parts = [_part(part, text) for part in (front if self._rest else [*front, last])]
        self.names = [part for part, is_name in self._parts if is_name] + ([self._rest] if self._rest else [])
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"The pattern {text!r} has two parameters of one name.")

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """The parameters by name; None when this is another path.

        :param segments: of :func:`split`.
        """
        count = len(self._parts)
        if len(segments) <= count if self._rest else len(segments) != count:
            return None
        found: dict[str, str] = {}
        for segment, (part, is_name) in zip(segments, self._parts, strict=False):
            if not is_name:
                if segment != part:
                    return None
            elif not segment or "/" in segment:
                return None
            else:
                found[part] = segment
        if self._rest:
            found[self._rest] = "/".join(segments[count:])
        return found


def _part(part: str, text: str) -> tuple[str, bool]:
    """What one segment has to be, and whether that is a parameter's name."""
    if "{" not in part and "}" not in part:
        return part, False
    if part.endswith(":path}"):
        raise ValueError(f"In the pattern {text!r} only the last segment may be the rest of a path.")
    return _name(part), True


def _name(part: str) -> str:
    found = _PARAMETER.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} should be a whole segment such as {{name}}, or {{name:path}} at the end.")
    return found.group(1)


# What a handler is given.

CHUNK = 65_536
"""Octets of a body handed on at a time: what Twisted's transports hold before they ask to pause."""


class Request:
    """One request, complete: a client that stops halfway never reaches a handler.

    :ivar http: Twisted's request, for what is not here.
    :ivar path: decoded, with its first slash.
    :ivar parameters: of the route's pattern, decoded.
    """

    def __init__(self, http: HttpRequest, path: str, parameters: Mapping[str, str]) -> None:
        self.http = http
        self.path = path
        self.parameters = parameters

    @property
    def method(self) -> str:
        """In capitals; a derived HEAD shows as HEAD."""
        return self.http.method.decode("ascii")

    @property
    def version(self) -> str:
        """``HTTP/1.1`` or ``HTTP/1.0``."""
        return self.http.clientproto.decode("ascii")

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.http.address

    def header(self, name: str) -> str | None:
        """A header's value; when it stands more than once, all joined with commas. None when it is not there."""
        values = self.http.requestHeaders.getRawHeaders(name.encode())
        return ", ".join(map(_text, values)) if values else None

    @cached_property
    def headers(self) -> dict[str, str]:
        """All headers, by name in lower case."""
        raw = self.http.requestHeaders.getAllRawHeaders()
        return {name.decode("ascii").lower(): ", ".join(map(_text, values)) for name, values in raw}

    def query(self, name: str) -> str | None:
        """A parameter of the query that may stand once; None when it is missing or empty.

        :raises HttpError: it stands more than once, or is not UTF-8.
        """
        return parameter(self.http, name)

    def queries(self, name: str) -> list[str]:
        """All values of a parameter of the query. :raises HttpError: one is not UTF-8."""
        return parameters(self.http, name)

    @property
    def body(self) -> IO[bytes]:
        """What the client sent, as a file; small ones in memory, large ones on disk."""
        return self.http.content

    async def chunks(self, octets: int = CHUNK) -> AsyncIterator[bytes]:
        """What the client sent, piece by piece from where :attr:`body` stands.

        :param octets: at most so many at a time.
        """
        while chunk := self.body.read(octets):
            yield chunk


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


Handler: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
"""What the server knows; 501 for anything else, unless a row of the table has it (RFC 9110, 9.1)."""


class Route:
    """One row: a pattern, and a handler for each method.

    ``Route("/channels/{name:path}", GET=show, PUT=publish, DELETE=forget)``

    :ivar pattern: of the path.
    :ivar handlers: by method.
    :ivar public: whether pages of any other site may read the answers (CORS). Never for what needs a password.
    """

    def __init__(self, pattern: str, *, public: bool = False, **handlers: Handler) -> None:
        """:raises ValueError: the pattern is wrong, or a method is not in capitals, or there is none."""
        if not handlers or not all(method.isupper() for method in handlers):
            raise ValueError(f"The route {pattern!r} needs handlers by method, in capitals: GET=…, PUT=….")
        self.pattern = Pattern(pattern)
        self.handlers = handlers
        self.public = public

    def handler(self, method: str) -> Handler | None:
        """Who answers, HEAD as GET."""
        found = self.handlers.get(method)
        return self.handlers.get("GET") if found is None and method == "HEAD" else found


def every_method(pattern: str, handler: Handler, *, public: bool = False) -> Route:
    """A row whose handler sees to all methods itself: a WSGI application does."""
    return Route(pattern, public=public, **dict.fromkeys(METHODS, handler))


@dataclass(frozen=True, slots=True)
class Found:
    """Who answers a request.

    :ivar handler: None for an OPTIONS that the table answers.
    :ivar methods: what this path knows; for ``Allow``.
    """

    handler: Handler | None
    path: str
    parameters: Mapping[str, str]
    methods: Sequence[str]
    public: bool


class Routes:
    """The rows, in order."""

    def __init__(self, rows: Iterable[Route]) -> None:
        self.rows = list(rows)
        self._methods = {*METHODS, *(method for row in self.rows for method in row.handlers)}

    def find(self, method: str, path: bytes) -> Found:
        """Who answers.

        :param path: as the client sent it, without the query.
        :raises HttpError: 501 for a method nobody knows, 400 for what is no path, 404, and 405 with ``Allow``.
        """
        if method not in self._methods:
            raise HttpError(501, f"This server knows {', '.join(METHODS)}.")
        try:
            segments = split(path)
        except BadPath as error:
            raise HttpError(400, str(error)) from None
        decoded = "/" + "/".join(segments)
        fitting = [(row, found) for row in self.rows if (found := row.pattern.match(segments)) is not None]
        if not fitting:
            raise HttpError(404, "There is nothing here.")
        methods = _methods(row for row, _ in fitting)
        for row, parameters in fitting:
            handler = row.handler(method)
            if handler is not None:
                return Found(handler, decoded, parameters, methods, row.public)
        if method == "OPTIONS":
            return Found(None, decoded, fitting[0][1], methods, fitting[0][0].public)
        raise HttpError(405, f"This answers {', '.join(methods)}.", Allow=", ".join(methods))


def _methods(rows: Iterable[Route]) -> list[str]:
    """What these rows answer together, in order, with what is derived."""
    known = dict.fromkeys(method for row in rows for method in row.handlers)
    if "GET" in known:
        known["HEAD"] = None
    known["OPTIONS"] = None
    return sorted(known, key=lambda method: (METHODS.index(method) if method in METHODS else len(METHODS), method))


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
