"""docs/commands.md says what the commands say, and the program knows them all."""

from __future__ import annotations

import unittest
from pathlib import Path

from radiovis.commands import main as cli
from radiovis.commands.command_reference import MODULES, exit_codes_page, page
from tests.radiovis.commands.calling import call

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


class Reference(unittest.TestCase):
    def test_the_page_is_up_to_date(self) -> None:
        self.assertEqual(PAGE.read_text(), page(), "run `make settings`")
        self.assertEqual((PAGE.parent / "exit-codes.md").read_text(), exit_codes_page(), "run `make settings`")

    def test_every_command_is_on_it(self) -> None:
        self.assertEqual(sorted(cli._COMMANDS), sorted(["serve", *(each.replace("_", "-") for each in MODULES)]))
        for name in cli._COMMANDS:
            self.assertIn(f"| `server.py {name}` | ", exit_codes_page())

    def test_every_command_helps_and_names_its_exit_codes(self) -> None:
        for module in MODULES:
            done = call(module.replace("_", "-"), "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("exit codes: 0 ", " ".join(done.stdout.split()))

    def test_a_command_that_is_nearly_one(self) -> None:
        for word, meant in (("check-confg", "check-config"), ("conformanc", "conformance"), ("subs", "sub")):
            done = call(word)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stderr, f"server.py: no such command: {word}; did you mean {meant}?\n")
