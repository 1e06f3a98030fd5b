"""A soak that somebody ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60.0


class TestInterrupted(unittest.TestCase):
    def test_it_says_so_and_leaves_no_process_behind(self) -> None:
        soak = subprocess.Popen(
            [sys.executable, "-m", "tests.soak", "--seconds", "600", "--radios", "5", "--publishers", "1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Its group is those it starts, and nobody else.
        )
        with soak:
            assert soak.stdout is not None
            self.assertIn("load on a node", soak.stdout.readline())
            soak.send_signal(signal.SIGTERM)
            self.assertEqual((soak.wait(SECONDS), soak.stdout.read()), (1, "interrupted\n"))
        self.assertRaises(ProcessLookupError, os.killpg, soak.pid, 0)
