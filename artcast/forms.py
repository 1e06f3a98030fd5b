"""How a value is written: as text, or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fanout.hub.message import Message

TEXT = "text/plain"
JSON = "application/json"
HTML = "text/html"


@dataclass(frozen=True, slots=True)
class JsonForm:
    """JSON of ASCII characters, as it came over the bus. A :class:`fanout.hub.hub.Form`.

    :ivar destination: the key.
    """

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets."""
        return message.body


def text_of(value: bytes) -> tuple[bytes, str]:
    """A value as text, and the type of that: text without its quotes, as UTF-8; everything else as JSON.

    :param value: JSON of ASCII characters.
    """
    if value.startswith(b'"'):
        return str(json.loads(value)).encode(), f"{TEXT}; charset=utf-8"
    return value, TEXT
