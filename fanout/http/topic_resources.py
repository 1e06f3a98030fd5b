"""Topics as resources: values can be read, awaited, streamed, published and forgotten with any HTTP client.

=============== ============================= ==========================================================
``GET``         ``/channels``                 the topics that have a value
``GET``         ``/channels/NAME``            its last value; 404 without one
``GET``         ``/channels/NAME?wait=30``    the next value, or 204 after so many seconds; with ``last_id``
                                              the one that followed that one
``GET``         ``/channels/NAME``            with ``Accept: text/event-stream``: every value
``PUT, POST``   ``/channels/NAME``            publishes the body; 201 for a first value, else 204
``DELETE``      ``/channels/NAME``            forgets its values; 204, or 404; not where others remember them
=============== ============================= ==========================================================

:class:`Topics` has the handlers. :func:`choose` reads the Accept header (RFC 9110, 12.5.1) and decides which of several
types a client gets; it is sans-IO, and other sites use it too. :class:`ValueEvent` and :class:`PlainValue` are the
forms of a value: as a server-sent event, and as the body of an answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from fanout.application.interface import Principal, Refused
from fanout.bus.interface import BusError
from fanout.http import pages
from fanout.http.auth import check_same_site, log_in, unauthorized
from fanout.http.pending_requests import PendingRequests
from fanout.http.response import (
    HARMLESS,
    HTML,
    JSON,
    NEVER_KEPT,
    NO_CONTENT,
    Answer,
    EventStream,
    HttpError,
    NextValue,
    Response,
)
from fanout.http.routing import Handler, Request, Route
from fanout.http.sse import EVENT_STREAM, encode_id, event, last_event_id
from fanout.hub.message import Message, Publication

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's token
_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?")
_ELEMENT = re.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.)*+"?+)++', re.DOTALL)
"""Possessive, and an open quotation takes the rest, so that each octet is read once."""
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")
ACCEPT_CHARACTERS = 1_024
"""Characters of an Accept header. The longest of a browser has 140; each range is compared with each type on offer."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header, or a media type.

    :ivar parameters: besides the weight, names in lower case.
    :ivar weight: 0 for "not this" to 1.
    """

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]] = frozenset()
    weight: float = 1.0

    def covers(self, offered: MediaRange) -> bool:
        """Whether this type is one of those meant."""
        return (
            self.type in ("*", offered.type)
            and self.subtype in ("*", offered.subtype)
            and self.parameters <= offered.parameters
        )

    @property
    def precision(self) -> tuple[bool, bool, int]:
        """Of all ranges that cover a type the most precise one counts."""
        return self.type != "*", self.subtype != "*", len(self.parameters)


def parse(accept: str) -> list[MediaRange]:
    """The ranges of an Accept header. What is none is passed over, as its neighbours may still be understood.

    :raises HttpError: 431, it is too long.
    """
    if len(accept) > ACCEPT_CHARACTERS:
        raise HttpError(431, f"An Accept header may have {ACCEPT_CHARACTERS} octets.")
    return list(_ranges(accept))


def _ranges(accept: str) -> Iterator[MediaRange]:
    for element in _ELEMENT.findall(accept):
        found = _range(element.strip(" \t"))
        if found is not None:
            yield found


def _range(element: str) -> MediaRange | None:
    found = _RANGE.match(element)
    if found is None:
        return None
    kind, subtype = found.group(1).lower(), found.group(2).lower()
    if kind == "*" and subtype != "*":
        return None
    parameters = _parameters(element[found.end() :])
    if parameters is None:
        return None
    weight = parameters.pop("q", "1")
    if not _WEIGHT.fullmatch(weight):
        return None
    return MediaRange(kind, subtype, frozenset(parameters.items()), float(weight))


def _parameters(text: str) -> dict[str, str] | None:
    """By name, in lower case; None when this is none. Behind the weight others are of no meaning any more."""
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        one = _PARAMETER.match(text, place)
        if one is None:
            return None
        if one.group(1) and "q" not in found:
            found[one.group(1).lower()] = _unquote(one.group(2))
        place = one.end()
    return found


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.lower()


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The type to answer with: the one with the highest weight, and of equals the server's first.

    :param accept: the header; None or empty for a client that takes anything.
    :param offered: media types, the server's favourite first, such as ``text/plain; charset=utf-8``.
    :raises HttpError: 406, none of them is wanted; 431, the header is too long.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = parse(accept)
    weights = [_weight(_offer(each), ranges) for each in offered]
    best = max(weights)
    if best <= 0:
        raise HttpError(406, f"There is {', '.join(offered)}; Accept names none of them.", Vary="Accept")
    return offered[weights.index(best)]


def is_type(text: str) -> bool:
    """Whether this is a media type, as a Content-Type has to be."""
    return _range(text) is not None


def _weight(offer: MediaRange, ranges: Sequence[MediaRange]) -> float:
    covering = [each for each in ranges if each.covers(offer)]
    return max(covering, key=lambda each: each.precision).weight if covering else 0.0


def _offer(text: str) -> MediaRange:
    found = _range(text)
    if found is None:
        raise ValueError(f"{text!r} is no media type.")
    return found


OCTETS = "application/octet-stream"
"""The type of a value without a content-type (STOMP 1.2)."""


@dataclass(frozen=True, slots=True)
class ValueEvent:
    """A value as an event named ``message``, the name that browsers listen to by default."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The event."""
        return event("message", message.body.decode(errors="replace"), encode_id(message.message_id))


@dataclass(frozen=True, slots=True)
class PlainValue:
    """A value behind one line that holds the headers of its answer; :func:`answer_value` makes the answer of it.

    :ivar untyped: see :func:`content_type`.
    """

    destination: str
    untyped: str = OCTETS

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """One line of JSON, and the value."""
        return json.dumps([message.message_id, content_type(message, self.untyped)]).encode() + b"\n" + message.body


def content_type(message: Message, untyped: str) -> str:
    """The type of a value, as its publisher named it.

    :param untyped: the type if the publisher named none, or none that is valid.
    """
    named = dict(message.headers).get("content-type", "")
    return named if is_type(named) else untyped


def answer_value(written: Sequence[bytes]) -> Response:
    """The answer with a value. :param written: one, by :class:`PlainValue`."""
    head, _, body = written[0].partition(b"\n")
    message_id, kind = json.loads(head)
    return Response(body, 200, kind, (("message-id", message_id), ("content-security-policy", HARMLESS)))


_LONGEST_NAME = 1_024  # octets, as of a destination of STOMP
_LONGEST_TYPE = 256  # characters of a Content-Type


def check_length(destination: str) -> None:
    """:raises HttpError: this is too long for a topic."""
    if len(destination.encode()) > _LONGEST_NAME:
        raise HttpError(404, f"A topic has a name of up to {_LONGEST_NAME} octets.")


class Topics:
    """Handlers for topics. The application decides which client may publish."""

    def __init__(
        self,
        pending: PendingRequests,
        at: str = "/channels",
        *,
        prefix: str = "",
        check: Callable[[str], None] = check_length,
        realm: str = "topics",
        longest_wait: float | None = 60.0,
        read_only: bool = False,
        forgets: bool = True,
        untyped: str = OCTETS,
        largest: Callable[[], int] | None = None,
        may_publish: Callable[[Request], None] | None = None,
    ) -> None:
        """
        :param at: where they are.
        :param pending: the requests that wait for messages, and the hub and application behind them.
        :param prefix: stands before a name to make it a destination of the application, such as ``/topic/``.
        :param check: raises :class:`HttpError` for an invalid destination.
        :param realm: what a browser names when it asks for a password.
        :param longest_wait: seconds a client may wait for a value; one that wants to wait longer waits so long. None
            for the server's time of a poll.
        :param read_only: there is no PUT, POST and DELETE.
        :param forgets: there is a DELETE.
        :param untyped: the type of values whose publisher did not name one.
        :param largest: gives the octets that the bus takes in one message; None for any.
        :param may_publish: raises :class:`HttpError` for a client that may not publish, as far as that can be told
            before its body is read; the application decides in the end.
        """
        self._pending = pending
        self._largest = largest
        self._may_publish = may_publish
        self._application = pending.application
        self._at = at
        self._prefix = prefix
        self._check = check
        self._realm = realm
        self._longest_wait = longest_wait
        self._read_only = read_only
        self._forgets = forgets
        self._untyped = untyped
        self._form = partial(PlainValue, untyped=untyped)

    def routes(self) -> list[Route]:
        """The rows of the table."""
        handlers: dict[str, Handler] = {"GET": self.get}
        if not self._read_only:
            handlers |= {"PUT": self.publish, "POST": self.publish}
            handlers |= {"DELETE": self.forget} if self._forgets else {}
        pattern = f"{self._at}/{{name:path}}"
        return [
            Route(self._at, GET=self.index),
            Route(pattern, public=False, without_auth=False, before=self._before, **handlers),
        ]

    # Reading

    async def index(self, request: Request) -> Response:
        """The topics, as JSON or a page, the one published on last at the end."""
        kind = choose(request.header("accept"), (JSON, HTML))
        remembered = list(self._pending.hub.remembered.items())  # they change while the list is sent
        known = ((name.removeprefix(self._prefix), last) for name, last in remembered if name.startswith(self._prefix))
        headers = (("vary", "Accept"), NEVER_KEPT)
        if kind == JSON:
            return Response(_json_list(known, self._untyped), content_type=kind, headers=headers)
        return Response(_page(known, self._at, self._untyped), content_type=kind, headers=(*headers, *pages.HEADERS))

    async def get(self, request: Request) -> Answer:
        """The last value, the next one, or all from now on."""
        destination, accept = self._destination(request), request.header("accept")
        if any((each.type, each.subtype) == ("text", "event-stream") and each.weight for each in parse(accept or "")):
            last_id = last_event_id(request.header("last-event-id"))
            return Response(EventStream((destination,), ValueEvent, last_id), content_type=EVENT_STREAM)
        wait = _seconds(request.query("wait"))
        if wait is not None:
            most = self._pending.settings.HTTP_POLL_TIMEOUT if self._longest_wait is None else self._longest_wait
            last_id, seconds = request.query("last_id"), min(wait, most)
            return NextValue((destination,), self._form, answer_value, last_id, seconds=seconds, nothing=NO_CONTENT)
        message = self._pending.hub.last((await self._pending.keys([destination]))[0])
        if message is None:
            raise HttpError(404, "Nothing was said on this topic.")
        choose(accept, [content_type(message, self._untyped)])
        return answer_value([self._form(destination).encode(message, {})])

    # Writing

    def _before(self, request: Request) -> None:
        """Before the body is read."""
        if request.method in ("GET", "HEAD"):
            return
        self._destination(request)
        check_same_site(request)
        if self._may_publish is not None:
            self._may_publish(request)
        self._check_octets(int(request.header("content-length") or 0))  # which the server has found to be a number

    def _check_octets(self, octets: int) -> None:
        if self._largest is not None and octets > self._largest():
            raise HttpError(413, f"A value may have {self._largest()} octets.")

    async def publish(self, request: Request) -> Response:
        """Publish the body, of the type the client names."""
        destination = self._destination(request)
        kind = request.header("content-type") or ""
        if len(kind) > _LONGEST_TYPE:
            raise HttpError(400, f"A Content-Type may have {_LONGEST_TYPE} characters.")
        publication = Publication(destination, (("content-type", kind),) if kind else (), request.body.read())
        self._check_octets(len(publication.body))
        check_same_site(request)
        messages = await self._admit(request, publication)
        topic = messages[0].topic  # of all that this goes to, the first
        new = self._pending.hub.last((await self._pending.keys([topic]))[0]) is None
        try:
            await self._application.publish(messages)
        except BusError as error:
            raise HttpError(503, f"Not published: {error}", Retry_After="10") from None
        receipt_headers = self._application.receipt_headers(messages)
        headers = [("message-id", messages[0].message_id), *(() if receipt_headers is None else await receipt_headers)]
        if new:
            location = quote(f"{self._at}/{topic.removeprefix(self._prefix)}")
            return Response(status=201, headers=(*headers, ("location", location)))
        return Response(status=204, headers=(*headers, NEVER_KEPT))

    async def forget(self, request: Request) -> Response:
        """Forget a topic's values, for clients that may publish there. Other nodes keep what they remember."""
        destination = self._destination(request)
        check_same_site(request)
        await self._admit(request, Publication(destination, (), b""))
        if not self._pending.hub.forget((await self._pending.keys([destination]))[0]):
            raise HttpError(404, "Nothing was said on this topic.")
        return NO_CONTENT

    async def _admit(self, request: Request, publication: Publication) -> tuple[Message, ...]:
        """:raises HttpError: this client may not."""
        try:
            messages = await self._application.admit(await self._login(request), [publication])
        except Refused as refused:
            detail = refused.detail or refused.summary
            if refused.temporary:
                raise HttpError(503, detail, Retry_After="10") from None
            if refused.unfit:
                raise HttpError(422, detail) from None
            if request.header("authorization") is None:
                raise unauthorized(detail, self._realm) from None
            raise HttpError(403, detail) from None
        if not messages:
            raise HttpError(403, "There is no topic that this could be said on.")
        return messages

    async def _login(self, request: Request) -> Principal | None:
        if request.header("authorization") is None:
            return None
        return await log_in(self._application, self._pending.warn, request.http, self._realm)

    def _destination(self, request: Request) -> str:
        name = request.parameters["name"]
        if not name:
            raise HttpError(404, "A topic has a name.")
        self._check(self._prefix + name)
        return self._prefix + name


def _seconds(text: str | None) -> float | None:
    """The value of ``wait``. :raises HttpError: it is no time."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise HttpError(400, "Wait for a number of seconds, such as ?wait=30.")
    return seconds


def _json_list(known: Iterable[tuple[str, Message]], untyped: str) -> Iterator[bytes]:
    """Piece by piece, as there may be many."""
    separator = b"["
    for name, message in known:
        shown = {"name": name, "id": message.message_id, "when": message.when, "type": content_type(message, untyped)}
        yield separator + json.dumps(shown).encode()
        separator = b",\n"
    yield b"]\n" if separator != b"[" else b"[]\n"


def _page(known: Iterable[tuple[str, Message]], at: str, untyped: str) -> Iterator[bytes]:
    rows = (
        pages.row(
            quote(f"{at}/{name}"),
            name,
            pages.size(len(message.body)),
            pages.text(content_type(message, untyped)),
            pages.time(message.when),
        )
        for name, message in known
    )
    columns = ("Topic", "Size", "Type", "Published (UTC)")
    for piece in pages.listing("Topics", columns, rows, nothing="Nothing was published yet."):
        yield piece.encode()
