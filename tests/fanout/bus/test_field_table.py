"""Field tables of text: the octets of pika, and nothing else taken for one."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from pika import data
from twisted.trial import unittest

from fanout.bus import field_table

NAMES = st.text(max_size=60)
TABLES = st.dictionaries(NAMES, st.text(max_size=300), max_size=8)


def by_pika(table: dict[str, object]) -> bytes:
    """The fields as pika writes them, without the size before them."""
    pieces: list[bytes] = []
    data.encode_table(pieces, table)
    return b"".join(pieces)[4:]


class Tables(unittest.TestCase):
    @given(TABLES)
    def test_what_is_written_is_what_pika_writes_and_reads_back(self, table: dict[str, str]) -> None:
        octets = field_table.encode(table)
        self.assertEqual(octets, by_pika(dict(table)))
        self.assertEqual(field_table.decode(b"ab" + octets + b"cd", 2, 2 + len(octets)), table)

    def test_other_types_are_left_to_pika(self) -> None:
        now = datetime(2026, 11, 22, tzinfo=UTC)
        for value in (b"\xff", True, 7, 2**40, Decimal("1.5"), now, {"a": "b"}, ["a"], None):
            octets = by_pika({"topic": "/topic/a", "x": value})
            self.assertIsNone(field_table.decode(octets + b"what follows", 0, len(octets)), value)

    def test_text_that_is_none(self) -> None:
        octets = field_table.encode({"topic": "ab"}).replace(b"ab", b"\xff\xfe")
        with self.assertRaises(UnicodeDecodeError):
            field_table.decode(octets, 0, len(octets))

    @given(TABLES, st.integers(0, 200))
    def test_a_table_cut_short_is_none(self, table: dict[str, str], left: int) -> None:
        octets = field_table.encode(table)
        cut = octets[: min(left, len(octets) - 1)] if octets else b"\x05"
        try:
            found = field_table.decode(cut, 0, len(octets) or 1)
        except (IndexError, struct.error, ValueError):
            return
        self.assertNotEqual(found, table)
