"""How a topic's value is written for the web."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fanout.doors.sse import encode_id, event
from fanout.message import Message
from fanout.web.accept import is_type
from fanout.web.response import HARMLESS, Response

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
