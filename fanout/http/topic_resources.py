"""Topics as resources: any HTTP client can read, await, stream, publish and delete values.

=============== ============================= ==============================================================
``GET``         ``/channels``                 the topics that have a value
``GET``         ``/channels/NAME``            the last value; 404 if there is none
``GET``         ``/channels/NAME?wait=30``    the next value, or 204 after this number of seconds; with
                                              ``last_id`` the value that follows the one with this id
``GET``         ``/channels/NAME``            with ``Accept: text/event-stream``: every value
``PUT, POST``   ``/channels/NAME``            publishes the body; 201 for a first value, otherwise 204
``DELETE``      ``/channels/NAME``            deletes the values: 204, or 404 if there is none; not available if
                                              other nodes keep the values
=============== ============================= ==============================================================

:class:`Topics` has the handlers. :func:`choose` parses the Accept header (RFC 9110, 12.5.1) and decides which of
several types a client gets; it is sans-IO, and other sites use it too. :class:`ValueEvent` and :class:`PlainValue` are
the forms of a value: as a server-sent event, and as the body of an answer.
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

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the token of RFC 9110, 5.6.2
_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?")
_ELEMENT = re.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.)*+"?+)++', re.DOTALL)
"""The quantifiers are possessive, and an unterminated quotation extends to the end, so that each octet is read once."""
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")
ACCEPT_CHARACTERS = 1_024
"""Limit of the characters of an Accept header, because each range is compared with each offered type. The longest
header of a browser has 140."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header, or a media type.

    :ivar type: the type in lower case, such as ``text``; ``*`` for all.
    :ivar subtype: the subtype in lower case, such as ``plain``; ``*`` for all.
    :ivar parameters: the parameters except the weight, with names in lower case.
    :ivar weight: from 0, which means that the client refuses the type, to 1.
    """

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]] = frozenset()
    weight: float = 1.0

    def covers(self, offered: MediaRange) -> bool:
        """Whether this range includes a type."""
        return (
            self.type in ("*", offered.type)
            and self.subtype in ("*", offered.subtype)
            and self.parameters <= offered.parameters
        )

    @property
    def precision(self) -> tuple[bool, bool, int]:
        """The key for the comparison of ranges: of all ranges that cover a type, the most precise one applies."""
        return self.type != "*", self.subtype != "*", len(self.parameters)


def parse(accept: str) -> list[MediaRange]:
    """The ranges of an Accept header. Invalid elements are ignored.

    :raises HttpError: 431, the header is too long.
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
    """The parameters by name, in lower case; None if they are invalid. Parameters after the weight are ignored."""
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
    """The type of an answer: the offered type with the highest weight; of equal ones, the first.

    :param accept: the header; None or empty for a client that accepts every type.
    :param offered: media types such as ``text/plain; charset=utf-8``, in the server's order of preference.
    :raises HttpError: 406, the client accepts none of them; 431, the header is too long.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = parse(accept)
    weights = [_weight(_offer(each), ranges) for each in offered]
    best = max(weights)
    if best <= 0:
        raise HttpError(406, f"Available types: {', '.join(offered)}. Accept names none of them.", Vary="Accept")
    return offered[weights.index(best)]


def is_type(text: str) -> bool:
    """Whether a text is a valid media type, as a Content-Type must be."""
    return _range(text) is not None


def _weight(offer: MediaRange, ranges: Sequence[MediaRange]) -> float:
    covering = [each for each in ranges if each.covers(offer)]
    return max(covering, key=lambda each: each.precision).weight if covering else 0.0


def _offer(text: str) -> MediaRange:
    found = _range(text)
    if found is None:
        raise ValueError(f"{text!r} is not a media type.")
    return found


OCTETS = "application/octet-stream"
"""The type of a value whose message has no content-type (STOMP 1.2)."""


@dataclass(frozen=True, slots=True)
class ValueEvent:
    """A value as an event named ``message``, the name that browsers listen to by default."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of the event."""
        return event("message", message.body.decode(errors="replace"), encode_id(message.message_id))


@dataclass(frozen=True, slots=True)
class PlainValue:
    """A line with the headers of the answer, and then the value. :func:`answer_value` makes the answer from it.

    :ivar untyped: see :func:`content_type`.
    """

    destination: str
    untyped: str = OCTETS

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """A line of JSON, and then the value."""
        return json.dumps([message.message_id, content_type(message, self.untyped)]).encode() + b"\n" + message.body


def content_type(message: Message, untyped: str) -> str:
    """The type of a value that its publisher has set.

    :param untyped: the type if the publisher set none, or an invalid one.
    """
    named = dict(message.headers).get("content-type", "")
    return named if is_type(named) else untyped


def answer_value(written: Sequence[bytes]) -> Response:
    """The answer with a value. :param written: the first one is encoded by :class:`PlainValue`."""
    head, _, body = written[0].partition(b"\n")
    message_id, kind = json.loads(head)
    return Response(body, 200, kind, (("message-id", message_id), ("content-security-policy", HARMLESS)))


_LONGEST_NAME = 1_024  # octets of a topic, the same as of a destination of STOMP
_LONGEST_TYPE = 256  # characters of a Content-Type


def check_length(destination: str) -> None:
    """:raises HttpError: the destination is too long for a topic."""
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
        :param pending: the requests that wait for messages, with the hub and the application.
        :param at: the path of the topics.
        :param prefix: prefix of a name that makes it a destination of the application, such as ``/topic/``.
        :param check: raises :class:`HttpError` for an invalid destination.
        :param realm: the realm that a browser shows when it asks for a password.
        :param longest_wait: the longest time in seconds that a client may wait for a value; longer waits are shortened
            to it. None for HTTP_POLL_TIMEOUT.
        :param read_only: whether PUT, POST and DELETE are not available.
        :param forgets: whether DELETE is available.
        :param untyped: the type of values whose publisher did not set one.
        :param largest: gives the number of octets that the bus accepts in one message; None for no limit.
        :param may_publish: called before the body is read; raises :class:`HttpError` for a client that may not publish.
            The application makes the final decision.
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
        """The topics, as JSON or as a page. The topic with the latest message is at the end."""
        kind = choose(request.header("accept"), (JSON, HTML))
        remembered = list(self._pending.hub.remembered.items())  # a copy, as they change while the list is sent
        known = ((name.removeprefix(self._prefix), last) for name, last in remembered if name.startswith(self._prefix))
        headers = (("vary", "Accept"), NEVER_KEPT)
        if kind == JSON:
            return Response(_json_list(known, self._untyped), content_type=kind, headers=headers)
        return Response(_page(known, self._at, self._untyped), content_type=kind, headers=(*headers, *pages.HEADERS))

    async def get(self, request: Request) -> Answer:
        """The last value of a topic, the next one, or a stream of all."""
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
            raise HttpError(404, "This topic has no value.")
        choose(accept, [content_type(message, self._untyped)])
        return answer_value([self._form(destination).encode(message, {})])

    # Writing

    def _before(self, request: Request) -> None:
        """Check a request before its body is read."""
        if request.method in ("GET", "HEAD"):
            return
        self._destination(request)
        check_same_site(request)
        if self._may_publish is not None:
            self._may_publish(request)
        self._check_octets(int(request.header("content-length") or 0))  # The server has checked that it is a number.

    def _check_octets(self, octets: int) -> None:
        if self._largest is not None and octets > self._largest():
            raise HttpError(413, f"A value may have {self._largest()} octets.")

    async def publish(self, request: Request) -> Response:
        """Publish the body, with the client's Content-Type."""
        destination = self._destination(request)
        kind = request.header("content-type") or ""
        if len(kind) > _LONGEST_TYPE:
            raise HttpError(400, f"A Content-Type may have {_LONGEST_TYPE} characters.")
        publication = Publication(destination, (("content-type", kind),) if kind else (), request.body.read())
        self._check_octets(len(publication.body))
        check_same_site(request)
        messages = await self._admit(request, publication)
        topic = messages[0].topic  # A destination may mean several topics; the answer is about the first one.
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
        """Delete the values of a topic, for clients that may publish on it. Other nodes keep theirs."""
        destination = self._destination(request)
        check_same_site(request)
        await self._admit(request, Publication(destination, (), b""))
        if not self._pending.hub.forget((await self._pending.keys([destination]))[0]):
            raise HttpError(404, "This topic has no value.")
        return NO_CONTENT

    async def _admit(self, request: Request, publication: Publication) -> tuple[Message, ...]:
        """Let the application check a publish. :raises HttpError: this client may not publish it."""
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
            raise HttpError(403, "There is no topic on which this can be published.")
        return messages

    async def _login(self, request: Request) -> Principal | None:
        if request.header("authorization") is None:
            return None
        return await log_in(self._application, self._pending.warn, request.http, self._realm)

    def _destination(self, request: Request) -> str:
        name = request.parameters["name"]
        if not name:
            raise HttpError(404, "The path has no name of a topic.")
        self._check(self._prefix + name)
        return self._prefix + name


def _seconds(text: str | None) -> float | None:
    """The value of ``wait`` in seconds. :raises HttpError: it is not a number of seconds."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise HttpError(400, "The parameter wait must be a number of seconds, such as ?wait=30.")
    return seconds


def _json_list(known: Iterable[tuple[str, Message]], untyped: str) -> Iterator[bytes]:
    """The list as JSON, in pieces, because there may be many topics."""
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
    for piece in pages.listing("Topics", columns, rows, nothing="There are no messages yet."):
        yield piece.encode()
