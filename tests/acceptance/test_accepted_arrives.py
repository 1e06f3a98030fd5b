"""What a publisher was told is accepted reaches the other node and the log, whatever its size (contract §2)."""

from __future__ import annotations

import time
from typing import ClassVar

from tests.acceptance.device import Device
from tests.acceptance.test_schedule import publish
from tests.acceptance.watched import LOGIN, Service, channel
from tests.fanout.bus.node import FAR_FUTURE, nested
from tests.processes import Server
from tests.radio import Radio
from tests.radiovis.watchdog.daemon import Daemon

LARGE = b"TEXT " + b"x" * 400_000
RAISED: dict[str, object] = {
    "MAX_FRAME_BYTES": 500_000,
    "OUTBOX_BYTES": 2_000_000,
    "MAX_LAST_MESSAGES_BYTES": 8_000_000,
}
TOPIC = channel(1) + "text"


class _Case(Service):
    names: ClassVar[tuple[str, ...]] = ("one",)
    quick: ClassVar[dict[str, object]] = {"FB_FALLBACK_TIME": 1_000}
    settings: ClassVar[dict[str, object]] = {}
    nodes: ClassVar[list[Server]]
    fallback: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.nodes = [cls.make_node(**cls.settings) for _ in range(2)]
        cls.fallback = cls.make_fallback(**cls.settings).start()
        cls.fallback.wait_for("queue.consuming")

    def assert_arrives(self, body: bytes) -> None:
        """It is confirmed, a radio of the other node hears it, and the log has it."""
        subscriber = self.radio(self.nodes[1], 1)
        self.station(self.nodes[0]).publish(TOPIC, body)
        self.assertEqual(subscriber.expect("MESSAGE").body, body)
        self.logged([body])
        for process in (*self.nodes, self.fallback):
            self.assertEqual(process.events("bus.malformed") + process.events("queue.malformed"), [])


class TestRaisedLimits(_Case):
    settings: ClassVar[dict[str, object]] = {
        **RAISED,
        "SCHEDULE": "server",
        "fanout.stomp.limits.MAX_HEADER_BYTES": 20_000,
        "fanout.stomp.limits.MAX_DESTINATION_BYTES": 3_000,
    }

    @classmethod
    def make_node(cls, **settings: object) -> Server:
        return super().make_node(**{**settings, "FB_QUEUE": cls.queue})

    @classmethod
    def make_fallback(cls, *flags: str, **settings: object) -> Daemon:
        return super().make_fallback(*flags, **{**settings, "FB_QUEUE": cls.queue})

    def test_a_body_of_400_kb_arrives_on_the_other_node_and_in_the_log(self) -> None:
        self.assert_arrives(LARGE)

    def test_a_long_topic_and_a_long_header_arrive(self) -> None:
        topic, link = channel(1) + "x" * 2_000, "http://" + "l" * 15_000
        subscriber = Radio.connect(self.nodes[1].address)
        self.addCleanup(subscriber.close)
        subscriber.subscribe(topic, fast_reply=False)
        self.station(self.nodes[0]).publish(topic, b"TEXT long", {"link": link})
        self.assertEqual(subscriber.expect("MESSAGE").get("link"), link)

    def test_a_held_body_of_400_kb_is_on_air_at_its_time(self) -> None:
        self.fallback.wait_for("kept_queue.open")
        subscriber, at = self.radio(self.nodes[1], 1), time.time() + 2
        publish(self.station(self.nodes[0]), TOPIC, b"TEXT held" + LARGE, at, "held")
        self.assertEqual(subscriber.expect("MESSAGE").body, b"TEXT held" + LARGE)
        self.assertEqual(self.fallback.events("kept_queue.malformed"), [])


class TestAReload(_Case):
    def test_raises_the_limit_of_nodes_bus_and_log_together(self) -> None:
        config = "".join(f"{name} = {value!r}\n" for name, value in RAISED.items())
        for process in (*self.nodes, self.fallback):
            (process.folder / "config.py").write_text(config)
            process.hang_up()
            process.wait_for("settings.reloaded")
        self.assert_arrives(LARGE)


class TestWhatCannotArrive(_Case):
    def test_one_destination_that_means_a_topic_too_long_is_refused(self) -> None:
        station = Radio.connect(self.nodes[0].address, LOGIN, LOGIN, version="1.2")
        self.addCleanup(station.close)
        station.say("SEND", {"destination": "/topic/*/" + "x" * 1_010, "receipt": "r"}, b"TEXT x")
        self.assertIn("longer than 1024 octets", station.expect("ERROR").body.decode())

    def test_headers_nobody_can_read_cost_neither_node_nor_log_a_message(self) -> None:
        tables = [FAR_FUTURE, nested(2_000), FAR_FUTURE]
        with Device(self.broker, self.exchange) as device:
            for table in tables:
                device.publish_octets(table, b"unreadable")
            device.publish({"topic": TOPIC}, b"TEXT the next one")
        self.logged([b"TEXT the next one"])
        for process in (*self.nodes, self.fallback):
            process.wait_for("bus.unreadable")
            self.assertEqual(process.events("bus.lost"), [])
