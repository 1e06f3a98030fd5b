"""The short form of ``make chaos``."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest

from tests.processes import ROOT


class ChaosInShort(unittest.TestCase):
    def test_what_was_acknowledged_reaches_every_radio_in_order_and_once(self) -> None:
        """One of three broker nodes that crashes under load, and a node that does; ``make chaos`` has more faults."""
        size = ["--seconds", "4", "--radios", "60", "--rate", "5", "--seed", "6"]
        faults = ["--faults", "broker node killed", "node killed"]
        command = [sys.executable, "-m", "tests.chaos", *size, *faults]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        figures = {name: int(number) for name, number in re.findall(r"^(\w+): (\d+)", done.stdout, re.MULTILINE)}
        for name in ("lost", "doubled", "disordered", "wrong_last", "errors"):
            self.assertEqual(figures[name], 0, name)
        self.assertGreaterEqual(figures["faults"], 1)
        self.assertGreater(figures["publishes"], 50)
        self.assertGreater(figures["deliveries"], 50 * 60)

    def test_a_signal_ends_it_soon_and_leaves_no_process(self) -> None:
        command = [sys.executable, "-m", "tests.chaos", "--broker-nodes", "1", "--radios", "5"]
        command += ["--faults", "memcached killed"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            for line in run.stderr:
                if "well" in line:
                    break
            run.terminate()
            said, _ = run.communicate(timeout=300)
        self.assertEqual((run.returncode, said), (1, "interrupted\n"))
