"""What the tests of the operators' listener have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests import services
from tests.acceptance.case import NodeCase
from tests.prometheus import parse
from tests.radio import Radio, frame
from tests.web import Answer, ask


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Ask again until this holds; there is no event to wait for in an answer that has to change."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.05)


def admin_port() -> dict[str, object]:
    """Settings of a node that operators may ask."""
    return {"ADMIN_PORT": services.free_port()}


class AdminCase(NodeCase):
    """A node with all its listeners."""

    @classmethod
    def setUpClass(cls) -> None:
        ports = {"HTTP_PORT": services.free_port(), "ADMIN_PORT": services.free_port()}
        cls.settings = {**cls.settings, **ports}
        super().setUpClass()

    def slow_radio(self) -> Radio:
        """Listens to :meth:`topic`, and reads nothing that comes; with little room for it on the way."""
        radio = Radio(self.server.address, receive_buffer=4096)
        self.addCleanup(radio.close)
        radio.send(frame("CONNECT"))
        radio.expect("CONNECTED")
        radio.subscribe(self.topic(), fast_reply=False)
        return radio

    def ask(self, path: str, **headers: str) -> Answer:
        return ask(self.server.admin, path, **headers)

    def overview(self) -> Any:
        return self.ask("/api/overview").json

    def metrics(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        answer = self.ask("/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers)
        return parse(answer.body)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics()[name].get(tuple(sorted(labels.items())), 0.0)
