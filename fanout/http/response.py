"""What a handler answers, and what it raises when it cannot. Sans-IO: :mod:`fanout.http.dispatch` sends it.

=================== ==================================================================================
``Response``        status, headers and a body: octets, pieces of octets, a file, or a stream of events
``NextValue``       a long poll: answered when the next message on its topics comes
``Upgrade``         the connection leaves HTTP, as for a WebSocket
``HttpError``       raised: the answer is an error
``ErrorPages``      what a client sees of an error: a page of the site, or else :func:`json_page`
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
"""A Content-Security-Policy for content of strangers: a browser shows it, and runs nothing of it."""

NEVER_KEPT = ("cache-control", "no-store")
"""A header for answers whose body is sent piece by piece, or that have none: caches may keep a 204 (RFC 9110, 15.3.5).
Answers of octets have it anyway."""

Headers: TypeAlias = Sequence[tuple[str, str]]

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}  # Twisted's own are not complete


class HttpError(Exception):
    """A request is answered with an error.

    :ivar status: of HTTP, 4xx or 5xx.
    :ivar detail: for the client: why, and what to do.
    :ivar headers: to be sent with it.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, slots=True)
class EventStream:
    """A body that never ends: every message on some topics from the last one on, as server-sent events.

    :ivar destinations: the topics, as a client would write them.
    :ivar form: writes a message as an event, for a destination.
    :ivar last_id: the event the client saw last; None for a new client.
    """

    destinations: tuple[str, ...]
    form: Callable[[str], Form]
    last_id: str | None = None


@dataclass(frozen=True, slots=True)
class CustomBody:
    """A body that the handler's own code writes to the request, at its own pace.

    :ivar write: writes the body, or begins to, after the handler has returned; not called for HEAD. It sends the
        headers itself. As long as it has written nothing it may raise :class:`HttpError`.
    """

    write: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class NextValue:
    """A long poll: an answer that waits for the next message on its topics. Thousands may wait at a time.

    :ivar destinations: the topics, as a client would write them.
    :ivar form: writes a message as :attr:`answer` wants it. Clients that wait with equal forms share the octets.
    :ivar answer: makes the response of what the form wrote, one or more messages. It must not refer to the request,
        whose memory is freed while it waits.
    :ivar last_id: the message the client saw last; what followed it is answered at once. None for a new client.
    :ivar single: whether the response has room for one message only.
    :ivar newest: whether a new client gets the newest message at once; otherwise it waits for the next one.
    :ivar seconds: how long it waits; None for the server's time of a poll, ``math.inf`` for as long as the client does.
    :ivar nothing: the response after these seconds; None for a 408.
    :ivar content_type: for HEAD, which is answered at once.
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
    """The connection leaves HTTP, and another protocol takes it over.

    :ivar protocol: gets everything the client sends behind the request.
    :ivar head: the octets that tell the client so: a response 101.
    """

    protocol: IProtocol
    head: bytes


Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes] | Path | EventStream | CustomBody


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    :ivar body: octets, sent with their length; or pieces of octets, sent as they come (in chunks, or to a client of
        HTTP/1.0 until the connection closes), which must be made without blocking; or the path of a file, sent whole or
        in the ranges that the client asks for, unless the client has it already (RFC 9110, 13 and 14); or a stream.
    :ivar status: of HTTP. A file's is decided when it is sent.
    :ivar content_type: of a body; not sent with 204 and 304.
    :ivar headers: besides; a name may stand twice.
    """

    body: Body = b""
    status: int = 200
    content_type: str = TEXT
    headers: Headers = ()

    @classmethod
    def text(cls, text: str, status: int = 200, headers: Headers = ()) -> Response:
        """Plain text, as UTF-8."""
        return cls(text.encode(errors="replace"), status, TEXT, headers)

    @classmethod
    def html(cls, text: str, status: int = 200, headers: Headers = ()) -> Response:
        """A page, as UTF-8."""
        return cls(text.encode(errors="replace"), status, HTML, headers)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Headers = ()) -> Response:
        """A value as JSON, with a line's end."""
        return cls(json.dumps(value).encode() + b"\n", status, JSON, headers)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Response:
        """:param location: a path, or a URL; encoded as URLs are."""
        return cls(f"It is at {location}\n".encode(), status, TEXT, (("location", location),))


NO_CONTENT = Response(status=204, headers=(NEVER_KEPT,))

Answer: TypeAlias = Response | NextValue | Upgrade


ErrorPage: TypeAlias = Callable[[HttpError], Response]


def html_page(error: HttpError) -> Response:
    """A small page: the status in words, and why."""
    title = f"{error.status} {REASONS[error.status].decode()}"
    return Response.html(pages.message(title, error.detail), error.status, pages.HEADERS)


def json_page(error: HttpError) -> Response:
    """JSON: ``{"error": …, "detail": …}``."""
    return Response.json({"error": REASONS[error.status].decode(), "detail": error.detail}, error.status)


class ErrorPages:
    """The page of each status. A page gets the headers of its error besides its own."""

    def __init__(self, pages: Mapping[int, ErrorPage] | None = None, default: ErrorPage = html_page) -> None:
        """
        :param pages: by status. They also answer what is no request at all, so they are given none.
        :param default: for all others.
        """
        self._pages = dict(pages or {})
        self._default = default

    def page(self, error: HttpError) -> Response:
        """The answer; its status is the error's whatever the page says, and its body has a length."""
        made = self._pages.get(error.status, self._default)(error)
        body = made.body if isinstance(made.body, bytes) else html_page(error).body
        return Response(body, error.status, made.content_type, (*made.headers, *error.headers.items()))
