"""The short form of ``make simulate``: named schedules, some seeds, and faults put back into the product."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import unittest

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.processes import ROOT
from tests.simulation.__main__ import explain
from tests.simulation.named import NAMED, OPEN
from tests.simulation.schedule import FAULTS, Plan, Schedule, from_seed, make, run, simulated
from tests.simulation.teeth import TEETH

SEEDS = 40


def broken(schedule: Schedule) -> set[str]:
    return {violation.name for violation in run(schedule).violations}


class Simulation(unittest.TestCase):
    def setUp(self) -> None:
        logs = simulated()
        logs.__enter__()
        self.addCleanup(logs.__exit__, None, None, None)

    def test_a_repaired_fault_stays_repaired_and_an_open_one_is_found(self) -> None:
        for name, named in NAMED.items():
            with self.subTest(name):
                self.assertEqual(named.breaks in broken(named.schedule), named.open, "see tests/simulation/named.py")

    def test_every_invariant_holds_in_the_first_schedules(self) -> None:
        for seed in range(SEEDS):
            with self.subTest(seed=seed):
                outcome = run(from_seed(seed, Plan()))
                self.assertEqual([str(each) for each in outcome.violations if each.name not in OPEN], [])
                self.assertGreater(outcome.counts["confirmed"], 0)
                self.assertGreater(outcome.counts["leaders"], 0)

    @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data(), st.integers(0, 2**32))
    def test_hypothesis_finds_no_schedule_that_breaks_an_invariant(self, data: st.DataObject, seed: int) -> None:
        schedule = make(seed, lambda below: data.draw(st.integers(0, below - 1)), Plan())
        self.assertEqual(broken(schedule) - OPEN, set())

    def test_every_fault_occurs_in_few_schedules(self) -> None:
        kinds = {action.kind for seed in range(100) for action in from_seed(seed, Plan()).actions}
        self.assertEqual(kinds, {*FAULTS, "publish"})


class Program(unittest.TestCase):
    def test_it_runs_seeds_in_processes_and_prints_figures(self) -> None:
        command = [sys.executable, "-m", "tests.simulation", "--seconds", "0.1", "--seed", "0", "--jobs", "1"]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"schedules: [1-9]\d*0\nschedules per minute: \d+\n")
        self.assertRegex(done.stdout, r"\nfaults injected: .*\bblocked: \d+, ")
        self.assertIn("\nfound: nothing\nfailures: 0\n", done.stdout)

    def test_a_seed_gives_the_same_trace_in_every_process(self) -> None:
        """Whatever the order of sets, and however busy the machine is."""
        traces = []
        for hash_seed in ("1", "2"):
            command = [sys.executable, "-m", "tests.simulation", "--seed", "5"]
            done = subprocess.run(
                command,
                check=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                timeout=300,
            )
            traces.append(done.stdout)
        with simulated(logging.INFO):
            traces.append("\n".join([*run(from_seed(5, Plan()), trace=True).trace, ""]))
        self.assertEqual(traces[0], traces[1])
        self.assertEqual(traces[0], traces[2])
        self.assertGreater(traces[0].count("\n"), 10)

    def test_a_failure_is_explained_by_a_smaller_schedule_and_its_trace(self) -> None:
        said = io.StringIO()
        with TEETH["lost confirm"].patch(), contextlib.redirect_stdout(said):
            explain(from_seed(0, Plan()), "receipt")
        lines = said.getvalue().splitlines()
        self.assertEqual([line for line in lines if line.startswith("    ")], [], "any publish breaks it")
        self.assertTrue(any("BROKEN  receipt" in line for line in lines), lines)


class Teeth(unittest.TestCase):
    """Each fault that is put back is found, and its schedule finds nothing in the product as it is."""

    def found_by(self, name: str) -> None:
        tooth = TEETH[name]
        schedule = from_seed(tooth.seed, Plan())
        with simulated():
            with tooth.patch():
                self.assertTrue(broken(schedule) & {*tooth.finds}, name)
            self.assertFalse(broken(schedule) & {*tooth.finds}, name)

    def test_an_acknowledgement_before_the_message_is_stored(self) -> None:
        self.found_by("acknowledge before accept")

    def test_a_receipt_before_the_brokers_confirm(self) -> None:
        self.found_by("lost confirm")

    def test_a_queue_that_is_not_bound_again(self) -> None:
        self.found_by("no re-declare")

    def test_an_exclusive_lock_that_outlives_its_broker_node(self) -> None:
        self.found_by("exclusive lock under the Khepri rule")

    def test_messages_handed_over_in_another_order(self) -> None:
        self.found_by("reordered hand-over")

    def test_a_stale_retained_message(self) -> None:
        self.found_by("stale retained message")
