"""docs/buffers.md has the limits of the source, and adds them up."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

from fanout.listeners.client_limits import INPUT_BYTES
from tools import buffers

ROOT = Path(__file__).parent.parent


class TestBuffers(unittest.TestCase):
    def test_the_page_is_up_to_date(self) -> None:
        self.assertEqual(buffers.page(), (ROOT / "docs" / "buffers.md").read_text(), 'run "make settings"')

    def test_values_have_units_and_names(self) -> None:
        for name, words in (
            ("fanout.listeners.client_limits.INPUT_BYTES", f"{INPUT_BYTES // 2**20} MiB (INPUT_BYTES)"),
            ("fanout.stomp.limits.CONNECT_SECONDS", "10 s (CONNECT_SECONDS)"),
            ("fanout.stomp.limits.MAX_UNACKED", "4,096 (MAX_UNACKED)"),
            ("MAX_CONNECTIONS", "`MAX_CONNECTIONS` (18,000)"),
        ):
            self.assertEqual(buffers.in_words(name), words)

    def test_a_name_that_is_gone_is_an_error(self) -> None:
        self.assertRaises(AttributeError, buffers.in_words, "fanout.stomp.limits.GONE")
        self.assertRaises(KeyError, buffers.in_words, "GONE")

    def test_every_row_has_all_columns(self) -> None:
        tables = buffers.page().partition("## A node's worst case")[0]
        rows = [line for line in tables.splitlines() if line.startswith("| ")]
        self.assertGreater(len(rows), 90)
        self.assertEqual([row for row in rows if row.count("|") != 6], [])

    def test_the_worst_case_is_the_sum_of_its_rows(self) -> None:
        *rows, total = [int(each.replace(",", "")) for each in re.findall(r"([\d,]+) MB", buffers.worst_case())]
        self.assertAlmostEqual(sum(rows), total, delta=len(rows))
