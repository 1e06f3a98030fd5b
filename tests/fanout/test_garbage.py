"""How often garbage is searched for; in a process of its own, as it holds for all of one."""

from __future__ import annotations

import subprocess
import sys
import unittest

PROGRAM = """
import gc
from fanout.garbage import search_rarely

class Cycle:
    freed = 0
    def __init__(self):
        self.itself = self
    def __del__(self):
        Cycle.freed += 1

Cycle()
search_rarely()
print(Cycle.freed, gc.get_freeze_count() > 1_000)
for _ in range(20_000):
    Cycle()
print(Cycle.freed)
for _ in range(100_000):
    Cycle()
print(Cycle.freed > 60_000)
"""


class Garbage(unittest.TestCase):
    def test_cycles_are_freed_later_but_are_and_what_there_was_is_not_looked_at_again(self) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.stdout.split(), ["1", "True", "1", "True"])
