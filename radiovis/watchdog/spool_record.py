"""An entry as the spool keeps it: one line of JSON, never a pickle that would run code of whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

from radiovis.watchdog.log import Entry

_BODY = "latin-1"  # One character per octet, so that any body fits into JSON.
_LINE = "surrogatepass"  # Headers may hold half characters; they must come back as they were.


def encode(entry: Entry) -> bytes:
    """The line, without its newline."""
    values = [entry.topic, entry.body.decode(_BODY), entry.headers, entry.timestamp, entry.serial]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", _LINE)


def decode(line: bytes) -> Entry:
    """The entry of a line.

    :raises ValueError: it is none.
    """
    try:
        topic, body, headers, timestamp, serial = json.loads(line.decode("utf-8", _LINE))
        pairs = tuple((_text(name), _text(value)) for name, value in headers)
        return Entry(_text(topic), _text(body).encode(_BODY), pairs, int(timestamp), _text(serial))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"not an entry of the log: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
