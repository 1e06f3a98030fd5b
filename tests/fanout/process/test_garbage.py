"""What is searched for garbage; in a process of its own, as it holds for all of one."""

from __future__ import annotations

import subprocess
import sys
import unittest

PROGRAM = """
import gc
from fanout.process.garbage import search_seldom

class Cycle:
    made = freed = 0
    def __init__(self):
        Cycle.made += 1
        self.itself = self
    def __del__(self):
        Cycle.freed += 1

Cycle()
search_seldom()
print(Cycle.freed, gc.get_freeze_count() > 1_000, len(gc.get_objects()) < 100)
searched = gc.get_stats()[0]["collections"]
waiting = [[] for _ in range(20_000)]
print(gc.get_stats()[0]["collections"] - searched)
most = 0
for _ in range(500_000):
    Cycle()
    most = max(most, Cycle.made - Cycle.freed)
print(most < 100_000)
"""


class Garbage(unittest.TestCase):
    def run_program(self) -> list[str]:
        done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.split()

    def test_what_stays_is_spared_and_what_waits_is_not_searched_but_garbage_is_found(self) -> None:
        self.assertEqual(self.run_program(), ["1", "True", "True", "0", "True"])
