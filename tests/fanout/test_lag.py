from __future__ import annotations

from twisted.internet.task import Clock, LoopingCall
from twisted.trial import unittest

from fanout.lag import Lag


class TestLag(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = Lag(self.clock.seconds, 0.5, kept=4)
        loop = LoopingCall(self.lag.look)
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
        self.assertEqual(Lag(self.clock.seconds).worst, 0.0)
