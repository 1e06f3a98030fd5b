"""Colour for people only, and nobody else's control characters."""

from __future__ import annotations

import io
import os
import unittest
from unittest import mock

from radiovis.client.command_line import paint, printable, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Colour(unittest.TestCase):
    def test_on_a_terminal_only(self) -> None:
        with mock.patch.dict(os.environ, {"TERM": "xterm"}, clear=True):
            self.assertEqual(paint("x", "red", Terminal()), "\x1b[31mx\x1b[0m")
            self.assertEqual(paint("x", "red", io.StringIO()), "x")

    def test_nobody_is_forced(self) -> None:
        for settings in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            with mock.patch.dict(os.environ, settings, clear=True):
                self.assertEqual(paint("x", "red", Terminal()), "x")


class Progress(unittest.TestCase):
    def test_each_takes_the_place_of_the_one_before(self) -> None:
        with mock.patch("sys.stderr", Terminal()) as shown:
            progress("1/2")
            progress("")
        self.assertEqual(shown.getvalue(), "\r\x1b[K1/2\r\x1b[K")

    def test_no_file_is_told(self) -> None:
        with mock.patch("sys.stderr", io.StringIO()) as shown:
            progress("1/2")
        self.assertEqual(shown.getvalue(), "")


class Printable(unittest.TestCase):
    def test_letters_stay(self) -> None:
        self.assertEqual(printable("Grüezi 日本 😀 \\n"), "Grüezi 日本 😀 \\n")

    def test_what_a_terminal_obeys_is_shown(self) -> None:
        self.assertEqual(printable("a\x1b[2Jb\nc\r\x07\x9b\u202e\udcff"), "a\\x1b[2Jb\\nc\\r\\x07\\x9b\\u202e\\udcff")
