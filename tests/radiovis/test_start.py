"""Ctrl-C while a program still imports what it needs: it ends, and says nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = (("server.py", "version"), ("fallback.py", "status"), ("-m", "demo"), ("-m", "radiovis", "bench"))
SECONDS = 20.0


class Start(unittest.TestCase):
    def test_ctrl_c_while_importing(self) -> None:
        for words in PROGRAMS:
            with self.subTest(words=words):
                program = subprocess.Popen(
                    [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                _wait_until_importing(program)
                program.send_signal(signal.SIGINT)
                out, error = program.communicate(timeout=SECONDS)
                self.assertEqual((program.returncode, out, error), (-signal.SIGINT, "", ""))


def _wait_until_importing(program: subprocess.Popen[str]) -> None:
    """Until one of the first libraries of ours is loaded: a third of the way."""
    maps, deadline = Path(f"/proc/{program.pid}/maps"), time.monotonic() + SECONDS
    while "/_struct." not in maps.read_text():
        if time.monotonic() > deadline or program.poll() is not None:
            raise AssertionError("it loaded no library")
