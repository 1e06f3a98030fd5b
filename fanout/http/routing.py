"""The routing table of a site, which maps paths and methods to handlers, and the request that a handler gets.

A handler is a function of one argument: ``async def show(request: Request) -> Response``. It may also be a plain
function or a method. The first route that matches path and method answers. The handler of GET also answers HEAD, and
the table answers OPTIONS, unless a route has handlers for these methods. The table does no input or output.

A :class:`Pattern` of paths consists of segments:

=============== =================================================================
``/hello``      exactly these segments
``{name}``      one whole segment, not empty
``{name:path}`` the rest of the path, which may be empty and may have slashes; only at the end
=============== =================================================================

A path is first split and then decoded, so an encoded slash never splits a segment: only ``{name:path}`` accepts one. A
path that could lead out of a folder, or forge a line of a log, is refused (:class:`BadPath`). Only a route of
:func:`every_method` gets such paths, because PEP 3333 gives every path to a WSGI application.

:class:`Routes` is the table of :class:`Route` objects; its result is :class:`Found`. Handlers get a :class:`Request`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import IO, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from fanout.http.http_server import HttpRequest
from fanout.http.response import Answer, HttpError

_PARAMETER = re.compile(r"\{([a-z_][a-z0-9_]*)(:path)?\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PLAIN = re.compile(rb"/[A-Za-z0-9/_~*:,.-]*")


class BadPath(ValueError):
    """The path is invalid. The text says why, for the client."""


def split(path: bytes) -> list[str]:
    """Split a path at its slashes, and decode each segment. The first slash is not part of a segment.

    :param path: the path as the client sent it, without the query.
    :raises BadPath: it is not UTF-8, has control characters, or segments ``.`` or ``..``, encoded or not.
    """
    if b"/." not in path and _PLAIN.fullmatch(path):  # most paths have nothing to decode or refuse
        return path[1:].decode("ascii").split("/")
    segments = split_any(path)
    for segment in segments:
        if not segment.isascii() and any(map(_is_half, segment)):
            raise BadPath("A path must be UTF-8.")
        if _CONTROL.search(segment):
            raise BadPath("A path must not contain control characters.")
        if {".", ".."} & set(re.split(r"[/\\]", segment)):
            raise BadPath("A path must not contain the segments . or .., encoded or not.")
    return segments


def split_any(path: bytes) -> list[str]:
    """Split a path like :func:`split`, but accept every octet. An octet that is not UTF-8 becomes half of a surrogate
    pair, which ``surrogateescape`` encodes as the same octet.

    :raises BadPath: the path does not begin with a slash, or has an invalid ``%`` (RFC 3986, 3.3).
    """
    if not path.startswith(b"/"):
        raise BadPath("A path must begin with a slash.")
    if _BAD_PERCENT.search(path):
        raise BadPath("Two hexadecimal digits must follow each % of a path.")
    return [unquote_to_bytes(segment).decode(errors="surrogateescape") for segment in path[1:].split(b"/")]


def _is_half(character: str) -> bool:
    """Whether a character is half of a surrogate pair."""
    return "\ud800" <= character <= "\udfff"


class Pattern:
    """A pattern of paths, such as ``/channels/{name:path}``.

    :ivar text: the pattern as it was written.
    :ivar prefix: the number of segments before the first parameter.
    :ivar names: the names of the parameters, in order.
    :ivar first: the text of the first segment; None if this is a parameter.
    """

    def __init__(self, text: str) -> None:
        """:raises ValueError: the pattern is invalid."""
        if not text.startswith("/"):
            raise ValueError(f"The pattern {text!r} should begin with a slash.")
        *front, last = text[1:].split("/")
        self.text = text
        self._rest = _name(last) if last.endswith(":path}") else None
        self._parts = [_part(part, text) for part in (front if self._rest else [*front, last])]
        self.names = [part for part, is_name in self._parts if is_name] + ([self._rest] if self._rest else [])
        self._literal = [part for part, _ in self._parts] if not self.names else None
        part, is_name = self._parts[0] if self._parts else ("", True)
        self.first = None if is_name else part
        self.prefix = next((at for at, (_, is_name) in enumerate(self._parts) if is_name), len(self._parts))
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"The pattern {text!r} has two parameters of one name.")

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """The parameters by name; None if the path does not match.

        :param segments: the segments of the path, from :func:`split`.
        """
        if self._literal is not None:
            return _NO_PARAMETERS if segments == self._literal else None
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


_NO_PARAMETERS: Mapping[str, str] = {}


def _part(part: str, text: str) -> tuple[str, bool]:
    """The text of a segment, or the name of its parameter; and whether it is a parameter."""
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


CHUNK = 65_536
"""Octets of a piece of a body: the buffer size of Twisted's transports."""


class Request:
    """One complete request. Handlers do not get incomplete requests.

    :ivar http: Twisted's request, with everything that has no attribute here.
    :ivar segments: the segments of the path, each decoded separately.
    :ivar parameters: the parameters of the route's pattern, decoded.
    """

    def __init__(self, http: HttpRequest, segments: Sequence[str], parameters: Mapping[str, str]) -> None:
        self.http = http
        self.segments = segments
        self.parameters = parameters

    @property
    def path(self) -> str:
        """The decoded path, with its first slash."""
        return "/" + "/".join(self.segments)

    @property
    def method(self) -> str:
        """The method in capitals. It is ``HEAD`` if the handler of GET answers HEAD."""
        return self.http.method.decode("ascii")

    @property
    def version(self) -> str:
        """The version of HTTP: ``HTTP/1.1`` or ``HTTP/1.0``."""
        return self.http.clientproto.decode("ascii")

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self.http.address

    @property
    def port(self) -> int:
        """The client's port."""
        return self.http.channel.port

    def header(self, name: str) -> str | None:
        """The values of all headers with this name, joined with commas; None if there is none."""
        values = self.http.requestHeaders.getRawHeaders(name.encode())
        return ", ".join(map(_text, values)) if values else None

    @cached_property
    def headers(self) -> dict[str, str]:
        """All headers, by their name in lower case."""
        raw = self.http.requestHeaders.getAllRawHeaders()
        return {name.decode("ascii").lower(): ", ".join(map(_text, values)) for name, values in raw}

    def query(self, name: str) -> str | None:
        """The value of a parameter of the query that may occur once; None if it is missing or empty.

        :raises HttpError: it occurs more than once, or is not UTF-8.
        """
        values = self.queries(name)
        if len(values) > 1:
            raise HttpError(400, f"The parameter {name} may occur only once.")
        return values[0] or None if values else None

    def queries(self, name: str) -> list[str]:
        """All values of a parameter of the query. :raises HttpError: one is not UTF-8."""
        try:
            return [value.decode() for value in (self.http.args or {}).get(name.encode(), [])]
        except UnicodeDecodeError:
            raise HttpError(400, f"The parameter {name} should be UTF-8.") from None

    @property
    def body(self) -> IO[bytes]:
        """The body of the request, as a file: in memory if it is small, on disk if it is large."""
        return self.http.content

    async def chunks(self, octets: int = CHUNK) -> AsyncIterator[bytes]:
        """The body in pieces, from the current position of :attr:`body`.

        :param octets: the maximum length of a piece.
        """
        while chunk := self.body.read(octets):
            yield chunk

    def run_to_end(self) -> None:
        """Do not cancel the handler if the client disconnects, because its work must be completed.

        Must be called before the handler first waits for something.
        """
        self.http.lost = _go_on


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _go_on() -> None:
    """Called if the client disconnects; the handler continues."""


Handler: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
"""The methods that the server knows. Other methods get a 501, unless a route has a handler for them (RFC 9110, 9.1)."""
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""A token (RFC 9110, 5.6.2). The longest registered method, UPDATEREDIRECTREF, has 17 characters."""

CORS = {"access-control-allow-origin": "*", "access-control-expose-headers": "*"}
"""Headers that allow scripts of any site to read an answer."""


class Route:
    """One row of the table: a pattern, and a handler for each method.

    ``Route("/channels/{name:path}", GET=show, PUT=publish, DELETE=forget)``

    :ivar pattern: the pattern of its paths.
    :ivar handlers: the handlers by method.
    :ivar public: whether scripts of any other site may read the answers (CORS). Must be false for content that needs a
        password.
    :ivar without_auth: whether the route needs no token, on a site where other routes need one.
    :ivar every: whether it accepts every method and every path; see :func:`every_method`.
    :ivar before: called before the body of a request is read; raises :class:`HttpError` for a client that may not send
        it. The handler must check this again, because it is not called for a request without a body.
    """

    every = False

    def __init__(
        self,
        pattern: str,
        *,
        public: bool = False,
        without_auth: bool = False,
        before: Callable[[Request], None] | None = None,
        **handlers: Handler,
    ) -> None:
        """:raises ValueError: the pattern is invalid, there is no handler, or a method is not in capitals."""
        if not handlers or not all(method.isupper() for method in handlers):
            raise ValueError(f"The route {pattern!r} needs handlers by method, in capitals: GET=…, PUT=….")
        self.pattern = Pattern(pattern)
        self.handlers = handlers
        self.public = public
        self.without_auth = without_auth
        self.before = before

    def handler(self, method: str) -> Handler | None:
        """The handler of a method; None if there is none. HEAD has the handler of GET if it has no handler itself."""
        found = self.handlers.get(method)
        return self.handlers.get("GET") if found is None and method == "HEAD" else found


def subtree(
    path: str,
    *,
    public: bool = False,
    without_auth: bool = False,
    before: Callable[[Request], None] | None = None,
    **handlers: Handler,
) -> list[Route]:
    """The routes of a path and of all paths below it. A path below it has the parameter ``rest``; the path itself has
    no parameter.
    """
    patterns = (path, f"{path}/{{rest:path}}")
    return [Route(each, public=public, without_auth=without_auth, before=before, **handlers) for each in patterns]


def every_method(pattern: str, handler: Handler, *, without_auth: bool = False) -> Route:
    """A route whose handler answers every method, including those that the server does not know, and every path,
    including paths that are not UTF-8 or have segments ``..``. It is for WSGI applications.
    """
    route = Route(pattern, public=False, without_auth=without_auth, before=None, **dict.fromkeys(METHODS, handler))
    route.every = True
    return route


class Found(NamedTuple):
    """The result of a search in the table. ``public``, ``without_auth`` and ``before`` are those of the :class:`Route`.

    :ivar handler: the handler; None for an OPTIONS that the table answers.
    :ivar segments: the segments of the path, decoded.
    :ivar parameters: the parameters of the pattern, decoded.
    :ivar methods: the methods of this path, for the answer to OPTIONS; empty if there is a handler.
    """

    handler: Handler | None
    segments: Sequence[str]
    parameters: Mapping[str, str]
    methods: Sequence[str]
    public: bool
    without_auth: bool = False
    before: Callable[[Request], None] | None = None


class Routes:
    """The rows of the table, in order."""

    def __init__(self, rows: Iterable[Route], *, by_prefix: bool = False) -> None:
        """
        :param rows: the routes; the first one that matches answers.
        :param by_prefix: whether the route with the longest prefix answers, and hides all routes with a shorter prefix:
            a missing file below ``/static``, for example, is not requested from an application at the root.
        """
        self._by_prefix = by_prefix
        self.rows = sorted(rows, key=lambda row: -row.pattern.prefix) if by_prefix else list(rows)
        self._methods = {*METHODS, *(method for row in self.rows for method in row.handlers)}
        firsts = {row.pattern.first for row in self.rows}
        self._by_first = {first: [row for row in self.rows if row.pattern.first in (first, None)] for first in firsts}
        self._others = self._by_first.get(None, [])

    def find(self, method: str, path: bytes) -> Found:
        """Find the handler of a request.

        :param method: the method of the request.
        :param path: the path as the client sent it, without the query.
        :raises HttpError: 501 for an unknown method; 400 for an invalid path; 404 if no route matches the path; 405
            with ``Allow`` if no matching route has a handler for the method.
        """
        try:
            segments = split(path)
        except BadPath as error:
            return self._find_every(method, path, HttpError(400, str(error)))
        if method not in self._methods:
            return self._find_every(method, path, HttpError(501, f"This server supports {', '.join(METHODS)}."))
        fitting: list[Route] = []
        for row in self._by_first.get(segments[0], self._others):
            values = row.pattern.match(segments)
            if values is not None:
                if fitting and self._by_prefix and row.pattern.prefix < fitting[0].pattern.prefix:
                    break
                handler = row.handler(method)
                if handler is not None:
                    return Found(handler, segments, values, (), row.public, row.without_auth, row.before)
                fitting.append(row)
        if not fitting:
            raise HttpError(404, "Nothing is served at this path.")
        methods, public = _methods(fitting), fitting[0].public
        if method == "OPTIONS":
            return Found(None, segments, {}, methods, public)
        raise _not_allowed(methods, public=public)

    def _find_every(self, method: str, path: bytes, error: HttpError) -> Found:
        """Find the handler of a request that only a route of :func:`every_method` accepts. It must be the first route
        that matches the path.

        :param error: the error if there is no such route.
        :raises HttpError: this error, or 400 for a path that :func:`split_any` refuses.
        """
        try:
            segments = split_any(path)
        except BadPath as bad:
            raise HttpError(400, str(bad)) from None
        for row in self._by_first.get(segments[0], self._others):
            values = row.pattern.match(segments)
            if values is not None:
                if row.every and _METHOD.fullmatch(method):
                    return Found(row.handlers["GET"], segments, values, (), row.public, row.without_auth, row.before)
                break
        raise error


def _methods(rows: Iterable[Route]) -> list[str]:
    """The methods that these routes answer together, with HEAD and OPTIONS, in order."""
    known = dict.fromkeys(method for row in rows for method in row.handlers)
    if "GET" in known:
        known["HEAD"] = None
    known["OPTIONS"] = None
    return sorted(known, key=lambda method: (METHODS.index(method) if method in METHODS else len(METHODS), method))


def _not_allowed(methods: Sequence[str], *, public: bool) -> HttpError:
    named = ", ".join(method for method in methods if method != "OPTIONS")
    error = HttpError(405, f"This path supports only {named}.", Allow=", ".join(methods))
    error.headers = {**CORS, **error.headers} if public else error.headers
    return error
