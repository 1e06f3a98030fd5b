"""``POST /services/<station>``: publishes a slide, a text or both on the station's channels.

    curl -u 1.rock:secret -d text="Now: a song" -d image=http://example.org/1.png https://…/services/1

The body is a form or JSON with the fields ``text``, ``image``, ``link``, ``trigger-time``, ``message-id`` and
``channel``. ``channel`` may be repeated (in JSON: a list); without it, all channels of the station get the messages. A
``message-id`` replaces the held messages with this id; without ``text`` and ``image`` it cancels them (docs/slides.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fanout.application.interface import Application, Principal, Refused
from fanout.bus.interface import BusError
from fanout.http.auth import basic_login, check_same_site, log_in
from fanout.http.response import HttpError, Response
from fanout.http.routing import Request
from fanout.hub.message import Message, Publication
from radiovis.directory.interface import MAX_URL, text_fault
from radiovis.http.visjson import check_topic
from radiovis.settings import Settings
from radiovis.topics import BROADCAST

REALM = "RadioVIS stations"
_FIELDS = frozenset({"text", "image", "link", "channel", "trigger-time", "message-id"})
_ID_LENGTH = 255  # characters of a message-id, which is a header of each copy of the message
_SCHEMES = {"image": ("http", "https"), "link": ("http", "https", "ftp")}  # contract §3, "Gallery rules"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = re.compile(r"NOW|\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)")

Fields = dict[str, list[str]]


def needs_login(request: Request) -> None:
    """Require a login before the body of a publish is read. The password is checked later, because this takes longer.

    :raises HttpError: the request has no login.
    """
    basic_login(request.http, REALM)


class Publishing:
    """The handler. A publisher sends the station's login by HTTP Basic."""

    def __init__(self, application: Application, warn: Callable[..., None], settings: Settings) -> None:
        """
        :param application: checks logins, and publishes.
        :param warn: logs a client's fault; called with event name, address and fields.
        :param settings: SCHEDULE decides whether messages can be held.
        """
        self._application = application
        self._warn = warn
        self.settings = settings

    async def publish(self, request: Request) -> Response:
        """Publish, and answer with a 202 and the messages when the bus has confirmed them. They are also published if
        the client disconnects before.
        """
        check_same_site(request)
        request.run_to_end()
        principal = await log_in(self._application, self._warn, request.http, REALM)
        if list(request.segments[1:]) not in ([principal.name], [principal.login]):
            raise HttpError(403, "This login belongs to another station.")
        fields = _fields(request)
        _check_text(principal, fields)
        messages = await self._admit(principal, self._sends(fields))
        try:
            await self._application.publish(messages)
        except BusError as error:
            raise HttpError(503, f"Not published: {error}", Retry_After="10") from None
        published = [{"message-id": each.message_id, "topic": each.topic} for each in messages]
        receipt_headers = self._application.receipt_headers(messages)
        remarked = {} if receipt_headers is None else dict(await receipt_headers)
        return Response.json({"messages": published, **remarked}, 202)

    async def _admit(self, principal: Principal, sends: Sequence[Publication]) -> tuple[Message, ...]:
        try:
            messages = await self._application.admit(principal, sends)
        except Refused as refused:
            raise HttpError(_status(refused), refused.detail) from None
        if not messages:
            raise HttpError(403, "The station has no channels.")
        return messages

    def _sends(self, fields: Fields) -> list[Publication]:
        named = ("trigger-time", "link", "message-id")
        headers = tuple((name, value) for name in named if (value := _one(fields, name)))
        if "trigger-time" not in dict(headers):
            headers = (("trigger-time", "NOW"), *headers)
        bodies = [("text", f"TEXT {text}") for text in [_one(fields, "text")] if text]
        bodies += [("image", f"SHOW {image}") for image in [_one(fields, "image")] if image]
        if not bodies and self.settings.SCHEDULE == "server" and _one(fields, "message-id"):
            bodies = [("text", ""), ("image", "")]
        if not bodies:
            raise HttpError(400, "There is neither a text nor an image.")
        channels = [self._channel(each) for each in fields.get("channel", [])] or [BROADCAST]
        return [Publication(channel + name, headers, body.encode()) for channel in channels for name, body in bodies]

    def _channel(self, channel: str) -> str:
        channel = channel if channel.endswith("/") else channel + "/"
        check_topic(channel + "image")
        return channel


def _status(refused: Refused) -> int:
    return 503 if refused.temporary else 422 if refused.unfit else 403


def _fields(request: Request) -> Fields:
    """The checked fields of a form or of JSON. :raises HttpError: the type of the body, or a field, is invalid."""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    readers = {"application/json": _read_json, "application/x-www-form-urlencoded": _read_form}
    if kind not in readers:
        raise HttpError(415, "Send application/json or application/x-www-form-urlencoded.")
    try:
        fields = readers[kind](request.body.read())
    except (ValueError, RecursionError):
        raise HttpError(400, f"The body is not valid {kind} with texts in UTF-8.") from None
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise HttpError(400, f"Unknown field; known ones are {', '.join(sorted(_FIELDS))}.")
    _check(fields)
    return fields


def _read_form(body: bytes) -> Fields:
    return parse_qs(body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict")


def _read_json(body: bytes) -> Fields:
    value: Any = json.loads(body)
    given = value if isinstance(value, dict) else {"": value}
    fields = {name: each if isinstance(each, list) else [each] for name, each in given.items() if each is not None}
    if "" in fields or not all(isinstance(each, str) for values in fields.values() for each in values):
        raise ValueError("not an object with texts")
    return fields


def _one(fields: Fields, name: str) -> str:
    return fields.get(name, [""])[0]


def _check(fields: Fields) -> None:
    """:raises HttpError: receivers cannot use a value, or must not get it."""
    for name, values in fields.items():
        if name != "channel" and len(values) > 1:
            raise HttpError(400, f"The field {name} may occur only once.")
        if any(_CONTROL.search(value) or not _is_text(value) for value in values):
            raise HttpError(400, f"The field {name} has characters that cannot be shown.")
    for name, schemes in _SCHEMES.items():
        if value := _one(fields, name):
            _check_url(name, value, schemes)
    if len(_one(fields, "message-id")) > _ID_LENGTH:
        raise HttpError(400, f"A message-id may have {_ID_LENGTH} characters.")
    time = _one(fields, "trigger-time")
    if time and not _TIME.fullmatch(time):
        raise HttpError(400, "A trigger-time must be NOW, or a time such as 2026-12-31T23:59:59Z.")


def _check_text(principal: Principal, fields: Fields) -> None:
    """:raises HttpError: the text is too long, so radios would cut it."""
    if fault := text_fault(_one(fields, "text").encode()):
        channels = ", ".join(fields.get("channel", [])) or "all channels"
        raise HttpError(400, f"{principal.login}, {channels}: the text {fault}.")


def _check_url(name: str, value: str, schemes: tuple[str, ...]) -> None:
    try:
        url = urlsplit(value)
        usable = url.scheme in schemes and url.hostname and " " not in value
    except ValueError:
        usable = False
    if not usable or len(value.encode()) > MAX_URL:
        kinds = ", ".join(f"{scheme}://" for scheme in schemes)
        raise HttpError(400, f"The field {name} should be a URL of up to {MAX_URL} octets with {kinds}.")


def _is_text(value: str) -> bool:
    """Whether a value is valid Unicode. JSON can contain half of a surrogate pair, which is not a character."""
    return value.encode(errors="ignore").decode() == value
