"""One record of the spool as a line: ``<CRC-32, 8 hex digits> <record>`` and a newline.

A record has no newline in it, so the newline is its length: a line cut short by a crash has none, and a line whose
octets never reached the disk has a wrong sum. The next line is readable all the same.
"""

from __future__ import annotations

import re
from zlib import crc32

_LINE = re.compile(rb"([0-9a-f]{8}) ([^\n]*)\n")


def sealed(record: bytes) -> bytes:
    """The line of a record.

    :raises ValueError: there is a newline in it.
    """
    if b"\n" in record:
        raise ValueError("a record of the spool is one line")
    return b"%08x %b\n" % (crc32(record), record)


def unsealed(line: bytes) -> bytes | None:
    """The record of a line; None if it is not as it was written."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[1], 16) != crc32(match[2]):
        return None
    return match[2]
