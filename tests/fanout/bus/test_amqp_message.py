from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pika.spec import BasicProperties
from twisted.trial import unittest

from fanout.application.interface import Peer, Principal
from fanout.bus.amqp_connection import UNREADABLE
from fanout.bus.amqp_message import MalformedMessage, MessageLimits, from_amqp, to_amqp
from fanout.hub.message import Message, Origin
from fanout.stomp.limits import StompLimits, StompLimitSettings

NOW = 1_795_294_700
TOPIC = "/topic/fm/4e1/4000/09580/image"


def read(headers: dict[Any, Any] | None, body: bytes = b"SHOW http://a/b.png", **properties: Any) -> Message:
    """The message after AMQP: properties are encoded and decoded again."""
    encoded = BasicProperties(headers=headers, **properties).encode()
    return from_amqp(BasicProperties().decode(b"".join(encoded)), body, NOW)


class OldAndNewNodesUnderstandEachOther(unittest.TestCase):
    def test_a_message_survives_the_way(self) -> None:
        sent = Message(
            TOPIC, b"TEXT caf\xc3\xa9\0", "3aa7", 1795294643, (("trigger-time", "NOW"), ("link", "http://l/?a=1"))
        )
        properties, body = to_amqp(sent)
        got = from_amqp(BasicProperties().decode(b"".join(properties.encode())), body, NOW)
        for field in ("topic", "body", "message_id", "when", "headers"):
            self.assertEqual(getattr(got, field), getattr(sent, field))

    def test_who_published_travels_without_a_header(self) -> None:
        """Older nodes pass headers that they do not know on to their clients."""
        origin = Origin("1", "1.studio é", "2001:db8::1", "stomp-websocket")
        sent = Message(TOPIC, b"x", "3aa7", 1, origin=origin)
        properties, body = to_amqp(sent)
        self.assertEqual(properties.headers, {"topic": TOPIC, "message-id": "3aa7", "when": "1"})
        got = from_amqp(BasicProperties().decode(b"".join(properties.encode())), body, NOW)
        self.assertEqual((got.origin, got.headers), (origin, ()))

    def test_the_longest_origin_that_a_server_makes_fits(self) -> None:
        principal = Principal("é" * 200, "ü" * 200).connected(
            Peer("2001:0db8:0000:0000:0000:ffff:192.168.100.228", "stomp-websocket")
        )
        properties, _ = to_amqp(Message(TOPIC, b"x", "1", 1, origin=principal.origin))
        self.assertEqual(read({"topic": TOPIC}, app_id=properties.app_id).origin, principal.origin)

    def test_the_application_id_of_a_device_is_no_origin(self) -> None:
        for app_id in (None, "", "slides", "a\x1fb", "\x1f" * 9):
            self.assertIsNone(read({"topic": TOPIC}, app_id=app_id).origin)

    def test_all_headers_are_strings_as_the_original_writes_them(self) -> None:
        properties, body = to_amqp(Message(TOPIC, b"x", "3aa7", 1795294643, (("link", "http://l"),)))
        expected = {"topic": TOPIC, "message-id": "3aa7", "when": "1795294643", "link": "http://l"}
        self.assertEqual(properties.headers, expected)
        self.assertEqual(body, b"x")

    def test_messages_are_persistent_for_the_durable_queue_of_the_watchdog(self) -> None:
        self.assertEqual(to_amqp(Message(TOPIC, b"x", "1", 1))[0].delivery_mode, 2)

    def test_the_fallbacks_extra_headers_are_kept_in_order(self) -> None:
        headers = {"expires": "0", "topic": TOPIC, "priority": "0", "timestamp": "1795294641168", "link": "l"}
        names = [name for name, _ in read(headers).headers]
        self.assertEqual(names, ["expires", "priority", "timestamp", "link"])

    def test_what_amqp_cannot_carry_is_refused_before_it_costs_the_connection(self) -> None:
        for headers in ((("n" * 256, "v"),), (("link", "x" * 100_000),), (("link", "\ud800"),)):
            with self.assertRaises(ValueError):
                to_amqp(Message(TOPIC, b"x", "1", 1, headers))


class ADeviceMayLeaveOutAlmostAll(unittest.TestCase):
    def test_only_a_topic(self) -> None:
        got = read({"topic": TOPIC})
        self.assertEqual((got.topic, got.when, got.headers), (TOPIC, NOW, ()))
        self.assertEqual(UUID(got.message_id).version, 4)

    def test_two_messages_without_an_id_get_different_ones(self) -> None:
        self.assertNotEqual(read({"topic": TOPIC}).message_id, read({"topic": TOPIC}).message_id)

    def test_amqp_properties_stand_in_for_headers(self) -> None:
        got = read({"topic": TOPIC}, message_id="m-1", timestamp=1795294000)
        self.assertEqual((got.message_id, got.when), ("m-1", 1795294000))

    def test_headers_win_over_properties(self) -> None:
        got = read({"topic": TOPIC, "message-id": "h", "when": "1795294001"}, message_id="p", timestamp=1795294000)
        self.assertEqual((got.message_id, got.when), ("h", 1795294001))

    def test_an_empty_or_overlong_message_id_is_replaced(self) -> None:
        for given in ("", "x" * 9000, None, ["a"]):
            self.assertEqual(UUID(read({"topic": TOPIC, "message-id": given}).message_id).version, 4)


class WhenIsAlwaysASaneTime(unittest.TestCase):
    CASES = (
        ("1795294643", 1795294643),
        (1795294643, 1795294643),
        (datetime(2026, 11, 21, 20, 57, 23, tzinfo=UTC), 1795294643),
        ("soon", NOW),
        ("", NOW),
        ("1.5", NOW),
        (-5, NOW),
        (1795294643000, NOW),  # milliseconds
        ("9" * 5000, NOW),
        (None, NOW),
        (NOW + 60, NOW + 60),  # a clock a little fast
    )

    def test_when(self) -> None:
        for given, expected in self.CASES:
            self.assertEqual(read({"topic": TOPIC, "when": given}).when, expected, repr(given))

    def test_a_timestamp_property_in_milliseconds_is_no_time(self) -> None:
        self.assertEqual(read({"topic": TOPIC}, timestamp=1795294643000).when, NOW)


class HeaderValues(unittest.TestCase):
    CASES: tuple[tuple[Any, str | None], ...] = (
        ("text", "text"),
        ("", ""),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe", None),
        (7, "7"),
        (2**40, "1099511627776"),
        (True, "true"),
        (False, "false"),
        (Decimal("1.25"), "1.25"),
        (None, None),  # contract §2, fault 12
        ({"a": 1}, None),
        (["a"], None),
        ("a\0b", None),  # ends a STOMP frame
        ("x" * 9000, None),
    )

    def test_values_become_text_or_are_left_out(self) -> None:
        for given, expected in self.CASES:
            got = read({"topic": TOPIC, "link": given, "last": "1"}).headers
            wanted = () if expected is None else (("link", expected),)
            self.assertEqual(got, (*wanted, ("last", "1")), repr(given)[:40])

    def test_names_that_would_lie_to_a_client_never_come_through(self) -> None:
        frames = ["destination", "subscription", "ack", "content-length", "receipt", "receipt-id"]
        liars = [*frames, "session", "version", "server", "heart-beat"]
        got = read({"topic": TOPIC, "when": "1", "message-id": "m", **dict.fromkeys(liars, "x"), "link": "l"})
        self.assertEqual(got.headers, (("link", "l"),))

    def test_odd_names_are_left_out(self) -> None:
        got = read({"topic": TOPIC, "": "a", "b\0": "b", b"\xff": "c", "link": "l"})
        self.assertEqual(got.headers, (("link", "l"),))

    def test_only_so_many_headers(self) -> None:
        got = read({"topic": TOPIC, **{f"h{number}": "v" for number in range(100)}})
        self.assertEqual([name for name, _ in got.headers], [f"h{number}" for number in range(64)])


class Malformed(unittest.TestCase):
    CASES: tuple[tuple[dict[Any, Any] | None, str], ...] = (
        (None, "no header 'topic'"),
        ({}, "no header 'topic'"),
        ({"link": "l"}, "no header 'topic'"),
        ({"topic": None}, "no header 'topic'"),
        ({"topic": ""}, "empty"),
        ({"topic": 5}, "not UTF-8 text"),
        ({"topic": b"\xff"}, "not UTF-8 text"),
        ({"topic": {"a": "b"}}, "not UTF-8 text"),
        ({"topic": "/topic/\0"}, "NUL"),
        ({"topic": "é" * 513}, "longer than 1024 octets"),
    )

    def test_each_with_its_reason(self) -> None:
        for headers, reason in self.CASES:
            with self.assertRaisesRegex(MalformedMessage, reason):
                read(headers)

    def test_a_body_too_long(self) -> None:
        limits = MessageLimits(StompLimitSettings(MAX_FRAME_BYTES=1024))
        with self.assertRaisesRegex(MalformedMessage, "body of 1025 octets, more than 1024"):
            from_amqp(BasicProperties(headers={"topic": TOPIC}), b"x" * 1025, NOW, limits)

    def test_what_is_malformed_for_its_receivers_is_not_published(self) -> None:
        limits = MessageLimits(StompLimitSettings(MAX_FRAME_BYTES=1024))
        for topic, body, reason in (("/t", b"x" * 1025, "body of 1025 octets"), ("/" * 1025, b"", "1024 octets")):
            with self.assertRaisesRegex(ValueError, reason):
                to_amqp(Message(topic, body, "1", NOW), limits)

    def test_the_limits_are_those_of_the_listeners(self) -> None:
        limits, clients = MessageLimits(), StompLimits()
        self.assertEqual(
            (limits.body_bytes, limits.topic_bytes, limits.headers, limits.header_bytes),
            (clients.frame_bytes, clients.destination_bytes, clients.headers, clients.header_bytes),
        )
        limits.settings = StompLimitSettings(MAX_FRAME_BYTES=500_000)
        self.assertEqual(limits.body_bytes, 500_000)

    def test_thousands_of_tables_in_tables_are_as_unreadable_as_other_nonsense(self) -> None:
        """Pika recurses. What is not known as unreadable would come back to the watchdog for ever."""
        table = b""
        for _ in range(5_000):
            table = b"\x01aF" + len(table).to_bytes(4, "big") + table
        with self.assertRaises(UNREADABLE):
            BasicProperties().decode(b"\x20\x00" + len(table).to_bytes(4, "big") + table)
