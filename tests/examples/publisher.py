"""Runs the programs in ``examples/`` as a reader of their README would."""

from __future__ import annotations

import subprocess
import sys
import unittest

from tests.processes import ROOT

MOST_LINES = 60


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / program), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class ExampleCase(unittest.TestCase):
    program: str

    def publish(self, *words: str) -> None:
        """It must say nothing and end well."""
        done = run(self.program, *words)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def assert_fails(self, *words: str, saying: str) -> None:
        """One line, without a traceback, and exit code 1."""
        done = run(self.program, *words)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertRegex(done.stderr, r"\Anot published by [^\n]+\n\Z")
        self.assertIn(saying, done.stderr)

    def assert_short(self) -> None:
        """A person should be able to read it at once."""
        lines = (ROOT / "examples" / self.program).read_text().splitlines()
        self.assertLessEqual(len(lines), MOST_LINES)
