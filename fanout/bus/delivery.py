"""A message as the broker delivers it: three frames (AMQP 0-9-1, 4.2.6), read in one piece if a node has published it.

Nothing is judged here. What is not whole, of another publisher's making or not right is left to pika, frame by frame.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, Basic

from fanout.bus import properties
from fanout.bus.properties import Properties

_METHOD = struct.Struct(">BHLL")  # type, channel, size; class and method
_TAG = struct.Struct(">QB")  # delivery tag; redelivered
_HEADER = struct.Struct(">BHLHHQ")  # type, channel, size; class, weight, size of the body
_BODY = struct.Struct(">BHL")  # type, channel, size


class Delivery(NamedTuple):
    """One whole delivery.

    :ivar end: where in the buffer the next frame begins.
    :ivar tag: by which it is acknowledged.
    :ivar arguments: of the method, as they were sent.
    """

    end: int
    channel: int
    tag: int
    arguments: bytes
    properties: Properties
    body: bytes

    @property
    def method(self) -> Basic.Deliver | None:
        """For whoever needs all of it; None if a name in it is not text."""
        try:
            return _deliver(self.arguments)
        except ValueError:
            return None


def read(buffer: bytes, start: int) -> Delivery | None:
    """The delivery that begins there; None if pika had better look at it."""
    try:
        return _read(buffer, start)
    except (struct.error, IndexError, ValueError):
        return None


def _read(buffer: bytes, start: int) -> Delivery | None:
    kind, channel, size, method = _METHOD.unpack_from(buffer, start)
    if kind != FRAME_METHOD or method != Basic.Deliver.INDEX:
        return None
    header_at = start + size + 8
    kind, header_channel, size, content, _, body_size = _HEADER.unpack_from(buffer, header_at)
    body_at = header_at + size + 8
    if kind != FRAME_HEADER or header_channel != channel or content != Properties.INDEX:
        return None
    kind, body_channel, size = _BODY.unpack_from(buffer, body_at)
    end = body_at + size + 8
    if kind != FRAME_BODY or body_channel != channel or size != body_size:
        return None
    if not buffer[header_at - 1] == buffer[body_at - 1] == buffer[end - 1] == FRAME_END:
        return None
    found = properties.read(buffer, header_at + _HEADER.size, body_at - 1)
    if found is None:
        return None
    arguments = buffer[start + _METHOD.size : header_at - 1]
    tag: int = _TAG.unpack_from(arguments, 1 + arguments[0])[0]
    return Delivery(end, channel, tag, arguments, found, buffer[body_at + 7 : end - 1])


def _deliver(arguments: bytes) -> Basic.Deliver:
    consumer, at = _short_string(arguments, 0)
    tag, redelivered = _TAG.unpack_from(arguments, at)
    exchange, at = _short_string(arguments, at + _TAG.size)
    routing_key, _ = _short_string(arguments, at)
    return Basic.Deliver(consumer, tag, bool(redelivered & 1), exchange, routing_key)


def _short_string(buffer: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + buffer[at]
    return buffer[at + 1 : end].decode(), end
