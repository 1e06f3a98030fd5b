"""Everything is restarted in turn, under load: no false default, and no entry of the log is lost."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import ClassVar

from radiovis.watchdog.sources import REMOTE_PREFETCH
from tests import services
from tests.acceptance.watched import Service, channel, is_default, seconds
from tests.processes import Server
from tests.radiovis.watchdog.daemon import Daemon

SILENT, ALIVE = 1, 2


class TestRestarts(Service):
    """A channel is fed through two nodes, one of which stays; everything else goes and comes back."""

    names: ClassVar[tuple[str, ...]] = ("silent", "alive")
    quick: ClassVar[dict[str, object]] = {**Service.quick, "FB_FALLBACK_TIME": 5}
    server: ClassVar[services.RabbitMQ]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = services.RabbitMQ()
        cls.server.start()
        cls.addClassCleanup(cls.server.close)
        cls.broker = cls.server.address
        cls.exchange = "amq.fanout"  # The default, and the broker's own.

    def test_in_turn(self) -> None:
        nodes, fallback = [self.make_node(), self.make_node()], self.make_fallback()
        self.make_queue()
        topics = (channel(ALIVE) + "text", channel(ALIVE) + "image")
        stations = [
            self.make_broadcaster(node, *topics, name=name, pause=0.03) for node, name in zip(nodes, "xy", strict=True)
        ]
        with contextlib.ExitStack() as running:
            for station in stations:
                running.enter_context(station).wait_for(10)
            fallback.start().wait_for("defaults.sent")
            for restart in (self.memcached.restart, lambda: self.end_node(nodes[1]), lambda: self.end(fallback)):
                restart()
                for station in stations:
                    station.wait_for(50)
            fallback.kill()
            fallback.start()
            for station in stations:
                station.wait_for(50)
            self.server.restart()
            for station in stations:
                station.wait_for(50)
            back = seconds(fallback.wait_for("bus.connected", count=2))
            fallback.wait_for("queue.consuming", count=2)
            sent = fallback.wait_for("defaults.sent", count=len(fallback.events("defaults.sent")) + 1)
            self.assertGreater(seconds(sent), back)
        self.assert_all_is_logged(stations[0].confirmed + stations[1].confirmed, time.time() - 1)
        fallback.terminate()

    def end_node(self, node: Server) -> None:
        """A node is restarted in order; what it had in hand has its receipts."""
        node.terminate()
        node.start()

    def end(self, fallback: Daemon) -> None:
        """So is the watchdog."""
        fallback.terminate()
        fallback.start()

    def assert_all_is_logged(self, confirmed: list[bytes], stopped: float) -> None:
        entries = self.logged(confirmed)
        copies = Counter(self.bodies(entries, ALIVE))
        twice = [body for body, count in copies.items() if count > 1]
        print(f"\n{len(confirmed)} entries, {len(twice)} of them twice ... ", end="")
        # What PlugIt had, and the broker did not know of: one when the watchdog was killed, and what it had delivered
        # without an acknowledgement when the broker ended.
        self.assertLessEqual(len(twice), 1 + REMOTE_PREFETCH)
        defaults = {entry["topic"] for entry in entries if is_default(entry) and int(entry["timestamp"]) < stopped}
        self.assertTrue({channel(SILENT) + "text", channel(SILENT) + "image"} <= defaults, defaults)
        self.assertEqual([topic for topic in defaults if topic.startswith(channel(ALIVE))], [])
