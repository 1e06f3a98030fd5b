"""What is searched for garbage; in a process of its own, as it holds for all of one."""

from __future__ import annotations

import subprocess
import sys
import unittest

PROGRAM = """
import gc
from fanout.garbage import spare_what_stays

class Cycle:
    freed = 0
    def __init__(self):
        self.itself = self
    def __del__(self):
        Cycle.freed += 1

Cycle()
before = gc.get_threshold()
spare_what_stays()
print(Cycle.freed, gc.get_freeze_count() > 1_000, len(gc.get_objects()) < 100, gc.get_threshold() == before)
for _ in range(20_000):
    Cycle()
print(Cycle.freed > 15_000)
"""


class Garbage(unittest.TestCase):
    def test_what_stays_is_not_looked_at_again_and_what_goes_is_found_as_before(self) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.stdout.split(), ["1", "True", "True", "True", "True"])
