"""Events about clients and messages, with a clock of our own and no broker."""

from __future__ import annotations

import json
from typing import Any

from pika.spec import BasicProperties
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application.observer import Client
from fanout.hub.message import Message
from radiovis.events import MonitoringEvents, masked
from radiovis.node import build
from radiovis.settings import MonitoringSettings, Settings

NOW = 1795294598.75
RADIO = Client("session-1", "127.0.0.1:59804")


class FakePublisher:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[BasicProperties, bytes]] = []
        self.life: list[str] = []

    def start(self) -> None:
        self.life.append("start")

    def publish(self, properties: BasicProperties, body: bytes) -> None:
        self.life.append("publish")
        self.sent.append((properties, body))

    def stop(self) -> Deferred[None]:
        self.life.append("stop")
        return succeed(None)

    @property
    def events(self) -> list[Any]:
        return [json.loads(body) for _, body in self.sent]

    @property
    def short(self) -> list[tuple[str, Any]]:
        return [(event["label"].removeprefix("radiovis.global."), event["metadata"]) for event in self.events]


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.kept = FakePublisher()
        self.monitoring = self.make()

    def make(self, announce: str = "servers", **changes: Any) -> MonitoringEvents:
        settings = MonitoringSettings(MONITORING_ENABLED=True, MONITORING_SERVER_ID="a,b", **changes)
        return MonitoringEvents(
            self.clock,
            self.kept,  # type: ignore[arg-type]
            settings,
            announce=announce,
            unix_time=self.clock.seconds,
        )


class TheForm(_Case):
    def test_octets_and_headers_as_the_original(self) -> None:
        self.monitoring.opened(RADIO)
        [(properties, body)] = self.kept.sent
        self.assertEqual(
            body,
            b'{"type":"log","label":"radiovis.global.connections","timestamp":1795294598.75,"server":["a","b"],'
            b'"metadata":{"session_id":"session-1","ip":"127.0.0.1:59804"}}',
        )
        self.assertEqual(properties, BasicProperties(headers={"when": "1795294598"}))

    def test_it_begins_with_the_start_of_the_server(self) -> None:
        self.monitoring.start()
        self.assertEqual(self.kept.life, ["start", "publish"])
        self.assertEqual(self.kept.short, [("servers", "")])

    def test_another_process_announces_itself_as_what_it_is(self) -> None:
        self.make(announce="fallbacks").start()
        self.assertEqual(self.kept.short, [("fallbacks", "")])


class Clients(_Case):
    def test_a_close_ends_what_was_held_before_the_connection(self) -> None:
        self.monitoring.subscribed(RADIO, "/topic/a/text")
        self.monitoring.closed(RADIO, ["/topic/b/image", "/topic/a/text"])
        who = {"session_id": "session-1", "ip": "127.0.0.1:59804"}
        self.assertEqual(
            self.kept.short,
            [
                ("subscriptions", {"topic": "/topic/a/text", **who}),
                ("unsubscriptions", {"topic": "/topic/b/image", **who}),
                ("unsubscriptions", {"topic": "/topic/a/text", **who}),
                ("disconnections", who),
            ],
        )

    def test_unsubscribe_is_no_event(self) -> None:
        self.monitoring.unsubscribed(RADIO, "/topic/a/text")
        self.assertEqual(self.kept.sent, [])

    def test_addresses_may_be_masked_everywhere(self) -> None:
        monitoring = self.make(MONITORING_ADDRESSES="masked", MONITORING_PER_DELIVERY=True)
        monitoring.opened(RADIO)
        monitoring.subscribed(RADIO, "/topic/a/text")
        assert monitoring.delivery_observer is not None
        monitoring.delivery_observer(RADIO, "/topic/a/text", Message("/topic/a/text", b"TEXT x", "1", 1))
        monitoring.closed(RADIO, ["/topic/a/text"])
        self.assertEqual([metadata["ip"] for _, metadata in self.kept.short], ["127.0.0.0:0"] * 5)


class Counts(_Case):
    def test_one_event_per_topic_and_second(self) -> None:
        for topic, clients in (("/a", 3), ("/b", 1), ("/a", 2)):
            self.monitoring.delivered(topic, clients)
        self.clock.advance(0.2)
        self.assertEqual(self.kept.sent, [])
        self.clock.advance(0.05)
        self.assertEqual(
            self.kept.short, [("messages", {"topic": "/a", "count": 5}), ("messages", {"topic": "/b", "count": 1})]
        )

    def test_their_time_is_the_second_they_were_counted_in(self) -> None:
        self.monitoring.delivered("/a", 1)
        self.clock.advance(0.25)
        self.monitoring.delivered("/a", 4)
        self.clock.advance(1)
        self.assertEqual(
            [(event["timestamp"], event["metadata"]["count"]) for event in self.kept.events],
            [(1795294598.0, 1), (1795294599.0, 4)],
        )
        self.assertEqual([properties.headers["when"] for properties, _ in self.kept.sent], ["1795294598", "1795294599"])

    def test_a_silent_second_costs_nothing(self) -> None:
        self.monitoring.delivered("/a", 1)
        self.clock.advance(0.25)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_was_counted_is_sent_at_the_end(self) -> None:
        self.monitoring.delivered("/a", 1)
        self.monitoring.stop()
        self.assertEqual(self.kept.life, ["publish", "stop"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PerDelivery(_Case):
    def test_the_originals_event(self) -> None:
        monitoring = self.make(MONITORING_PER_DELIVERY=True)
        assert monitoring.delivery_observer is not None
        monitoring.delivery_observer(RADIO, "/topic/a/text", Message("/topic/a/text", "TEXT é".encode(), "1", 1))
        self.assertEqual(
            self.kept.short,
            [
                (
                    "messages",
                    {"topic": "/topic/a/text", "session_id": "session-1", "body": "TEXT é", "ip": "127.0.0.1:59804"},
                )
            ],
        )

    def test_a_body_that_is_no_utf_8(self) -> None:
        monitoring = self.make(MONITORING_PER_DELIVERY=True)
        assert monitoring.delivery_observer is not None
        monitoring.delivery_observer(RADIO, "/a", Message("/a", b"TEXT \xff\0", "1", 1))
        self.assertEqual(self.kept.short[0][1]["body"], "TEXT \ufffd\0")

    def test_nothing_is_counted_besides(self) -> None:
        self.make(MONITORING_PER_DELIVERY=True).delivered("/a", 1)
        self.clock.advance(2)
        self.assertEqual(self.kept.sent, [])

    def test_not_unless_asked_for(self) -> None:
        self.assertIsNone(self.monitoring.delivery_observer)


class Masking(unittest.TestCase):
    def test_only_the_network_is_left(self) -> None:
        for address, left in (
            ("192.0.2.77:59804", "192.0.2.0:0"),
            ("[2001:db8:1:2:3::4]:59804", "[2001:db8:1::]:0"),
            ("[::ffff:192.0.2.77]:59804", "192.0.2.0:0"),
            ("[fe80::1%eth0]:59804", "[fe80::]:0"),
            (":0", ""),
        ):
            self.assertEqual(masked(address), left, address)


class MadeAsTheSettingsSay(unittest.TestCase):
    def test_disabled_is_nothing_at_all(self) -> None:
        self.assertIsNone(build.monitoring_events(Clock(), Settings(MONITORING_ENABLED=False)))

    def test_disabled_without_a_host(self) -> None:
        self.assertIsNone(build.monitoring_events(Clock(), Settings()))

    def test_enabled_with_a_host_and_silent_until_the_start(self) -> None:
        clock = Clock()
        for settings in (Settings(MONITORING_HOST="127.0.0.1"), Settings(MONITORING_ENABLED=True)):
            events = build.monitoring_events(clock, settings)
            self.assertIsNotNone(events)
            self.assertEqual(clock.getDelayedCalls(), [])
