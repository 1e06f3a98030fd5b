"""AMQP field tables of nothing but text, as the headers of our messages are (AMQP 0-9-1, 4.2.5.5).

Pika's own functions can do every type, which makes them slow for the one that every message of ours has.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_LONG_STRING = struct.Struct(">BL")  # type of the value, octets
_TEXT = ord("S")


def encode(table: Mapping[str, str]) -> bytes:
    """The fields, without the size before them.

    :param table: names of 255 octets at most.
    """
    pieces: list[bytes] = []
    for name, value in table.items():
        key, text = name.encode(), value.encode()
        pieces += bytes((len(key),)), key, _LONG_STRING.pack(_TEXT, len(text)), text
    return b"".join(pieces)


def decode(octets: bytes, start: int, end: int) -> dict[str, str] | None:
    """The fields between two places, without the size before them; None unless all are text and end where they should.

    :raises ValueError: a name or value is not UTF-8.
    :raises IndexError: they go on behind the octets; or
    :raises struct.error: likewise.
    """
    table: dict[str, str] = {}
    while start < end:
        kind_at = start + 1 + octets[start]
        kind, size = _LONG_STRING.unpack_from(octets, kind_at)
        if kind != _TEXT:
            return None
        value_at = kind_at + _LONG_STRING.size
        name = octets[start + 1 : kind_at].decode()
        start = value_at + size
        table[name] = octets[value_at:start].decode()
    return table if start == end else None
