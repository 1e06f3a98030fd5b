"""An outbox on a wire that keeps what is written, and turns of a reactor by hand."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock

from fanout.hub.outbox import Flusher, Outbox, OutboxSettings, Policy


class Wire:
    """A sink that keeps what is written; it fills up behind so many writes, if it is told to."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.cut = 0
        self.outbox: Outbox | None = None
        self.error: Exception | None = None

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append(data)
        if self.outbox is not None:
            self.outbox.block()

    def cut_off(self) -> None:
        self.cut += 1


class OutboxCase:
    """Mixed into the cases. Not a TestCase itself: it would run as an empty test."""

    policy: Policy = "newest"

    def setUp(self) -> None:
        self.turns: list[Callable[[], None]] = []
        self.failures: list[tuple[Outbox, Exception]] = []
        self.clock = Clock()
        self.flusher = Flusher(
            self.clock.seconds,
            self.turns.append,
            lambda outbox, error: self.failures.append((outbox, error)),
            OutboxSettings.model_construct(OUTBOX_BYTES=100, SLOW_CLIENTS=self.policy),
        )
        self.wire = Wire()
        self.outbox = Outbox(self.wire, self.flusher)

    def turn(self) -> None:
        """The reactor's turn ends."""
        turns, self.turns[:] = list(self.turns), []
        for call in turns:
            call()

    def fill(self, octets: int) -> None:
        """The wire is full, and so many octets wait in one message."""
        self.outbox.block()
        self.outbox.offer("slot", b"m" * octets)
