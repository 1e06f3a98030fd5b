"""The AMQP properties of a message of ours: headers of nothing but text, delivery mode and serial.

Pika's own, made quick to write and read, as every message needs it twice on every node.
"""

from __future__ import annotations

import struct

from pika.spec import BasicProperties

from fanout.bus import field_table

_START = struct.Struct(">HL")  # AMQP 0-9-1, 4.2.6.1: which properties there are; size of the headers, the first of ours
_FLAGS = BasicProperties.FLAG_HEADERS | BasicProperties.FLAG_DELIVERY_MODE | BasicProperties.FLAG_CORRELATION_ID


class Properties(BasicProperties):  # type: ignore[misc]  # Pika ships no types.
    """Pika's properties."""

    def encode(self) -> list[bytes]:
        """The octets pika would write, in pieces."""
        if self.type is not None or self.correlation_id is None:
            pieces: list[bytes] = super().encode()
            return pieces
        table, serial = field_table.encode(self.headers), self.correlation_id.encode()
        return [_START.pack(_FLAGS, len(table)), table, bytes((self.delivery_mode, len(serial))), serial]


def read(octets: bytes, start: int, end: int) -> Properties | None:
    """What stands between two places; None unless it is what we write, from the first octet to the last.

    :raises ValueError: text is not UTF-8.
    :raises IndexError: it goes on behind the octets; or
    :raises struct.error: likewise.
    """
    flags, size = _START.unpack_from(octets, start)
    table_at = start + _START.size
    mode_at = table_at + size
    serial_at = mode_at + 2
    if flags != _FLAGS or serial_at + octets[mode_at + 1] != end:
        return None
    headers = field_table.decode(octets, table_at, mode_at)
    if headers is None:
        return None
    return Properties(headers=headers, delivery_mode=octets[mode_at], correlation_id=octets[serial_at:end].decode())
