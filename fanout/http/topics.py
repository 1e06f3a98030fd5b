"""Topics as resources: what is said on them can be read, awaited, streamed, said and forgotten with any client of HTTP.

=============== ============================= ==========================================================
``GET``         ``/channels``                 the topics that have a value
``GET``         ``/channels/NAME``            its last value; 404 without one
``GET``         ``/channels/NAME?wait=30``    the next value, or 204 after so many seconds; with ``last_id``
                                              what followed that one
``GET``         ``/channels/NAME``            with ``Accept: text/event-stream``: every value
``PUT, POST``   ``/channels/NAME``            publishes the body; 201 for a first value, else 204
``DELETE``      ``/channels/NAME``            forgets its values; 204, or 404; not where others remember them
=============== ============================= ==========================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote

from fanout.application.interface import Principal, Publication, Refused
from fanout.bus.interface import BusError
from fanout.http.accept import choose, is_type, parse
from fanout.http.auth import check_same_site, log_in
from fanout.http.pending import PendingRequests
from fanout.http.response import (
    HARMLESS,
    HTML,
    JSON,
    NO_CONTENT,
    Answer,
    EventStream,
    HttpError,
    NextValue,
    Response,
    unauthorized,
)
from fanout.http.routing import Handler, Request, Route
from fanout.http.sse import EVENT_STREAM, encode_id, event, last_event_id
from fanout.hub.message import Message

# How a topic's value is written for the web.

OCTETS = "application/octet-stream"
"""The type of a value of which nobody says what it is (STOMP 1.2)."""


@dataclass(frozen=True, slots=True)
class ValueEvent:
    """A value as an event named ``message``, so that a page hears it without asking for its name."""

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The event."""
        return event("message", message.body.decode(errors="replace"), encode_id(message.message_id))


@dataclass(frozen=True, slots=True)
class PlainValue:
    """A value with what belongs in the headers of its answer in front of it; :func:`answer_value` makes that.

    :ivar untyped: see :func:`content_type`.
    """

    destination: str
    untyped: str = OCTETS

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """One line of JSON, and the value."""
        return json.dumps([message.message_id, content_type(message, self.untyped)]).encode() + b"\n" + message.body


def content_type(message: Message, untyped: str) -> str:
    """What the publisher said it is.

    :param untyped: what it is without a word of that, or with none that is a type.
    """
    named = dict(message.headers).get("content-type", "")
    return named if is_type(named) else untyped


def answer_value(written: bytes) -> Response:
    """The answer with a value. :param written: by :class:`PlainValue`."""
    head, _, body = written.partition(b"\n")
    message_id, kind = json.loads(head)
    return Response(body, 200, kind, (("message-id", message_id), ("content-security-policy", HARMLESS)))


_LONGEST_NAME = 1_024  # octets, as of a destination of STOMP
_LONGEST_TYPE = 256  # characters of a Content-Type


def check_length(destination: str) -> None:
    """:raises HttpError: this is too long for a topic."""
    if len(destination.encode()) > _LONGEST_NAME:
        raise HttpError(404, f"A topic has a name of up to {_LONGEST_NAME} octets.")


class Topics:
    """Handlers for the topics of one door. Who may publish is for the door's application to say."""

    def __init__(
        self,
        door: PendingRequests,
        at: str = "/channels",
        *,
        prefix: str = "",
        check: Callable[[str], None] = check_length,
        realm: str = "topics",
        longest_wait: float | None = 60.0,
        read_only: bool = False,
        forgets: bool = True,
        untyped: str = OCTETS,
    ) -> None:
        """
        :param at: where they are.
        :param prefix: what stands before a name to make it a destination of the application, such as ``/topic/``.
        :param check: raises :class:`HttpError` for what can be no destination.
        :param realm: what a browser names when it asks for a password.
        :param longest_wait: seconds a client may wait for a value; one that wants to wait longer waits so long. None:
            as long as the door holds a poll.
        :param read_only: there is no PUT, POST and DELETE.
        :param forgets: there is a DELETE.
        :param untyped: of which type values are whose publisher did not say it.
        """
        self._door = door
        self._application = door.application
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
        return [Route(self._at, GET=self.index), Route(f"{self._at}/{{name:path}}", public=False, **handlers)]

    # Reading

    async def index(self, request: Request) -> Response:
        """The topics, as JSON or a page, the one said something on last at the end."""
        kind = choose(request.header("accept"), (JSON, HTML))
        remembered = list(self._door.hub.remembered.items())  # they change while the list is sent
        known = ((name.removeprefix(self._prefix), last) for name, last in remembered if name.startswith(self._prefix))
        body = _json_list(known, self._untyped) if kind == JSON else _page(known, self._at)
        return Response(body, content_type=kind, headers=(("vary", "Accept"),))

    async def get(self, request: Request) -> Answer:
        """The last value, the next one, or all from now on."""
        destination, accept = self._destination(request), request.header("accept")
        if any((each.type, each.subtype) == ("text", "event-stream") and each.weight for each in parse(accept or "")):
            last_id = last_event_id(request.header("last-event-id"))
            return Response(EventStream((destination,), ValueEvent, last_id), content_type=EVENT_STREAM)
        wait = _seconds(request.query("wait"))
        if wait is not None:
            most = self._door.settings.HTTP_POLL_TIMEOUT if self._longest_wait is None else self._longest_wait
            last_id, seconds = request.query("last_id"), min(wait, most)
            return NextValue(destination, self._form, answer_value, seconds, NO_CONTENT, last_id)
        message = self._door.hub.last((await self._door.keys([destination]))[0])
        if message is None:
            raise HttpError(404, "Nothing was said on this topic.")
        choose(accept, [content_type(message, self._untyped)])
        return answer_value(self._form(destination).encode(message, {}))

    # Writing

    async def publish(self, request: Request) -> Response:
        """Say something, of the type the client names."""
        destination = self._destination(request)
        kind = request.header("content-type") or ""
        if len(kind) > _LONGEST_TYPE:
            raise HttpError(400, f"A Content-Type may have {_LONGEST_TYPE} characters.")
        publication = Publication(destination, (("content-type", kind),) if kind else (), request.body.read())
        check_same_site(request)
        messages = await self._admit(request, publication)
        topic = messages[0].topic  # of all that this goes to, the first
        new = self._door.hub.last((await self._door.keys([topic]))[0]) is None
        try:
            await self._application.publish(messages)
        except BusError as error:
            raise HttpError(503, f"Not published: {error}", Retry_After="10") from None
        receipt_headers = self._application.receipt_headers(messages)
        headers = [("message-id", messages[0].message_id), *(() if receipt_headers is None else await receipt_headers)]
        if new:
            location = quote(f"{self._at}/{topic.removeprefix(self._prefix)}")
            return Response(status=201, headers=(*headers, ("location", location)))
        return Response(status=204, headers=headers)

    async def forget(self, request: Request) -> Response:
        """Forget what was said, for whoever may say something there. What other nodes remember is theirs."""
        destination = self._destination(request)
        check_same_site(request)
        await self._admit(request, Publication(destination, (), b""))
        if not self._door.hub.forget((await self._door.keys([destination]))[0]):
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
        return await log_in(self._application, self._door.warn, request.http, self._realm)

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


def _page(known: Iterable[tuple[str, Message]], at: str) -> Iterator[bytes]:
    yield b'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Topics</title></head>\n'
    yield b"<body><h1>Topics</h1><ul>\n"
    for name, _ in known:
        yield f'<li><a href="{escape(quote(f"{at}/{name}"))}">{escape(name)}</a></li>\n'.encode()
    yield b"</ul></body></html>\n"
