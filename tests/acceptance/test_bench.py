"""``server.py bench``: that it measures, not how fast."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

from tests.acceptance.command_case import on_terminal, visible
from tests.services import free_port

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "server.py", "bench", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


class TestBench(unittest.TestCase):
    def test_a_node_of_its_own_loses_nothing(self) -> None:
        done = bench("--subscribers", "20", "--messages", "40", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for run in json.loads(done.stdout)["runs"]:
            self.assertEqual(run["lost"], 0)
            self.assertGreater(run["deliveries"], 0)
            self.assertGreater(run["p99"], 0)
            self.assertIsNotNone(run["cpu"])

    def test_the_table_names_the_server_and_both_works(self) -> None:
        done = bench("--subscribers", "5", "--messages", "10")
        self.assertIn("bursts of 8", done.stdout)
        self.assertIn("one by one", done.stdout)
        self.assertIn("KiB/connection", done.stdout)
        self.assertNotIn("\x1b", done.stdout + done.stderr, "no progress bar but on a terminal")

    def test_a_terminal_shows_the_progress_and_keeps_nothing_of_it(self) -> None:
        done, shown = on_terminal("bench", "--subscribers", "5", "--messages", "10", "--json")
        self.assertEqual(done, 0)
        for part in ("starting a node", "run 1 of 2", "run 2 of 2", "connecting   0% [", "delivering 100% [##"):
            self.assertIn(part, shown)
        self.assertEqual(visible(shown), "")

    def test_an_unreachable_server_is_one_line(self) -> None:
        done = bench("--server", f"stomp://127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^server\.py: 127\.0\.0\.1:\d+: Connection refused\n$")

    def test_more_subscribers_than_files_is_one_line(self) -> None:
        done = bench("--subscribers", "9999999")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^server\.py: 9999999 subscribers need more than the \d+ files .*\n$")

    def test_wrong_usage_is_one_line(self) -> None:
        for words, part in (
            (("--subscriber", "5"), "no such flag: --subscriber; did you mean --subscribers?"),
            (("--messages", "0"), "should be a whole number from 1"),
            (("--server", "stomps://radio.example"), "bench measures STOMP over plain TCP only"),
        ):
            done = bench(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, rf"^server\.py: bench: .*{re.escape(part)}.*\n$")
