"""The table of a site: which handler answers which method at which path. Sans-IO.

The first row that fits path and method answers. HEAD is answered by the handler of GET, and OPTIONS by the table,
unless a row has them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fanout.doors.http_endpoint import HttpError
from fanout.web.pattern import BadPath, Pattern, split
from fanout.web.request import Request
from fanout.web.response import Answer

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
