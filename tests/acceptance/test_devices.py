"""Devices and old nodes on the exchange beside ours (contract §1.6)."""

from __future__ import annotations

import time
import unittest
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from pika.exceptions import AMQPConnectionError

from tests import services
from tests.acceptance.cluster import Cluster
from tests.acceptance.device import Device
from tests.radio import Frame, Radio

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/image"
SLIDE = b"SHOW http://slides.example/1.png"


class _Case(unittest.TestCase):
    cluster: Cluster

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = Cluster(services.rabbitmq(), nodes=1).__enter__()
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self) -> None:
        self.device = Device(services.rabbitmq(), self.cluster.exchange)
        self.addCleanup(self.device.__exit__)
        self.radio = self.radio_of("1.2")
        self.addCleanup(lambda: self.assertEqual(self.cluster.faults, []))

    def radio_of(self, version: str | None, topic: str = TOPIC) -> Radio:
        radio = Radio.connect(self.cluster.nodes[0].address, version=version)
        self.addCleanup(radio.close)
        radio.subscribe(topic, id="7", fast_reply=False)
        return radio

    def heard(self, radio: Radio | None = None) -> Frame:
        """The next frame, which must be a MESSAGE."""
        return (radio or self.radio).expect("MESSAGE", subscription="7")


class TestGoodMessages(_Case):
    def test_the_topic_alone_is_enough_and_the_rest_is_filled_in(self) -> None:
        before = int(time.time())
        self.device.publish({"topic": TOPIC}, SLIDE)
        heard = self.heard()
        self.assertEqual((heard.get("destination"), heard.body), (TOPIC, SLIDE))
        self.assertTrue(UUID(heard.get("message-id")))
        self.assertTrue(before <= int(heard.get("when") or 0) <= time.time())
        self.assertEqual(sorted(heard.names()), ["content-length", "destination", "message-id", "subscription", "when"])

    def test_two_without_an_id_get_two(self) -> None:
        for _ in range(2):
            self.device.publish({"topic": TOPIC}, SLIDE)
        self.assertNotEqual(self.heard().get("message-id"), self.heard().get("message-id"))

    def test_what_is_set_is_kept_each_alone_and_all_together(self) -> None:
        old = self.radio_of(None)
        given = {"link": "http://l/", "trigger-time": "NOW", "message-id": "ID:1", "when": "1795294643"}
        for chosen in ({name: value} for name, value in given.items()):
            self.device.publish({"topic": TOPIC, **chosen}, SLIDE)
            heard = self.heard(old)
            for name, value in chosen.items():
                self.assertEqual(heard.get(name), value)
        self.device.publish({"topic": TOPIC, **given}, SLIDE)
        heard = self.heard(old)
        self.assertEqual({name: heard.get(name) for name in given}, given)

    def test_other_types_than_text_are_written_as_text(self) -> None:
        day = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
        self.device.publish({"topic": TOPIC, "when": 1795294643, "n": 7, "yes": True, "day": day}, SLIDE)
        heard = self.heard()
        found = [heard.get(name) for name in ("when", "n", "yes", "day")]
        self.assertEqual(found, ["1795294643", "7", "true", str(int(day.timestamp()))])

    def test_a_decimal_costs_its_publisher_the_connection_and_nobody_else_anything(self) -> None:
        """RabbitMQ 3.10 cannot write it into a stream (docs/amqp.md)."""
        with self.assertRaises(AMQPConnectionError), Device(services.rabbitmq(), self.cluster.exchange) as device:
            device.publish({"topic": TOPIC, "price": Decimal("1.5")}, SLIDE)
        radio = self.radio_of("1.2")
        self.device.publish({"topic": TOPIC}, b"SHOW http://s/next.png")
        self.assertEqual(self.heard(radio).body, b"SHOW http://s/next.png")
        self.assertEqual([node.events("bus.lost") for node in self.cluster.nodes], [[] for _ in self.cluster.nodes])

    def test_amqp_properties_serve_where_headers_are_missing(self) -> None:
        self.device.publish({"topic": TOPIC}, SLIDE, message_id="from-property", timestamp=1795294643)
        heard = self.heard()
        self.assertEqual((heard.get("message-id"), heard.get("when")), ("from-property", "1795294643"))

    def test_a_country_and_any_case_reach_the_topics_listeners(self) -> None:
        radio = self.radio_of("1.2", "/topic/fm/4e1/ffff/99999/image")
        self.device.publish({"topic": "/topic/fm/CH/ffff/99999/image"}, SLIDE)
        self.assertEqual(self.heard(radio).get("destination"), "/topic/fm/4e1/ffff/99999/image")

    def test_a_binary_body_reaches_all_versions(self) -> None:
        body = b"SHOW http://x/\xff\xfe\n\n"
        old = self.radio_of(None)
        self.device.publish({"topic": TOPIC}, body)
        self.assertEqual((self.heard().body, self.heard(old).body), (body, body))

    def test_the_next_radio_gets_a_devices_slide_at_once(self) -> None:
        self.device.publish({"topic": TOPIC, "message-id": "fast"}, SLIDE)
        self.heard()
        radio = Radio.connect(self.cluster.nodes[0].address)
        self.addCleanup(radio.close)
        radio.subscribe(TOPIC)
        self.assertEqual(radio.expect("MESSAGE", message_id="fast").body, SLIDE)


class TestMalformedMessages(_Case):
    """Each is skipped, or cleaned of what cannot be passed on, and the message behind it arrives."""

    def assert_only_the_next_arrives(self, *malformed: tuple[dict[str, object] | None, bytes]) -> None:
        for headers, body in malformed:
            self.device.publish(headers, body)
            self.device.publish({"topic": TOPIC, "message-id": "next"}, b"TEXT next")
            heard = self.heard()
            self.assertEqual((heard.get("message-id"), heard.body), ("next", b"TEXT next"), headers)

    def test_without_a_usable_topic(self) -> None:
        self.assert_only_the_next_arrives(
            (None, SLIDE),
            ({}, SLIDE),
            ({"link": "http://l/"}, SLIDE),
            ({"topic": ""}, SLIDE),
            ({"topic": None}, SLIDE),
            ({"topic": 7}, SLIDE),
            ({"topic": {"a": "table"}}, SLIDE),
            ({"topic": [TOPIC]}, SLIDE),
            ({"topic": TOPIC + "\0"}, SLIDE),
            ({"topic": "/topic/" + "x" * 5_000}, SLIDE),
        )
        self.cluster.nodes[0].wait_for("bus.malformed")

    def test_too_long_a_body(self) -> None:
        self.assert_only_the_next_arrives(({"topic": TOPIC}, b"x" * 2 * 1024 * 1024))

    def test_values_that_are_no_text_are_left_out(self) -> None:
        """A link of None disconnected every subscriber of the original (contract §2, fault 12)."""
        self.device.publish(
            {"topic": TOPIC, "link": None, "table": {"a": 1}, "list": [1], "nul": "a\0b", "trigger-time": "NOW"}, SLIDE
        )
        heard = self.heard()
        self.assertEqual(heard.get("trigger-time"), "NOW")
        for name in ("link", "table", "list", "nul"):
            self.assertNotIn(name, heard.names())

    def test_what_belongs_to_the_connection_cannot_be_forged(self) -> None:
        forged = {"destination": "/topic/other/image", "subscription": "8", "content-length": "1", "receipt-id": "1"}
        self.device.publish({"topic": TOPIC, **forged}, SLIDE)
        heard = self.heard()
        self.assertEqual((heard.get("destination"), heard.body), (TOPIC, SLIDE))
        self.assertNotIn("receipt-id", heard.names())
        self.assertEqual(len(heard.names()), len(set(heard.names())))

    def test_line_ends_in_headers_make_no_headers_of_their_own(self) -> None:
        """1.2 escapes them; 1.0 has no escape, so they become blanks."""
        radios = {version: self.radio_of(version) for version in (None, "1.1")}
        self.device.publish(
            {"topic": TOPIC, "link": "http://l/\nevil:1\r\n\r\nSHOW http://evil/", "a\nb:c": "x", "message-id": "1\n2"},
            SLIDE,
        )
        for radio in (self.radio, *radios.values()):
            heard = self.heard(radio)
            self.assertEqual(heard.body, SLIDE)
            self.assertNotIn("evil", heard.names())
            self.assertNotIn("b", heard.names())
        self.device.publish({"topic": TOPIC, "link": "a\nb:c\\d\re"}, SLIDE)
        self.assertEqual(self.heard().get("link"), "a\\nb\\cc\\\\d\\re")
        self.assertEqual(self.heard(radios["1.1"]).get("link"), "a\\nb\\cc\\\\d e")
        self.assertEqual(self.heard(radios[None]).get("link"), "a b:c\\d e")

    def test_a_when_that_is_no_time_of_day_is_now(self) -> None:
        for when in ("yesterday", "-5", "", "1795294641168000", 10**15, "1.5"):
            before = int(time.time())
            self.device.publish({"topic": TOPIC, "when": when}, SLIDE)
            self.assertTrue(before <= int(self.heard().get("when") or 0) <= time.time() + 1, when)

    def test_a_flood_of_headers_is_cut_and_the_topic_stays(self) -> None:
        self.device.publish({**{f"h{n}": "x" for n in range(500)}, "topic": TOPIC}, SLIDE)
        self.assertLess(len(self.heard().names()), 80)

    def test_a_flood_of_malformed_messages_is_counted_and_no_flood_of_lines(self) -> None:
        lines = len(self.cluster.nodes[0].events("bus.malformed"))
        started = time.monotonic()
        for _ in range(3_000):
            self.device.publish({}, SLIDE)
        self.assert_only_the_next_arrives(({}, SLIDE))
        seconds = time.monotonic() - started
        self.assertLessEqual(len(self.cluster.nodes[0].events("bus.malformed")) - lines, seconds / 60 + 1)


class TestOldNodes(_Case):
    """Original servers and fallbacks may share the exchange with ours."""

    FALLBACK: ClassVar = {
        "topic": TOPIC,
        "trigger-time": "NOW",
        "link": "http://l/?a=1",
        "message-id": "311286467289466370148265374126537812345",
        "expires": "0",
        "priority": "0",
        "timestamp": "1795294641168",
        "when": "1795294641",
    }

    def test_an_old_nodes_message_arrives_unchanged(self) -> None:
        self.device.publish({"topic": TOPIC, "message-id": "3aa7", "when": "1795294643", "trigger-time": "NOW"}, SLIDE)
        heard = self.heard()
        self.assertEqual((heard.get("message-id"), heard.get("when"), heard.body), ("3aa7", "1795294643", SLIDE))

    def test_an_old_fallbacks_message_arrives_with_all_its_headers(self) -> None:
        old = self.radio_of(None)
        self.device.publish(self.FALLBACK, b"SHOW http://s/default.png\n")
        for radio in (self.radio, old):
            heard = self.heard(radio)
            expected = {name: value for name, value in self.FALLBACK.items() if name not in ("topic", "link")}
            self.assertEqual({name: heard.get(name) for name in expected}, expected)
            self.assertEqual(heard.body, b"SHOW http://s/default.png\n")

    def test_ours_is_on_the_exchange_as_an_old_node_writes_it(self) -> None:
        self.device.listen()
        station = Radio.connect(self.cluster.nodes[0].address, "1.test", "test", version="1.2")
        self.addCleanup(station.close)
        before = int(time.time())
        headers = {"link": "http\\c//l/?a=1", "trigger-time": "2026-11-21T20\\c00\\c00Z", "message-id": "3aa7"}
        station.publish(TOPIC, "TEXT café".encode(), headers | {"persistent": "false", "x": "y"})
        properties, body = self.device.hear()
        when = properties.headers.pop("when")
        self.assertEqual(
            properties.headers,
            {
                "topic": TOPIC,
                "message-id": "3aa7",
                "trigger-time": "2026-11-21T20:00:00Z",
                "link": "http://l/?a=1",
            },
        )
        self.assertEqual(body, "TEXT café".encode())
        self.assertIsInstance(when, str)
        self.assertTrue(before <= int(when) <= time.time())
        self.assertEqual((properties.content_type, properties.expiration, properties.priority), (None, None, None))

    def test_ours_without_headers_and_in_the_senders_spelling(self) -> None:
        self.device.listen()
        station = Radio.connect(self.cluster.nodes[0].address, "3.test", "test", version="1.2")
        self.addCleanup(station.close)
        station.publish("/topic/fm/ch/ffff/99999/text", b"TEXT x")
        properties, _ = self.device.hear()
        self.assertEqual(sorted(properties.headers), ["message-id", "topic", "when"])
        self.assertEqual(properties.headers["topic"], "/topic/fm/ch/ffff/99999/text")
        self.assertTrue(UUID(properties.headers["message-id"]))

    def test_a_broadcast_is_one_message_per_channel_with_one_id(self) -> None:
        self.device.listen()
        station = Radio.connect(self.cluster.nodes[0].address, "1.test", "test", version="1.2")
        self.addCleanup(station.close)
        station.publish("/topic/*/image", SLIDE)
        both = [self.device.hear()[0].headers for _ in range(2)]
        self.assertEqual(
            [each["topic"] for each in both],
            ["/topic/id/tests._ebu.nowhere/topic1/image", "/topic/id/tests._ebu.nowhere/topic2/image"],
        )
        self.assertEqual(len({each["message-id"] for each in both}), 1)
