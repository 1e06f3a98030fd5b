"""Ticks that come however the wall clock jumps: the reactor's timers follow it, and would wait when it is set back."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

SECONDS = 0.1
"""Between two ticks: how late a slide may be. Nobody sees it, and ten looks a second cost nothing."""


class Metronome:
    """Calls a function again and again, in the reactor's thread."""

    def __init__(self, reactor: Any, tick: Callable[[], None], seconds: float = SECONDS) -> None:
        """:param seconds: from one call to the next."""
        self._reactor = reactor
        self._tick = tick
        self._seconds = seconds
        self._stopped = Event()
        self._asked = False
        self._thread = Thread(target=self._run, name="metronome", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """No tick comes after this."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            if not self._asked:  # A reactor that is busy gets one tick, not all it has missed.
                self._asked = True
                self._reactor.callFromThread(self._call)

    def _call(self) -> None:
        self._asked = False
        if not self._stopped.is_set():
            self._tick()
