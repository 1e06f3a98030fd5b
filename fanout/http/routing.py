"""The routing table of a site, which maps paths and methods to handlers, and the request that a handler gets.

A handler is a function of one argument: ``async def show(request: Request) -> Response``. It may also be a plain
function or a method. The first route that matches path and method answers. The handler of GET also answers HEAD, and
the table answers OPTIONS, unless a route has handlers for these methods. The table does no input or output.

A :class:`Pattern` of paths consists of segments:

=============== ================================================
``/hello``      these segments and no others
``{name}``      one whole segment, not empty
``{name:path}`` the rest, which may be empty and may have slashes; only at the end
=============== ================================================

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
    """The segments of a path behind its first slash, each decoded.

    :param path: as the client sent it, without the query.
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
    """As :func:`split`, with every octet that can be written in a path. One that is no UTF-8 is half of a surrogate
    pair: ``surrogateescape`` makes it an octet again.

    :raises BadPath: this is no path at all (RFC 3986, 3.3).
    """
    if not path.startswith(b"/"):
        raise BadPath("A path must begin with a slash.")
    if _BAD_PERCENT.search(path):
        raise BadPath("Two hexadecimal digits must follow each % of a path.")
    return [unquote_to_bytes(segment).decode(errors="surrogateescape") for segment in path[1:].split(b"/")]


def _is_half(character: str) -> bool:
    """Whether this is half of a surrogate pair."""
    return "\ud800" <= character <= "\udfff"


class Pattern:
    """A pattern of paths, such as ``/channels/{name:path}``.

    :ivar text: as it was written.
    :ivar prefix: how many segments in front are no parameters.
    :ivar names: of its parameters, in their order.
    :ivar first: what the first segment has to be; None for a parameter.
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
        self._literal = [part for part, _ in self._parts] if not self.names else None
        part, is_name = self._parts[0] if self._parts else ("", True)
        self.first = None if is_name else part
        self.prefix = next((at for at, (_, is_name) in enumerate(self._parts) if is_name), len(self._parts))
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"The pattern {text!r} has two parameters of one name.")

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """The parameters by name; None when this is another path.

        :param segments: of :func:`split`.
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


CHUNK = 65_536
"""Octets of a body handed on at a time: as many as Twisted's transports hold before they ask to pause."""


class Request:
    """One request, complete: a client that stops halfway never reaches a handler.

    :ivar http: Twisted's request, for what is not here.
    :ivar segments: of the path, each decoded by itself.
    :ivar parameters: of the route's pattern, decoded.
    """

    def __init__(self, http: HttpRequest, segments: Sequence[str], parameters: Mapping[str, str]) -> None:
        self.http = http
        self.segments = segments
        self.parameters = parameters

    @property
    def path(self) -> str:
        """Decoded, with its first slash."""
        return "/" + "/".join(self.segments)

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

    @property
    def port(self) -> int:
        """The client's port."""
        return self.http.channel.port

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
        """What the client sent, as a file; small ones in memory, large ones on disk."""
        return self.http.content

    async def chunks(self, octets: int = CHUNK) -> AsyncIterator[bytes]:
        """What the client sent, piece by piece from where :attr:`body` stands.

        :param octets: at most so many at a time.
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
    """The client has gone."""


Handler: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
"""The methods the server knows; 501 for any other, unless a route has it (RFC 9110, 9.1)."""
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""A token (RFC 9110, 5.6.2). The longest registered method, UPDATEREDIRECTREF, has 17 characters."""

CORS = {"access-control-allow-origin": "*", "access-control-expose-headers": "*"}
"""Headers that let scripts of any site read an answer."""


class Route:
    """One row of the table: a pattern, and a handler for each method.

    ``Route("/channels/{name:path}", GET=show, PUT=publish, DELETE=forget)``

    :ivar pattern: of the path.
    :ivar handlers: by method.
    :ivar public: whether scripts of any other site may read the answers (CORS). Never for what needs a password.
    :ivar without_auth: whether the route needs no token on a site that asks for one.
    :ivar every: whether it takes any method, and any path: see :func:`every_method`.
    :ivar before: is called before the body of a request is read, if it has one, and raises :class:`HttpError` for a
        client that may not send it. The handler has to check again: a request may have no body.
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
        """:raises ValueError: the pattern is wrong, or a method is not in capitals, or there is none."""
        if not handlers or not all(method.isupper() for method in handlers):
            raise ValueError(f"The route {pattern!r} needs handlers by method, in capitals: GET=…, PUT=….")
        self.pattern = Pattern(pattern)
        self.handlers = handlers
        self.public = public
        self.without_auth = without_auth
        self.before = before

    def handler(self, method: str) -> Handler | None:
        """The handler of a method; of GET for HEAD."""
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
    """The routes of a path and of everything below it. What lies below is the parameter ``rest``, which the path itself
    does not have.
    """
    patterns = (path, f"{path}/{{rest:path}}")
    return [Route(each, public=public, without_auth=without_auth, before=before, **handlers) for each in patterns]


def every_method(pattern: str, handler: Handler, *, without_auth: bool = False) -> Route:
    """A route whose handler answers every method itself, those that the server does not know included, and every path:
    also one that is not UTF-8, or has segments ``..``. So it is with a WSGI application.
    """
    route = Route(pattern, public=False, without_auth=without_auth, before=None, **dict.fromkeys(METHODS, handler))
    route.every = True
    return route


class Found(NamedTuple):
    """What answers a request.

    :ivar handler: None for an OPTIONS that the table answers.
    :ivar segments: of the path, decoded.
    :ivar methods: that this path knows, for the answer to OPTIONS.
    :ivar before: see :class:`Route`.
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
        :param by_prefix: whether the row with the longest prefix comes first, and hides what is above it: no method and
            no file that is missing below ``/static`` is looked for in an application at the root.
        """
        self._by_prefix = by_prefix
        self.rows = sorted(rows, key=lambda row: -row.pattern.prefix) if by_prefix else list(rows)
        self._methods = {*METHODS, *(method for row in self.rows for method in row.handlers)}
        firsts = {row.pattern.first for row in self.rows}
        self._by_first = {first: [row for row in self.rows if row.pattern.first in (first, None)] for first in firsts}
        self._others = self._by_first.get(None, [])

    def find(self, method: str, path: bytes) -> Found:
        """What answers a request.

        :param path: as the client sent it, without the query.
        :raises HttpError: 501 for an unknown method, 400 for what is no path, 404, and 405 with ``Allow``.
        """
        try:
            segments = split(path)
        except BadPath as error:
            return self._find_every(method, path, HttpError(400, str(error)))
        if method not in self._methods:
            return self._find_every(method, path, HttpError(501, f"This server knows {', '.join(METHODS)}."))
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
        """What answers a request that only a row of :func:`every_method` takes, if that is the first one that fits.

        :raises HttpError: this one, as there is none; 400 for what is no path or method at all.
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
    """The methods that these rows answer together, in order, and those that are derived."""
    known = dict.fromkeys(method for row in rows for method in row.handlers)
    if "GET" in known:
        known["HEAD"] = None
    known["OPTIONS"] = None
    return sorted(known, key=lambda method: (METHODS.index(method) if method in METHODS else len(METHODS), method))


def _not_allowed(methods: Sequence[str], *, public: bool) -> HttpError:
    named = ", ".join(method for method in methods if method != "OPTIONS")
    error = HttpError(405, f"This answers {named} only.", Allow=", ".join(methods))
    error.headers = {**CORS, **error.headers} if public else error.headers
    return error
