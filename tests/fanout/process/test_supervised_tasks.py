"""Supervised tasks, on a clock of the test's own."""

from __future__ import annotations

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.process.supervised_tasks import Supervisor, SupervisorPolicy, TaskState
from tests.wrong_clock import WrongClock


class Explained(Exception):
    pass


class Worker:
    """Work that does what the test says."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rounds: list[float] = []
        self.error: Exception | None = None
        self.held: Deferred[None] | None = None
        self.finished = 0

    async def work(self) -> None:
        self.rounds.append(self.clock.seconds())
        if self.held is not None:
            await self.held
        if self.error is not None:
            raise self.error
        self.finished += 1


class Supervised(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = WrongClock()
        self.supervisor = Supervisor(
            self.clock, SupervisorPolicy(round_limit=50, explained=(Explained,)), self.clock.unix_time
        )
        self.worker, self.other = Worker(self.clock), Worker(self.clock)
        self.task = self.supervisor.spawn("one", self.worker.work, 10)
        self.supervisor.spawn("two", self.other.work, 10)

    def state(self) -> TaskState:
        return self.supervisor.states()[0]

    def run_for(self, seconds: int) -> None:
        self.clock.pump([0.5] * (2 * seconds))

    def test_rounds_come_at_their_interval(self) -> None:
        self.run_for(31)
        self.assertEqual([round(at) for at in self.worker.rounds], [0, 10, 20, 30])
        self.assertEqual(self.state(), TaskState("one", False, self.worker.rounds[-1], "", None, 0))

    def test_when_is_told_by_the_machines_clock_and_rounds_come_at_their_interval(self) -> None:
        self.run_for(5)
        self.clock.set_by = 1.8e9
        self.worker.error = Explained("no answer")
        self.run_for(6)
        self.assertEqual([round(at) for at in self.worker.rounds], [0, 10])
        self.assertEqual(self.state().last_error_at, self.worker.rounds[-1] + 1.8e9)
        self.worker.error = None
        self.run_for(3)
        self.assertEqual(len(self.worker.rounds), 3)
        self.assertEqual(self.state().last_success, self.worker.rounds[-1] + 1.8e9)

    def test_a_slow_round_delays_the_next_but_two_never_overlap(self) -> None:
        self.worker.held = Deferred()
        self.run_for(25)
        self.assertEqual(len(self.worker.rounds), 1)
        held, self.worker.held = self.worker.held, None
        held.callback(None)
        self.run_for(1)
        self.assertEqual(len(self.worker.rounds), 2)

    def test_a_failing_task_is_tried_with_growing_pauses_and_others_do_not_notice(self) -> None:
        self.worker.error = Explained("no broker")
        self.run_for(31)
        self.assertEqual([round(at) for at in self.worker.rounds], [0, 2, 4, 8, 16, 26])
        self.assertEqual([round(at) for at in self.other.rounds], [0, 10, 20, 30])
        self.assertEqual((self.state().failing, self.state().last_error), (True, "no broker"))
        self.assertEqual(self.state().restarts, 5)
        self.assertFalse(self.supervisor.states()[1].failing)

    def test_the_same_error_is_logged_once_and_so_is_its_end(self) -> None:
        with capture_logs() as logs:
            self.worker.error = Explained("no broker")
            self.run_for(20)
            self.worker.error = Explained("wrong password")
            self.run_for(20)
            self.worker.error = None
            self.run_for(20)
        told = [(event["event"], event.get("reason")) for event in logs]
        self.assertEqual(
            told, [("task.failed", "no broker"), ("task.failed", "wrong password"), ("task.recovered", None)]
        )
        self.assertFalse(self.state().failing)
        self.assertEqual(self.state().last_error, "wrong password")

    def test_only_a_bug_is_logged_with_its_traceback(self) -> None:
        with capture_logs() as logs:
            self.worker.error = Explained("no broker")
            self.other.error = KeyError("oops")
            self.run_for(1)
        self.assertEqual([event["log_level"] for event in logs], ["warning", "error"])
        self.assertNotIn("exc_info", logs[0])
        self.assertIs(logs[1]["exc_info"][0], KeyError)

    def test_a_round_that_hangs_is_cancelled_and_counts_as_failed(self) -> None:
        self.worker.held = Deferred()
        self.run_for(49)
        self.assertFalse(self.state().failing)
        self.worker.held = Deferred()
        self.run_for(2)
        self.assertTrue(self.state().failing)
        self.assertEqual(self.state().last_error, "a round took longer than 50 s")
        self.assertEqual(len(self.other.rounds), 6)

    def test_hurry_begins_the_next_round_at_once(self) -> None:
        self.run_for(3)
        self.task.hurry()
        self.run_for(1)
        self.assertEqual(len(self.worker.rounds), 2)

    def test_hurry_during_a_round_begins_another_right_after_it(self) -> None:
        self.worker.held = Deferred()
        self.run_for(1)
        self.task.hurry()
        held, self.worker.held = self.worker.held, None
        held.callback(None)
        self.run_for(1)
        self.assertEqual(len(self.worker.rounds), 2)

    def test_stop_waits_for_the_round_under_way_and_begins_no_other(self) -> None:
        held = self.worker.held = Deferred()
        self.run_for(1)
        stopped = self.supervisor.stop(5)
        self.assertNoResult(stopped)
        held.callback(None)
        self.successResultOf(stopped)
        self.task.hurry()
        self.run_for(30)
        self.assertEqual((len(self.worker.rounds), self.worker.finished, len(self.other.rounds)), (1, 1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_cancels_what_does_not_end_in_time(self) -> None:
        self.worker.held = Deferred()
        self.run_for(1)
        stopped = self.supervisor.stop(5)
        self.run_for(6)
        self.successResultOf(stopped)
        self.assertEqual(self.worker.finished, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
