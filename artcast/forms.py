"""Writes values: for clients as text or JSON, with their licence as a header; and for messages. Sans-IO."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fanout.hub.message import Message

TEXT = "text/plain"
JSON = "application/json"
HTML = "text/html"
_URI = "!#$%&'()*+,/:;=?@[]~"  # allowed in a URI besides letters and digits (RFC 3986)
_RADIO_TOPICS = ("/text", "/image")
"""The last parts of the topics of RadioVIS (ETSI TS 101 499)."""
_RADIO_TEXTS = (b"TEXT ", b"SHOW ")
"""The first words of its messages. No JSON begins with them."""


def as_body(topic: str, value: bytes) -> bytes:
    """The body of a message for a value on a topic.

    :param value: JSON of ASCII characters.
    """
    if topic.endswith(_RADIO_TOPICS) and value.startswith(b'"'):
        text = str(json.loads(value)).encode()
        if is_for_radios(topic, text) and b"\0" not in text:  # NUL ends a frame of STOMP 1.0
            return text
    return value


def is_for_radios(topic: str, body: bytes) -> bool:
    """Whether a body is text for radios, not JSON."""
    return body.startswith(_RADIO_TEXTS) and topic.endswith(_RADIO_TOPICS)


@dataclass(frozen=True, slots=True)
class JsonForm:
    """JSON in ASCII characters, unchanged from the bus. A :class:`fanout.hub.subscriber.Form`.

    :ivar destination: the key.
    """

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of a message."""
        body = message.body
        return json.dumps(body.decode(errors="replace")).encode() if is_for_radios(message.topic, body) else body


def text_of(value: bytes) -> tuple[bytes, str]:
    """A value as text, and its content type: a string without its quotes, as UTF-8; any other value as JSON.

    :param value: JSON in ASCII characters.
    """
    if value.startswith(b'"'):
        return str(json.loads(value)).encode(), f"{TEXT}; charset=utf-8"
    return value, TEXT


def license_link(facts: Mapping[str, Any]) -> str | None:
    """The Link header of a licence (RFC 8288, RFC 4946): ``<uri>; rel="license"; title="…"``. None without a URI.

    :param facts: the facts about a key.
    """
    license_ = facts.get("license") or {}
    uri, title = license_.get("uri"), license_.get("title")
    if not uri:
        return None
    return f'<{quote(uri, _URI)}>; rel="license"' + (f"; {_title(title)}" if title else "")


def _title(title: str) -> str:
    if title.isascii() and title.isprintable():
        quoted = title.replace("\\", r"\\").replace('"', r"\"")
        return f'title="{quoted}"'
    return f"title*=UTF-8''{quote(title, '')}"
