"""What a client that waits costs: a few KiB, and no time of others."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any, ClassVar

from tests import services
from tests.acceptance.case import NodeCase
from tests.web import Raw, ask, poll_path

CLIENTS = 1_000
KIB = 1_024
HEADERS = "HTTP/1.1\r\nhost: vis.example\r\nuser-agent: Mozilla/5.0 (Linux; Android 9) FMRadio/2\r\naccept: */*\r\n\r\n"


class CostCase(NodeCase):
    """A node of its own for each measurement: freed memory would be used again."""

    settings: ClassVar[dict[str, Any]] = {"HTTP_POLL_TIMEOUT": 120}

    @classmethod
    def setUpClass(cls) -> None:
        cls.settings = {**cls.settings, "HTTP_PORT": services.free_port()}
        super().setUpClass()

    def hold(self, path: str, clients: int, stack: ExitStack) -> list[Raw]:
        """So many clients that wait, each of them as far as the node is concerned."""
        request = f"GET {path} {HEADERS}".encode()
        pending = [stack.enter_context(Raw(self.server.http, request)) for _ in range(clients)]
        self.assertEqual(ask(self.server.http, "/nothing").status, 404)  # which came after all of them
        return pending

    def cost(self, path: str, stack: ExitStack) -> tuple[float, list[Raw]]:
        """Octets per client, once those the first ones cost are spent."""
        warm = self.hold(path, 100, stack)
        before = self.server.memory()
        pending = self.hold(path, CLIENTS, stack)
        return (self.server.memory() - before) / CLIENTS, warm + pending

    def report(self, what: str, octets: float, seconds: float) -> None:
        print(f"{what}: {octets / KIB:.1f} KiB each, {CLIENTS} answered in {seconds:.2f} s", file=sys.stderr)


class TestPoll(CostCase):
    def test_a_few_kib(self) -> None:
        station = self.station(1, "1.2")
        topic = self.topic()
        with ExitStack() as stack:
            octets, pending = self.cost(poll_path(topic), stack)
            started = time.monotonic()
            station.publish(topic, b"SHOW http://a/1.png")
            for each in pending:
                self.assertIn(b" 200 ", each.until(b"}}"))
            self.report("poll", octets, time.monotonic() - started)
        self.assertLess(octets, 10 * KIB)


class TestStream(CostCase):
    def test_a_few_kib(self) -> None:
        station = self.station(1, "1.2")
        channel = self.topic("")
        with ExitStack() as stack:
            octets, pending = self.cost("/radiodns/push/1.0/" + channel.strip("/").removeprefix("topic/"), stack)
            started = time.monotonic()
            station.publish(channel + "image", b"SHOW http://a/1.png")
            for each in pending:
                each.until(b'{"src": "http://a/1.png"}')
            self.report("stream", octets, time.monotonic() - started)
        self.assertLess(octets, 10 * KIB)
