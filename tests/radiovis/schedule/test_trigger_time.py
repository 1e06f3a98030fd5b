"""The header trigger-time: what is a time, and what is passed on as it is."""

from __future__ import annotations

import unittest

from hypothesis import given
from hypothesis import strategies as st

from fanout.message import Message
from radiovis.schedule.trigger_time import for_now, trigger_time
from tests.radiovis.schedule.shelves import message


class TestTriggerTime(unittest.TestCase):
    def test_date_and_time_with_a_zone(self) -> None:
        for text in (
            "2027-01-15T12:00:00Z",
            "2027-01-15T13:00:00+01:00",
            "2027-01-15T13:00:00+0100",
            "2027-01-15T12:00:00.000Z",
            "20270115T120000Z",
            " 2027-01-15T12:00Z ",
        ):
            self.assertEqual(trigger_time(message("1", text)), 1_800_014_400, text)

    def test_anything_else_is_none(self) -> None:
        for text in (
            "NOW",
            "now",
            "",
            "soon",
            "2027-01-15T12:00:00",
            "2027-01-15",
            "12:00Z",
            "1800014400",
            "Z" * 9_999,
        ):
            self.assertIsNone(trigger_time(message("1", text)), text)
        self.assertIsNone(trigger_time(Message("/t", b"", "1", 0)))

    @given(st.text())
    def test_no_text_hurts(self, text: str) -> None:
        self.assertIsInstance(trigger_time(message("1", text)), float | None)

    def test_the_same_for_now(self) -> None:
        changed = for_now(message("1", "2027-01-15T12:00:00Z", when=5), 9)
        self.assertEqual(changed.headers, (("trigger-time", "NOW"), ("link", "http://l/")))
        self.assertEqual((changed.message_id, changed.when), ("1", 9))
