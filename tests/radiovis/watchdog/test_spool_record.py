from __future__ import annotations

from twisted.trial import unittest

from radiovis.watchdog.log import Entry
from radiovis.watchdog.spool_record import decode, encode


class TestRecord(unittest.TestCase):
    def test_an_entry_comes_back_as_it_was_and_is_one_line(self) -> None:
        for entry in (
            Entry("/t", b"", (), 0),
            Entry("/topic/é\n", bytes(range(256)), (("a\n", "\u2028é"), ("\udcff", "\ud800\x00")), 2**40, "s"),
        ):
            line = encode(entry)
            self.assertEqual(decode(line), entry)
            self.assertNotIn(b"\n", line)

    def test_a_text_takes_little_more_than_its_octets(self) -> None:
        self.assertLess(len(encode(Entry("/t", b"SHOW http://l/" * 1000, (), 0))), 14_100)

    def test_anything_else_is_no_entry(self) -> None:
        for line in (
            b"",
            b"{}",
            b"[]",
            b"\xff",
            b"[" * 100_000,
            b'["/t","x",[],1]',
            b'["/t",5,[],1,""]',
            b'["/t","\xc4\x80",[],1,""]',  # A character that is no octet.
            b'["/t","x",[["a"]],1,""]',
            b'["/t","x",[["a",1]],1,""]',
            b'["/t","x",[],"y",""]',
            b'[1,"x",[],1,""]',
        ):
            self.assertRaises(ValueError, decode, line)
