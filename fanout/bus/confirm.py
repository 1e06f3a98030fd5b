"""A broker's confirm, ``basic.ack``: one frame of a fixed size (AMQP 0-9-1, 4.2.3; RabbitMQ, "Publisher confirms").

Nothing is judged here: what is not whole or something else is left to pika.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pika.spec import FRAME_END, FRAME_METHOD, Basic

_ACK = struct.Struct(">BHLLQBB")  # type, channel, size; class and method; delivery tag, multiple; end of the frame
_SIZE = _ACK.size - 8


class Confirm(NamedTuple):
    """One confirm.

    :ivar end: where in the buffer the next frame begins.
    :ivar tag: the delivery tag of a publish.
    :ivar multiple: whether all before it are meant, too.
    """

    end: int
    channel: int
    tag: int
    multiple: bool


def read(buffer: bytes, start: int) -> Confirm | None:
    """The confirm that begins there; None if there is none, or not all of it."""
    end = start + _ACK.size
    if end > len(buffer):
        return None
    kind, channel, size, method, tag, multiple, last = _ACK.unpack_from(buffer, start)
    if kind != FRAME_METHOD or method != Basic.Ack.INDEX or size != _SIZE or last != FRAME_END:
        return None
    return Confirm(end, channel, tag, bool(multiple & 1))
