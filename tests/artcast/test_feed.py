"""Servers that share multicast and a bus: who waits for a key hears a datum once, whatever ways it came."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial import unittest

from artcast.catalogue import Catalogue, Copies
from artcast.feed import REGISTRATIONS, Feed
from artcast.forms import JsonForm
from fanout.bus.interface import BusError
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort

PREFIX = "/topic/artcast/"
SOURCE = ("192.0.2.1", 4000)
TEXT = ("content-type", "text/plain; charset=utf-8")


class HandBus:
    """A bus that the test delivers by hand."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.broken = False

    def publish(self, message: Message) -> Deferred[None]:
        if self.broken:
            return fail(BusError("the broker is away"))
        self.waiting.append(message)
        return succeed(None)


class Listener:
    protocol, address, outbox = "here", "", None

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.messages: list[Message] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        self.heard.append(json.loads(data))
        self.messages.append(message)


class Server:
    def __init__(self, bus: HandBus, clock: Callable[[], float], *, hosted: bool = False) -> None:
        self.catalogue = Catalogue(100, lambda: None)
        self.hub = Hub(lambda *_: None)
        copies = Copies(clock, 5)
        options: Any = {"prefix": PREFIX, "key_octets": 100, "now": lambda: 1_700_000_000.0, "clock": clock}
        self.feed = Feed(self.hub, bus.publish, self.catalogue, copies, hosted=hosted, **options)
        self.listener = Listener()
        topic = PREFIX + "key"
        self.hub.join(topic, JsonForm(topic), self.listener)


class Together(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.bus = HandBus()
        self.servers = [Server(self.bus, lambda: self.now) for _ in range(3)]

    def datagram(self, value: object, *servers: int, port: int = 4000, key: str = "key") -> None:
        for number in servers:
            self.servers[number].feed.take_datum(json.dumps([key, value]).encode(), (SOURCE[0], port))

    def deliver(self) -> None:
        waiting, self.bus.waiting = self.bus.waiting, []
        for message in waiting:
            for server in self.servers:
                self.assertTrue(server.feed.hear(message))

    def heard(self) -> list[list[object]]:
        return [server.listener.heard for server in self.servers]

    def test_unicast_to_one_reaches_all_by_the_bus(self) -> None:
        self.datagram(1, 0)
        self.datagram(2, 0)
        self.assertEqual(self.heard(), [[1, 2], [], []])
        self.deliver()
        self.assertEqual(self.heard(), [[1, 2]] * 3)

    def test_multicast_to_all_is_heard_once_though_the_bus_brings_it_again(self) -> None:
        for value in (1, 2, 2, 3):
            self.datagram(value, 0, 1, 2)
        self.deliver()
        self.assertEqual(self.heard(), [[1, 2, 2, 3]] * 3)

    def test_who_is_out_of_reach_of_multicast_hears_one_copy_by_the_bus(self) -> None:
        for value in (1, 1, 2):
            self.datagram(value, 0, 1)
        self.deliver()
        self.assertEqual(self.heard(), [[1, 1, 2]] * 3)

    def test_the_bus_may_be_faster_than_multicast_and_then_no_second_copy_goes_to_it(self) -> None:
        self.datagram(1, 0)
        self.deliver()
        self.datagram(1, 1, 2)
        self.assertEqual(self.heard(), [[1]] * 3)
        self.assertEqual(self.bus.waiting, [])

    def test_without_the_bus_multicast_goes_on(self) -> None:
        self.bus.broken = True
        with capture_logs() as entries:
            self.datagram(1, 0, 1)
            self.datagram(2, 0, 1)
        self.assertEqual(self.heard(), [[1, 2], [1, 2], []])
        self.assertEqual([each["event"] for each in entries], ["bus.not_carried"] * 2)  # each server once a second

    def test_registrations_reach_all_catalogues_and_no_listener(self) -> None:
        self.servers[0].feed.take_registration(b'["key", {"description": "d"}]', SOURCE)
        self.deliver()
        for server in self.servers:
            self.assertEqual(server.catalogue.entries(), [{"key": "key", "description": "d"}])
        self.assertEqual(self.heard(), [[], [], []])

    def test_data_make_keys_known_everywhere(self) -> None:
        self.datagram(1, 0, key="other")
        self.deliver()
        self.assertEqual([each.catalogue.entries() for each in self.servers], [[{"key": "other"}]] * 3)

    def test_listeners_learn_nothing_about_the_source(self) -> None:
        self.datagram(1, 0)
        self.deliver()
        for server in self.servers:
            (message,) = server.listener.messages
            self.assertEqual(message.headers, (("content-type", "application/json"),))

    def test_a_publisher_of_another_kind_is_heard_and_its_faults_are_logged(self) -> None:
        feed, listener = self.servers[0].feed, self.servers[0].listener
        self.assertTrue(feed.hear(Message(PREFIX + "key", b'{"a": "\xc3\xa9"}', "x-1", 0)))
        self.assertEqual(listener.heard, [{"a": "é"}])
        with capture_logs() as entries:
            self.assertTrue(feed.hear(Message(PREFIX + "key", b"SHOW http://a/b.png", "x-2", 0)))
            self.assertTrue(feed.hear(Message(REGISTRATIONS + "key", b"nonsense", "x-3", 0)))
        self.assertEqual([each["event"] for each in entries], ["message.ignored"] * 2)

    def test_text_for_radios_travels_as_it_is(self) -> None:
        topic = PREFIX + "station/text"
        for server in self.servers:
            server.hub.join(topic, JsonForm(topic), server.listener)
        self.datagram("TEXT \u00e9", 0, 1, key="station/text")
        self.assertEqual([each.body for each in self.bus.waiting], ["TEXT é".encode()] * 2)
        self.deliver()
        self.assertEqual(self.heard(), [["TEXT é"]] * 3)
        for server in self.servers:
            (message,) = server.listener.messages
            self.assertEqual((message.body, message.headers), ("TEXT é".encode(), (TEXT,)))

    def test_a_host_publishes_text_for_radios_once(self) -> None:
        servers = self.servers = [Server(self.bus, lambda: self.now, hosted=True) for _ in range(3)]
        self.datagram("SHOW http://a/b.png", 0, 1, key="station/image")
        for message in self.bus.waiting:
            self.assertNotIn(SOURCE[0], str(message.headers))
        taken = [[server.feed.hear(message) for server in servers] for message in self.bus.waiting]
        self.assertEqual(taken, [[False, True, False], [True, False, True]])
        self.assertEqual(self.heard(), [[], [], []])
        self.assertEqual(servers[2].catalogue.entries(), [{"key": "station/image"}])
        with capture_logs():
            self.assertTrue(servers[0].feed.hear(Message(PREFIX + "a/text", b"TEXT \xff", "x-1", 0)))

    def test_what_is_not_ours_is_left_to_others(self) -> None:
        self.assertFalse(self.servers[0].feed.hear(Message("/topic/fm/4e1/4000/09580/image", b"SHOW", "x-1", 0)))
