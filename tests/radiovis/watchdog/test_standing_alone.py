"""The watchdog inside a node by itself: a real ``server.py --standalone``, and what a restart remembers."""

from __future__ import annotations

import unittest
from datetime import datetime

from tests.processes import Event, Server
from tests.radio import Radio

TEXT = "/topic/id/tests._ebu.nowhere/topicwatchdogeg/text"


class Alone(unittest.TestCase):
    def server(self, **settings: object) -> Server:
        quick = {"TEST_FB_FALLBACK_TIME": 2, "TEST_FB_FALLBACK_CHECK": 0.2}
        server = Server("--test", "--standalone", **{**quick, **settings})
        self.addCleanup(server.close)
        return server

    def test_a_silent_topic_gets_its_default_again_and_again(self) -> None:
        with self.server() as server:
            server.wait_for("defaults.sent", count=3)
            with Radio.connect(server.address) as radio:
                radio.subscribe(TEXT)
                self.assertEqual(radio.expect("MESSAGE").body, b"TEXT testdefaultext")
            server.terminate()
            self.assertEqual(server.faults, [])

    def test_after_a_restart_what_was_alive_is_not_overwritten(self) -> None:
        server = self.server(TEST_FB_FALLBACK_TIME=3).start()
        server.wait_for("defaults.sent", topics=2)
        server.terminate()
        self.assertTrue((server.folder / "radiovis-journal.sqlite").exists())
        server.start()
        first = seconds(server.wait_for("defaults.sent"))
        self.assertGreater(first - seconds(server.wait_for("topics.listed")), 2.5)


def seconds(event: Event) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()
