"""What attacks have in common: a real node, clients that do nothing wrong beside them, and the figures of both.

    class TestOpenTransactions(AttackCase):
        def test_anonymous_clients(self) -> None:
            with self.attack("open transactions") as attack:
                ...
                attack.sent += len(octets)

A test passes if the node's memory grew by less than :data:`MAX_GROWTH` and each bystander got every message. Latencies
are judged by ``make attacks`` only, which sets the variable :data:`FULL` to the file that its table is read from.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
import unittest
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests import services
from tests.processes import Server, node
from tests.radio import Radio, frame

MAX_GROWTH = 100_000_000
"""Octets by which an attack may let the memory of a node grow."""
MAX_MEDIAN_MS = 50.0
"""Milliseconds from a bystander's SEND to the MESSAGE, in the median."""
FULL = "RADIOVIS_ATTACKS"
"""Names the file for the figures, one JSON object for each attack; attacks are then of full size."""
STRANGER = "127.0.0.9"
"""The address of attackers that are to be told from the bystanders, which come from 127.0.0.1."""
PAUSE_SECONDS = 0.01
"""Between two publishes of a bystander: frequent enough to meet a reactor turn that lasts long."""


def size(short: int, full: int) -> int:
    """How large an attack is: short within the suite, full for ``make attacks``."""
    return full if FULL in os.environ else short


@dataclass
class Figures:
    """What an attack cost both sides.

    :ivar sent: octets that the attacker sent; each test adds them.
    :ivar growth: octets of memory that the node gained, at the most.
    """

    name: str
    sent: int = 0
    seconds: float = 0.0
    growth: int = 0
    publishes: int = 0
    median_ms: float = 0.0
    worst_ms: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.sent / 1e6:.1f} MB sent in {self.seconds:.1f} s, memory +{self.growth / 1e6:.0f} MB,"
            f" bystanders' median {self.median_ms:.1f} ms, worst {self.worst_ms:.0f} ms of {self.publishes}"
        )


class Bystander:
    """A station and a radio that use the node as they should: each publish has to arrive before the next one is sent.

    :ivar error: what went wrong; None if nothing did.
    """

    TOPIC = "/topic/id/tests._ebu.nowhere/topic1/bystander/image"

    def __init__(self, server: Server) -> None:
        self.error: Exception | None = None
        self.latencies: list[float] = []
        self.memory = 0
        self._server = server
        self._over = threading.Event()
        self._station = Radio.connect(server.address, "1.test", "test")
        self._radio = Radio.connect(server.address)
        self._radio.subscribe(self.TOPIC)
        self._radio.send(frame("SUBSCRIBE", {"destination": self.TOPIC, "receipt": "known"}))
        self._radio.expect("RECEIPT")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._over.wait(PAUSE_SECONDS) or not self.latencies:
                self._publish(b"TEXT %d" % len(self.latencies))
                self.memory = max(self.memory, self._server.memory())
        except (OSError, AssertionError) as error:  # The thread of the test shows it.
            self.error = error

    def _publish(self, body: bytes) -> None:
        began = time.monotonic()
        self._station.send(frame("SEND", {"destination": self.TOPIC}, body))
        while self._radio.expect("MESSAGE").body != body:
            pass
        self.latencies.append(time.monotonic() - began)

    def end(self) -> None:
        """Wait for the last publish."""
        self._over.set()
        self._thread.join()
        self._station.close()
        self._radio.close()


class AttackCase(unittest.TestCase):
    """Attacks on one node by itself, which is started anew for each test, with all its listeners."""

    settings: ClassVar[Mapping[str, Any]] = {}

    def setUp(self) -> None:
        ports = {"HTTP_PORT": services.free_port(), "ADMIN_PORT": services.free_port()}
        self.server = node(**{**ports, **self.settings})
        self.addCleanup(self.server.close)
        self.server.start()

    def radio(self, login: str = "", passcode: str = "", **headers: str) -> Radio:
        """A client that has connected; anonymous unless said otherwise."""
        radio = Radio.connect(self.server.address, login, passcode, headers=headers)
        self.addCleanup(radio.close)
        return radio

    @contextmanager
    def attack(self, name: str) -> Iterator[Figures]:
        """Do what is inside, and judge the node afterwards: its memory, its log and what a bystander saw."""
        figures = Figures(name)
        bystander = Bystander(self.server)
        before, began = self.server.memory(), time.monotonic()
        try:
            yield figures
        finally:
            figures.seconds = time.monotonic() - began
            bystander.end()
        figures.growth = max(0, max(bystander.memory, self.server.memory()) - before)
        figures.publishes = len(bystander.latencies)
        if bystander.error is not None:
            raise AssertionError(f"a bystander was not served: {bystander.error}") from bystander.error
        figures.median_ms = statistics.median(bystander.latencies) * 1e3
        figures.worst_ms = max(bystander.latencies) * 1e3
        self._judge(figures)

    def _judge(self, figures: Figures) -> None:
        self.assertLess(figures.growth, MAX_GROWTH, str(figures))
        self.assertEqual(self.server.faults, [])
        if FULL in os.environ:
            with Path(os.environ[FULL]).open("a") as file:
                file.write(json.dumps(asdict(figures)) + "\n")
            self.assertLess(figures.median_ms, MAX_MEDIAN_MS, str(figures))
