"""One of several front-ends that share a machine: what it was born with, and whom it depends on."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any, Self

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ReactorNotRunning
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

_STDIN = 0


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a front-end is given by the process that started it.

    :ivar number: which worker it is, from 1; 0 for a front-end by itself.
    :ivar sockets: listening sockets it inherits: name of the place, or ``admin`` → descriptor.
    """

    number: int = 0
    sockets: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Self:
        """From ``2,stomp=3,http=4``. :raises ValueError: for anything else."""
        number, *sockets = text.split(",")
        pairs = (each.partition("=") for each in sockets)
        return cls(int(number), {name: int(descriptor) for name, _, descriptor in pairs})

    @property
    def fields(self) -> dict[str, object]:
        """What each of its log lines says, so that the lines of several can be told apart."""
        return {"worker": self.number} if self.number else {}

    def __str__(self) -> str:
        return ",".join([str(self.number), *(f"{name}={number}" for name, number in self.sockets.items())])


class ParentWatch(FileDescriptor):
    """Stops the reactor when the parent is gone, however it ended: a worker nobody looks after holds the ports and
    cannot be told to end. The parent holds the other end of our standard input and never writes.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        # Ctrl-C in a terminal is for the parent, which tells us; and it tells us only once.
        os.setpgid(0, 0)
        reactor.addSystemEventTrigger("before", "shutdown", signal.signal, signal.SIGTERM, signal.SIG_IGN)
        self.startReading()  # type: ignore[no-untyped-call]

    def fileno(self) -> int:
        return _STDIN

    def doRead(self) -> Exception | None:
        return None if os.read(_STDIN, 1) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """The parent is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # we are stopping already
