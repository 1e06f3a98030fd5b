"""The answers that a handler may return, and the error that it may raise. Sans-IO: :mod:`fanout.http.dispatch` sends
them.

=================== ==================================================================================
``Response``        status, headers and a body: octets, pieces of octets, a file, or a stream of events
``NextValue``       a long poll, which is answered with the next message on its topics
``Upgrade``         the connection switches to another protocol, such as WebSocket
``HttpError``       an exception: the answer is an error
``ErrorPages``      the body of errors: a page of the site, or JSON
=================== ==================================================================================
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

from twisted.internet.interfaces import IProtocol

from fanout.http import pages
from fanout.hub.subscriber import Form

HTML = "text/html; charset=utf-8"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HARMLESS = "default-src 'none'; sandbox"
"""A Content-Security-Policy for content from untrusted users: a browser shows it, but does not execute its scripts."""

NEVER_KEPT = ("cache-control", "no-store")
"""A header for answers whose body is sent piece by piece, and for answers without a body: otherwise caches may keep a
204 (RFC 9110, 15.3.5). Answers with a body of octets get this header by default."""

Headers: TypeAlias = Sequence[tuple[str, str]]

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}  # Twisted's own table is not complete


class HttpError(Exception):
    """An exception that answers a request with an error.

    :ivar status: the HTTP status, 4xx or 5xx.
    :ivar detail: a text for the client: the reason, and what to do.
    :ivar headers: additional headers of the answer.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, slots=True)
class EventStream:
    """A body without an end: the last message and all later messages on some topics, as server-sent events.

    :ivar destinations: the topics, as a client writes them.
    :ivar form: a function from a destination to the form that encodes its messages as events.
    :ivar last_id: the id of the last event that the client received; None for a new client.
    """

    destinations: tuple[str, ...]
    form: Callable[[str], Form]
    last_id: str | None = None


@dataclass(frozen=True, slots=True)
class CustomBody:
    """A body that the handler's own code writes to the request.

    :ivar write: writes the body, or begins to, after the handler has returned. It is not called for HEAD. It sends the
        headers itself, and may raise :class:`HttpError` before it has written anything.
    """

    write: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class NextValue:
    """A long poll: an answer that waits for the next message on its topics. Thousands may wait at a time.

    :ivar destinations: the topics, as a client writes them.
    :ivar form: a function from a destination to the form that encodes its messages for :attr:`answer`. Clients with
        equal forms share the octets.
    :ivar answer: makes the response from the encoded messages, one or more. It must not refer to the request, whose
        memory is freed while it waits.
    :ivar last_id: the id of the last message that the client received; it gets later messages immediately. None for a
        new client.
    :ivar single: whether the response has room for one message only.
    :ivar newest: whether a new client gets the newest message immediately; otherwise it waits for the next one.
    :ivar seconds: seconds that it waits; None for HTTP_POLL_TIMEOUT, ``math.inf`` for no limit.
    :ivar nothing: the response if no message came in this time; None for a 408.
    :ivar content_type: the type for HEAD, which is answered immediately.
    """

    destinations: tuple[str, ...]
    form: Callable[[str], Form]
    answer: Callable[[Sequence[bytes]], Response]
    last_id: str | None = None
    single: bool = True
    newest: bool = False
    seconds: float | None = None
    nothing: Response | None = None
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The connection switches from HTTP to another protocol.

    :ivar protocol: gets all octets that the client sends after the request.
    :ivar head: the octets of the response 101.
    """

    protocol: IProtocol
    head: bytes


Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes] | Path | EventStream | CustomBody


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    :ivar body: one of these. Octets are sent with their length. Pieces of octets are sent one after the other, in
        chunks, or to a client of HTTP/1.0 until the connection closes; they must be made without blocking. A path means
        a file: all of it, the ranges that the client asks for, or a 304 if the client has it (RFC 9110, 13 and 14). An
        :class:`EventStream` is sent as messages are published. A :class:`CustomBody` writes itself.
    :ivar status: the HTTP status. For a file it is ignored: the status depends on the request.
    :ivar content_type: the type of the body; not sent with 204 and 304.
    :ivar headers: additional headers; a name may occur several times.
    """

    body: Body = b""
    status: int = 200
    content_type: str = TEXT
    headers: Headers = ()

    @classmethod
    def text(cls, text: str, status: int = 200, headers: Headers = ()) -> Response:
        """An answer with plain text in UTF-8."""
        return cls(text.encode(errors="replace"), status, TEXT, headers)

    @classmethod
    def html(cls, text: str, status: int = 200, headers: Headers = ()) -> Response:
        """An answer with a page in UTF-8."""
        return cls(text.encode(errors="replace"), status, HTML, headers)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Headers = ()) -> Response:
        """An answer with a value as JSON, and a line end."""
        return cls(json.dumps(value).encode() + b"\n", status, JSON, headers)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Response:
        """A redirection. :param location: a path or a URL, percent-encoded."""
        return cls(f"It is at {location}\n".encode(), status, TEXT, (("location", location),))


NO_CONTENT = Response(status=204, headers=(NEVER_KEPT,))

Answer: TypeAlias = Response | NextValue | Upgrade


ErrorPage: TypeAlias = Callable[[HttpError], Response]


def html_page(error: HttpError) -> Response:
    """A small HTML page with the phrase of the status and the detail of the error."""
    title = f"{error.status} {REASONS[error.status].decode()}"
    return Response.html(pages.message(title, error.detail), error.status, pages.HEADERS)


def json_page(error: HttpError) -> Response:
    """JSON: ``{"error": …, "detail": …}``."""
    return Response.json({"error": REASONS[error.status].decode(), "detail": error.detail}, error.status)


class ErrorPages:
    """The page of each status. The headers of the error are added to those of its page."""

    def __init__(self, pages: Mapping[int, ErrorPage] | None = None, default: ErrorPage = html_page) -> None:
        """
        :param pages: the pages by status. They get no request, because they are also used for malformed requests.
        :param default: the page of all other statuses.
        """
        self._pages = dict(pages or {})
        self._default = default

    def page(self, error: HttpError) -> Response:
        """The answer to an error. It always has the status of the error, and a body of octets."""
        made = self._pages.get(error.status, self._default)(error)
        body = made.body if isinstance(made.body, bytes) else html_page(error).body
        return Response(body, error.status, made.content_type, (*made.headers, *error.headers.items()))
