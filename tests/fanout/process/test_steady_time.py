from __future__ import annotations

import time
import unittest
from unittest import mock

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock

from fanout.process.steady_time import FINE, SLEW, STEP, SteadyTime, keep_steady, unix_time


class Machine:
    """A machine whose clock somebody sets."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.set_by = 0.0
        self.steady = SteadyTime(lambda: 1000.0 + self.passed + self.set_by, lambda: 7.0 + self.passed)

    def after(self, seconds: float) -> float:
        self.passed += seconds
        return self.steady()


class SteadyTimeTests(unittest.TestCase):
    def test_it_is_the_machines_time(self) -> None:
        machine = Machine()
        self.assertEqual([machine.after(each) for each in (0, 1, 60)], [1000.0, 1001.0, 1061.0])
        self.assertAlmostEqual(SteadyTime(time.time, time.monotonic)(), time.time(), delta=1)

    def test_set_back_or_forward_it_goes_on_and_catches_up_slowly(self) -> None:
        for jump in (-60.0, 60.0):
            machine = Machine()
            machine.set_by = jump
            sign = jump / 60
            self.assertAlmostEqual(machine.after(1), 1001.0 + sign * SLEW)
            self.assertAlmostEqual(machine.after(99), 1100.0 + sign * 100 * SLEW)
            self.assertAlmostEqual(machine.after(600), 1700.0 + jump)
            self.assertAlmostEqual(machine.after(1), 1701.0 + jump)

    def test_what_the_clock_drifts_by_is_followed_at_once(self) -> None:
        machine = Machine()
        machine.set_by = 0.0005
        self.assertAlmostEqual(machine.after(1), 1001.0005)

    def test_people_are_told_the_same(self) -> None:
        machine = Machine()
        machine.set_by = 50.0
        self.assertAlmostEqual(machine.after(100), 1100.0 + 100 * SLEW)
        self.assertAlmostEqual(machine.steady.told(), 1100.0 + 100 * SLEW)

    def test_a_clock_that_was_wrong_is_right_at_once_for_people_and_timers_go_on(self) -> None:
        for jump in (1.8e9, -7200.0, STEP + 1):
            machine = Machine()
            machine.after(10)
            machine.set_by = jump
            self.assertAlmostEqual(machine.after(1), 1011.0)
            self.assertAlmostEqual(machine.steady.told(), 1011.0 + jump)
            self.assertAlmostEqual(machine.after(100), 1111.0)
            self.assertAlmostEqual(machine.steady.told(), 1111.0 + jump)

    def test_it_rises_evenly_also_within_the_moment_in_which_the_clock_is_not_asked(self) -> None:
        machine = Machine()
        told = [machine.after(FINE / 4) for _ in range(20)]
        for number, each in enumerate(told, 1):
            self.assertAlmostEqual(each, 1000.0 + number * FINE / 4)

    def test_and_back_again(self) -> None:
        machine = Machine()
        for jump in (-7200.0, 0.0, 7200.0, 7230.0, 0.0):
            machine.set_by = jump
            began = machine.steady()
            self.assertAlmostEqual(machine.after(1), began + 1, delta=SLEW + 1e-6)
        self.assertAlmostEqual(machine.steady.told(), machine.steady(), delta=STEP)
        self.assertAlmostEqual(machine.steady.told(), 1005.0)

    def test_what_is_told_is_never_far_from_the_machines_time(self) -> None:
        machine = Machine()
        for minute in range(100):
            machine.set_by = (-1) ** minute * minute * 3.0
            machine.after(1)
            told = machine.steady.told()
            self.assertLessEqual(abs(told - (1000.0 + machine.passed + machine.set_by)), STEP)

    def test_whom_to_ask(self) -> None:
        reactor = SelectReactor()
        keep_steady(reactor)
        self.assertAlmostEqual(unix_time(reactor)(), time.time(), delta=1)
        self.assertEqual(unix_time(reactor), reactor.seconds.told)
        clock = Clock()
        clock.advance(5)
        self.assertEqual(unix_time(clock)(), 5)

    def test_a_timer_ends_in_time_though_the_clock_was_set_back_by_an_hour(self) -> None:
        reactor = SelectReactor()
        set_by = [0.0]
        with mock.patch("time.time", lambda real=time.time: real() + set_by[0]):
            keep_steady(reactor)
            self.run_through(reactor, set_by)

    def run_through(self, reactor: SelectReactor, set_by: list[float]) -> None:
        reactor.callLater(0.1, set_by.__setitem__, 0, -3600.0)
        began, ended = time.monotonic(), []
        reactor.callLater(0.3, lambda: (ended.append(time.monotonic()), reactor.stop()))
        reactor.run(installSignalHandlers=False)
        self.assertLess(ended[0] - began, 5)
