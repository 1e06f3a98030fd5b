"""None"""

from __future__ import annotations

from twisted.internet.task import Clock, LoopingCall
from twisted.trial import unittest

from fanout.metrics.rates import Rates, ReactorLag


class TestLag(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = ReactorLag(self.clock.seconds, 0.5, kept=4)
        loop = LoopingCall(self.lag.sample)
        loop.clock = self.clock
        loop.start(0.5)

    def test_on_time(self) -> None:
        self.clock.pump([0.5] * 10)
        self.assertEqual((self.lag.worst, self.lag.total), (0.0, 0.0))

    def test_a_stall(self) -> None:
        self.clock.advance(0.5)
        self.clock.advance(2.5)  # Nothing came round in between.
        self.assertEqual((self.lag.worst, self.lag.total), (2.0, 2.0))

    def test_a_stall_is_forgotten_but_counted(self) -> None:
        self.clock.advance(2.5)
        self.clock.pump([0.5] * 3)
        self.assertEqual(self.lag.worst, 2.0)
        self.clock.advance(0.5)
        self.assertEqual((self.lag.worst, self.lag.total), (0.0, 2.0))

    def test_before_the_first_look(self) -> None:
        self.assertEqual(ReactorLag(self.clock.seconds).worst, 0.0)


class TestRates(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.messages = self.clients = 0
        self.rates = Rates(
            self.clock.seconds,
            {"messages": lambda: self.messages},
            {"clients": lambda: self.clients},
            interval=5,
            kept=3,
        )
        self.rates.sample()

    def after(self, seconds: float, messages: int, clients: int) -> None:
        self.clock.advance(seconds)
        self.messages += messages
        self.clients = clients
        self.rates.sample()

    def test_growth_per_second_and_levels_as_they_are(self) -> None:
        self.after(5, 10, 3)
        self.after(10, 10, 4)
        self.assertEqual(
            self.rates.report(), {"interval": 5, "times": [1005, 1015], "messages": [2, 1], "clients": [3, 4]}
        )

    def test_what_was_before_the_start_is_no_peak(self) -> None:
        self.messages = 1_000_000
        rates = Rates(self.clock.seconds, {"messages": lambda: self.messages}, {})
        rates.sample()
        self.assertEqual(rates.report(), {"interval": 5, "times": [], "messages": []})

    def test_only_what_is_new(self) -> None:
        self.after(5, 10, 3)
        self.after(5, 20, 3)
        self.assertEqual(self.rates.report(since=1005)["messages"], [4])
        self.assertEqual(self.rates.report(since=1010)["times"], [])

    def test_no_more_than_so_many(self) -> None:
        for _ in range(10):
            self.after(5, 5, 1)
        self.assertEqual(self.rates.report()["times"], [1040, 1045, 1050])

    def test_a_clock_that_stands_still_divides_by_nothing(self) -> None:
        self.after(0, 10, 1)
        self.assertEqual(self.rates.report()["times"], [])
