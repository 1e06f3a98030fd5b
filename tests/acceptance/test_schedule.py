"""A trigger-time in the future: the slide is on air at its instant, whoever dies before."""

from __future__ import annotations

import time
import unittest
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import urlencode

from tests import services
from tests.acceptance.watched import LOGIN, Service, channel
from tests.processes import Server
from tests.radio import Frame, Radio
from tests.radiovis.watchdog.daemon import Daemon
from tests.web import Answer, ask, basic

LATE = 1.5
"""Seconds a slide may be late on a machine that is busy with other tests; a tenth otherwise."""


def iso(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def publish(station: Radio, topic: str, body: bytes, moment: float | None, name: str) -> None:
    """Returns when it is safely held, or on air."""
    trigger = "NOW" if moment is None else iso(moment).replace(":", "\\c")
    station.publish(topic, body, {"trigger-time": trigger, "message-id": name})


class _Case(unittest.TestCase):
    def assert_on_air(self, radio: Radio, body: bytes, moment: float) -> Frame:
        frame = radio.expect("MESSAGE")
        now = time.time()
        self.assertEqual((frame.body, frame.get("trigger-time")), (body, "NOW"))
        self.assertTrue(moment <= now < moment + LATE, f"{now - moment:.3f} s late")
        return frame


class TestCluster(_Case, Service):
    names: ClassVar[tuple[str, ...]] = ("one",)
    quick: ClassVar[dict[str, object]] = {
        "FB_FALLBACK_TIME": 1_000,
        "SCHEDULE": "server",
        "radiovis.schedule.held_slides.MOST_HELD": 3,
    }
    node: ClassVar[Server]
    pair: ClassVar[list[Daemon]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.node = cls.make_node(SCHEDULE="server", FB_QUEUE=cls.queue, HTTP_PORT=services.free_port())
        cls.pair = [cls.make_fallback(), cls.make_fallback()]
        cls.pair[0].start().wait_for("kept_queue.open")
        cls.pair[1].start().wait_for("leader.standing_by")

    def setUp(self) -> None:
        self.subscriber, self.on_air = self.radio(self.node, 1), self.station(self.node)
        self.image = channel(1) + "image"

    def test_a_leader_is_killed_and_another_shows_it_at_its_time(self) -> None:
        leader, heir = self.pair
        at = time.time() + 4
        for number in range(2):
            publish(self.on_air, self.image, b"SHOW http://x/%d" % number, at + number * 0.5, f"k{number}")
        self.assertEqual(leader.report()["schedule"]["held"], 2)
        leader.kill()
        heir.wait_for("kept_queue.open", seconds=10)
        for number in range(2):
            self.assert_on_air(self.subscriber, b"SHOW http://x/%d" % number, at + number * 0.5)
        leader.start().wait_for("leader.standing_by")
        self.assertEqual((heir.report()["schedule"]["held"], self.subscriber.so_far()), (0, []))
        self.pair.reverse()

    def test_replaced_cancelled_and_overtaken(self) -> None:
        at = time.time() + 2.5
        publish(self.on_air, self.image, b"SHOW old", at - 1, "r")
        publish(self.on_air, self.image, b"SHOW new", at, "r")
        publish(self.on_air, self.image, b"SHOW never", at, "c")
        publish(self.on_air, self.image, b"", None, "c")
        publish(self.on_air, self.image, b"SHOW then", at, "n")
        publish(self.on_air, self.image, b"SHOW now", None, "n")
        self.assertEqual(self.subscriber.expect("MESSAGE").body, b"SHOW now")
        self.assert_on_air(self.subscriber, b"SHOW new", at)
        publish(self.on_air, self.image, b"SHOW past", at - 3_600, "p")
        self.assertEqual(self.subscriber.expect("MESSAGE").get("trigger-time"), "NOW")
        publish(self.on_air, self.image, b"SHOW nonsense", None, "z")
        self.assertEqual([each.body for each in self.subscriber.so_far()], [b"SHOW nonsense"])
        code, table = self.pair[0].status()
        self.assertEqual(code, 0, table)
        self.assertIn("held    0 of 3 messages", table)

    def test_over_http_so_many_and_so_far_ahead(self) -> None:
        at = time.time() + 3_600
        names = ["h0", "h1", "h2"]
        for name in names:
            answered = self.post(**{"image": "http://x/1", "trigger-time": iso(at), "message-id": name})
            self.assertEqual(answered.status, 202, answered.body)
        self.pair[0].wait_for("kept_queue.full")
        self.assertEqual(self.post(image="http://x/1", **{"trigger-time": iso(at)}).status, 503)
        self.assertEqual(self.post(image="http://x/1", **{"trigger-time": iso(at + 10**7)}).status, 422)
        opened = len(self.pair[0].events("kept_queue.open"))
        for name in names:
            self.assertEqual(self.post(**{"message-id": name}).status, 202)
        self.pair[0].wait_for("kept_queue.open", count=opened + 1)
        self.assertEqual(self.pair[0].report()["schedule"]["held"], 0)

    def post(self, **fields: str) -> Answer:
        kind = "application/x-www-form-urlencoded"
        where = {"Authorization": basic(LOGIN, LOGIN), "Content-Type": kind}
        return ask(self.node.http, "/services/1", method="POST", body=urlencode(fields).encode(), **where)


class TestAlone(_Case):
    """A node by itself."""

    def test_what_is_held_outlives_it(self) -> None:
        topic = "/topic/id/tests._ebu.nowhere/topic1/image"
        server = Server("--test", "--standalone", SCHEDULE="server")
        self.addCleanup(server.close)
        server.start()
        at = time.time() + 3
        with Radio.connect(server.address, "1.test", "test", version="1.2") as station:
            publish(station, topic, b"SHOW later", at, "a")
            publish(station, topic, b"SHOW never", at, "b")
            publish(station, topic, b"", None, "b")
        server.kill()
        server.start()
        with Radio.connect(server.address) as radio:
            radio.subscribe(topic)
            self.assert_on_air(radio, b"SHOW later", at)
            self.assertEqual(radio.so_far(), [])
        server.terminate()
        self.assertEqual(server.faults, [])
        server.start()
        with Radio.connect(server.address) as radio:
            radio.subscribe(topic)  # The journal has it, as the last message of its topic; it is not held any more.
            self.assertEqual([each.body for each in radio.so_far()], [b"SHOW later"])
