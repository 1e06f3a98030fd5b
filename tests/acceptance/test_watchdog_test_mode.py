"""``fallback.py --test`` as the original's suites expect it (contract §1.12), and the events of a watchdog (§1.11)."""

from __future__ import annotations

import json
import socket
import time
import unittest
from typing import Any
from uuid import uuid4

from tests import services
from tests.acceptance.cluster import Cluster
from tests.acceptance.test_monitoring import event
from tests.fanout.bus.queue_reader import take_until
from tests.radio import Radio
from tests.radiovis.test_settings import ORIGINAL_FILE
from tests.radiovis.watchdog.daemon import Daemon
from tests.radiovis.watchdog.log_receiver import log_receiver


class _Case(unittest.TestCase):
    """A node and a watchdog in test mode, with a channel no other test has."""

    def setUp(self) -> None:
        self.broker = services.rabbitmq()
        self.channel = f"/topic/test/{uuid4()}/"
        cluster = Cluster(self.broker, 1, TEST_WATCHDOG_TOPIC=json.dumps([[self.channel, 1]]))
        self.exchange = cluster.exchange
        self.node = self.enterContext(cluster).nodes[0]

    def fallback(self, **settings: object) -> Daemon:
        given = {
            "TEST_WATCHDOG_TOPIC": json.dumps([[self.channel, 1]]),
            "TEST_FB_QUEUE": f"queue.{uuid4()}",
            "TEST_FB_FALLBACK_TIME": 2,
            "TEST_FB_FALLBACK_CHECK": 0.2,
            "FB_ADMIN_PORT": 0,
            **settings,
        }
        fallback = Daemon(self.broker, self.exchange, "--test", **given)
        self.addCleanup(fallback.close)
        return fallback

    def station(self) -> Radio:
        station = Radio.connect(self.node.address, "4.test", "test", version="1.2")
        self.addCleanup(station.close)
        return station


class TestDatagrams(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.receiver = log_receiver()
        self.addCleanup(self.receiver.close)

    def datagram(self, message: str) -> dict[str, Any]:
        """The next one about this body; others may come from other tests' watchdogs."""
        deadline = time.monotonic() + 20
        while True:
            self.receiver.settimeout(max(deadline - time.monotonic(), 0.01))
            found: dict[str, Any] = json.loads(self.receiver.recv(65536))
            if found.get("message") == message or found["type"] == message:
                return found

    def test_what_is_published_and_what_is_cleaned(self) -> None:
        fallback = self.fallback(TEST_FB_FALLBACK_TIME=60, TEST_FB_LOGS_CLEANUP=0.5, FB_LOGS_MAX_AGE=86_411).start()
        fallback.wait_for("queue.consuming")
        before = int(time.time())
        self.station().publish(self.channel + "text", "TEXT café".encode(), {"link": "http://l/?a=1", "x-odd": "1"})
        found = self.datagram("TEXT café")
        self.assertEqual(list(found), ["topic", "headers", "message", "type", "timestamp"])
        self.assertEqual((found["topic"], found["type"]), (self.channel + "text", "log"))
        self.assertTrue(before <= found["timestamp"] <= time.time())
        headers = dict(json.loads(found["headers"]))
        self.assertEqual((headers["link"], sorted(headers)), ("http://l/?a=1", ["link", "message-id", "when"]))
        for _ in range(2):
            while (cleaned := self.datagram("cleanup_logs")) != {"max_age": 86_411, "type": "cleanup_logs"}:
                self.assertEqual(list(cleaned), ["max_age", "type"])
        fallback.terminate()

    def test_defaults_after_test_fb_fallback_time(self) -> None:
        fallback = self.fallback().start()
        fallback.wait_for("queue.consuming")
        station = self.station()
        station.publish(self.channel + "text", b"TEXT a word")
        spoken = self.datagram("TEXT a word")["timestamp"]
        default = self.datagram("TEXT testdefaultext")
        while default["topic"] != self.channel + "text" or default["timestamp"] < spoken + 1:
            default = self.datagram("TEXT testdefaultext")
        self.assertTrue(1 <= default["timestamp"] - spoken <= 5, default)
        self.assertEqual(dict(json.loads(default["headers"]))["expires"], "0")
        fallback.terminate()


class TestOriginalFile(_Case):
    def test_a_config_py_of_the_original(self) -> None:
        fallback = self.fallback(MONITORING_ENABLED=False, RABBITMQ_HOST=None, FB_CHANNEL_CACHE="")
        text = ORIGINAL_FILE.replace('"127.0.0.1")', f'"{self.broker.host}")', 1)
        (fallback.folder / "config.py").write_text(text)
        fallback.start()
        fallback.wait_for("queue.consuming")
        warnings = [each["warning"] for each in fallback.events("settings.warning")]
        for name in ("STATS_ENABLED", "STATS_HOST", "RABBITMQ_DEBUG", "MONITORING_DEBUG", "FB_CHANNEL_CACHE"):
            self.assertEqual(str(warnings).count(name), 1, warnings)
        fallback.terminate()


class TestEvents(_Case):
    def monitored(self, port: int, *, enabled: bool = True, **settings: object) -> Daemon:
        return self.fallback(MONITORING_ENABLED=enabled, MONITORING_PORT=port, **settings)

    def test_a_watchdog_says_that_it_is_there(self) -> None:
        queue = f"radiovis-{uuid4()}"
        fallback = self.monitored(self.broker.port, MONITORING_QUEUE=queue, MONITORING_EXCHANGE=queue).start()
        fallback.wait_for("publisher.connected")
        ((_, body),) = take_until(self.broker, queue, bool)
        self.assertEqual(event(body), ("fallbacks", ""))
        fallback.terminate()
        self.assertEqual(fallback.faults, [])

    def test_a_monitoring_broker_that_is_silent_stops_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            fallback = self.monitored(silent.getsockname()[1]).start()
            fallback.wait_for("defaults.sent", count=2)
            began = time.monotonic()
            fallback.terminate()
            self.assertLess(time.monotonic() - began, 5)

    def test_disabled_nobody_knocks(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as broker:
            fallback = self.monitored(broker.getsockname()[1], enabled=False).start()
            fallback.wait_for("defaults.sent")
            broker.setblocking(False)
            with self.assertRaises(BlockingIOError):
                broker.accept()
            fallback.terminate()
