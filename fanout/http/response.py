"""What a handler answers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from twisted.web.resource import IResource

from fanout.http.server import REASONS, HttpRequest, error_body
from fanout.hub.subscriber import Form

HTML = "text/html; charset=utf-8"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HARMLESS = "default-src 'none'; sandbox"
"""A Content-Security-Policy for somebody else's words: a browser shows them, and runs nothing of them."""

Headers: TypeAlias = Sequence[tuple[str, str]]


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


@dataclass(frozen=True, slots=True)
class EventStream:
    """A body that never ends: every value of some topics from the last one on, as server-sent events.

    :ivar destinations: the topics, as a client would write them.
    :ivar form: writes a message as an event, for a destination.
    :ivar last_id: the event the client saw last; None for a newcomer.
    """

    destinations: tuple[str, ...]
    form: Callable[[str], Form]
    last_id: str | None = None


@dataclass(frozen=True, slots=True)
class NextValue:
    """An answer that waits for the next value of a topic; thousands may wait at a time.

    :ivar destination: the topic, as a client would write it.
    :ivar form: writes a message as :attr:`answer` wants it. Clients that wait with equal forms share the octets.
    :ivar answer: makes the response of what the form wrote. It must not hold the request, which is long gone then.
    :ivar seconds: how long it waits; None for as long as the client does.
    :ivar nothing: the response after these seconds.
    :ivar last_id: what followed this message, if it did already; None for what is said from now on.
    :ivar content_type: for HEAD, which is not held.
    """

    destination: str
    form: Callable[[str], Form]
    answer: Callable[[bytes], Response]
    seconds: float | None
    nothing: Response
    last_id: str | None = None
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A resource of Twisted answers: a WebSocket, files, a WSGI application.

    :ivar resource: what answers.
    :ivar rest: how much of the path's end, in segments, lies within it.
    """

    resource: IResource
    rest: int = 0


Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes] | EventStream


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    :ivar body: octets, sent with their length; or pieces of octets, sent as they come (in chunks, or to a client of
        HTTP/1.0 until the connection closes); or topics, streamed. Pieces must be made without blocking.
    :ivar status: of HTTP.
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


NO_CONTENT = Response(status=204)

Answer: TypeAlias = Response | NextValue | Elsewhere


# What a client sees of an error. Sans-IO.

ErrorPage: TypeAlias = Callable[[HttpError], Response]

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body></html>
"""


def html_page(error: HttpError) -> Response:
    """A small page: the status in words, and why."""
    title = f"{error.status} {REASONS[error.status].decode()}"
    return Response.html(_PAGE.format(title=escape(title), detail=escape(error.detail)), error.status)


def json_page(error: HttpError) -> Response:
    """As the engine's other doors answer: ``{"error": …, "detail": …}``."""
    return Response(error_body(error.status, error.detail), error.status, JSON)


class ErrorPages:
    """The page of each status. A page gets the headers of its error besides its own."""

    def __init__(self, pages: Mapping[int, ErrorPage] | None = None, default: ErrorPage = html_page) -> None:
        """
        :param pages: by status. They answer what no handler ever saw, too, so they are given no request.
        :param default: for all others.
        """
        self._pages = dict(pages or {})
        self._default = default

    def page(self, error: HttpError) -> Response:
        """The answer; its status is the error's whatever the page says, and its body has a length."""
        made = self._pages.get(error.status, self._default)(error)
        body = made.body if isinstance(made.body, bytes) else html_page(error).body
        return Response(body, error.status, made.content_type, (*made.headers, *error.headers.items()))
