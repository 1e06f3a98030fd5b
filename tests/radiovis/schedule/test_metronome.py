"""Ticks that no wall clock holds up."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from radiovis.schedule.metronome import Metronome


class TestMetronome(unittest.TestCase):
    async def test_it_ticks_in_the_reactors_thread_until_it_is_stopped(self) -> None:
        third: Deferred[None] = Deferred()
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if ticks == 3:
                metronome.stop()
                third.callback(None)

        metronome = Metronome(reactor, tick, 0.01)
        metronome.start()
        await third.addTimeout(10, reactor)
        metronome._thread.join(10)
        self.assertFalse(metronome._thread.is_alive())
        self.assertEqual(ticks, 3)

    def test_a_busy_reactor_gets_one_tick_and_a_stopped_one_none(self) -> None:
        asked: list[Callable[[], None]] = []
        first = Event()

        class Busy:
            def callFromThread(self, call: Callable[[], None]) -> None:
                asked.append(call)
                first.set()

        ticks: list[None] = []
        metronome = Metronome(Busy(), lambda: ticks.append(None), 0.001)
        metronome.start()
        self.assertTrue(first.wait(10))
        first.clear()
        self.assertFalse(first.wait(0.05))  # fifty ticks later nothing more was asked
        metronome.stop()
        metronome._thread.join(10)
        asked[0]()
        self.assertEqual((len(asked), ticks), (1, []))
