"""A station that publishes all the time, over outages of whatever it talks to, and knows what was promised to it."""

from __future__ import annotations

import threading
import time
from typing import Self

from tests.processes import Address
from tests.radio import Radio, frame

SECONDS = 60.0  # A broker and a node have been seen to need twenty to come back.
_UNANSWERED = 200  # Frames sent ahead of their receipts.


class Broadcaster:
    """Sends ``TEXT <name> <number>`` to each of its topics in turn, each with a receipt, until :meth:`stop`.

    :ivar confirmed: the bodies with a receipt: the broker has them, so they must be in the log. In order.
    :ivar sent: all bodies that were sent.
    """

    def __init__(self, address: Address, login: str, topics: tuple[str, ...], *, name: str, pause: float) -> None:
        """
        :param login: its passcode is the same.
        :param pause: seconds between two messages.
        """
        self.confirmed: list[bytes] = []
        self.sent: list[bytes] = []
        self._address, self._login, self._topics, self._name, self._pause = address, login, topics, name, pause
        self._stopping = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Go on the air."""
        self._thread.start()

    def wait_for(self, more: int, seconds: float = SECONDS) -> None:
        """Until so many further messages have been confirmed."""
        with self._news:
            wanted = len(self.confirmed) + more
            if not self._news.wait_for(lambda: len(self.confirmed) >= wanted, seconds):
                raise AssertionError(f"{self._name}: {len(self.confirmed)} of {wanted} receipts within {seconds} s")

    def stop(self) -> None:
        """Send no more; returns when everything sent on the last connection has its receipt. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with Radio.connect(self._address, self._login, self._login, version="1.2") as station:
                    self._publish(station)
            except (OSError, AssertionError):
                self._stopping.wait(0.1)  # The node is away. What has no receipt was promised to nobody.

    def _publish(self, station: Radio) -> None:
        waiting = 0
        next_at = time.monotonic()
        while not self._stopping.is_set():
            number = len(self.sent)
            body = f"TEXT {self._name} {number}".encode()
            self.sent.append(body)
            topic = self._topics[number % len(self._topics)]
            station.send(frame("SEND", {"destination": topic, "receipt": str(number)}, body))
            waiting += 1
            next_at = max(next_at + self._pause, time.monotonic())
            while waiting and (waiting >= _UNANSWERED or time.monotonic() < next_at):
                waiting -= self._receipt(station, max(next_at - time.monotonic(), 0.01))
            self._stopping.wait(next_at - time.monotonic())
        station.seconds = SECONDS
        for _ in range(waiting):
            self._receipt(station, SECONDS)

    def _receipt(self, station: Radio, seconds: float) -> int:
        """Take one receipt, if it comes in time."""
        try:
            answer = station.frame(seconds)
        except TimeoutError:
            return 0
        if answer.command != "RECEIPT":
            raise AssertionError(f"the node ends the connection: {answer.raw!r}")
        number = int(answer.get("receipt-id") or "")
        with self._news:
            self.confirmed.append(self.sent[number])
            self._news.notify_all()
        return 1
