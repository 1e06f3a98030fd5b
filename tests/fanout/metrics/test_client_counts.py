from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, Outbox
from fanout.hub.subscriber import Cohort
from fanout.metrics.client_counts import ClientCounts, Slow
from fanout.stomp.delivery import MessageForm
from fanout.stomp.dialect import DIALECTS

IMAGE, TEXT = "/topic/a/image", "/topic/a/text"


class Client:
    """A client of any protocol, as the doors have them."""

    def __init__(
        self, flusher: Flusher | None, protocol: str = "stomp", version: str = "1.0", address: str = "192.0.2.1"
    ):
        self.protocol, self.version, self.address = protocol, version, address
        self.outbox = None if flusher is None else Outbox(self, flusher)

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        if self.outbox is not None:
            self.outbox.offer(cohort, data)

    def write(self, data: bytes) -> None:
        pass

    def cut_off(self) -> None:
        pass


class CensusCase(unittest.TestCase):
    def setUp(self) -> None:
        self.turn: list[Any] = []
        self.hub = Hub(lambda member, error: self.fail(error))
        self.flusher = Flusher(lambda: 0.0, self.turn.append, lambda outbox, error: None)
        self.flusher.limit = 100
        self.clients: set[Any] = set()
        self.pending: set[Any] = set()
        self.sockets: set[Any] = set()
        self.client_counts = ClientCounts(self.hub, self.clients, self.pending, self.sockets)

    def client(self, *topics: str, **more: str) -> Client:
        client = Client(self.flusher, **more)
        self.clients.add(client)
        self.join(client, *topics)
        return client

    def join(self, client: Client, *topics: str) -> None:
        for topic in topics:
            self.hub.join(topic, MessageForm(DIALECTS["1.0"], topic), client)


class TestClients(CensusCase):
    def test_by_protocol_and_version(self) -> None:
        self.client()
        self.client()
        self.client(version="1.2")
        self.client(protocol="stomp-websocket", version="")
        self.pending.add(Client(None, "poll"))
        self.sockets |= {1, 2, 3}  # One of them carries STOMP.
        self.assertEqual(
            self.client_counts.clients(),
            {
                ("stomp", "1.0"): 2,
                ("stomp", "1.2"): 1,
                ("stomp-websocket", ""): 1,
                ("poll", ""): 1,
                ("player", ""): 2,
            },
        )
        self.assertEqual(self.client_counts.total(), 7)

    def test_nobody(self) -> None:
        self.assertEqual(
            (self.client_counts.clients(), self.client_counts.total(), self.client_counts.subscriptions()), ({}, 0, 0)
        )


class TestTopics(CensusCase):
    def test_a_client_of_two_topics_is_one_of_the_service(self) -> None:
        self.client(IMAGE, TEXT)
        self.client(TEXT)
        self.client("/topic/b/image")
        services = self.client_counts.services(lambda topic: topic.rpartition("/")[0])
        self.assertEqual(services, {"/topic/a": 2, "/topic/b": 1})
        self.assertEqual(self.client_counts.subscriptions(), 4)

    def test_by_protocol(self) -> None:
        self.client(IMAGE)
        self.join(Client(None, "sse"), IMAGE)
        self.assertEqual(self.client_counts.of_topic(IMAGE), {"stomp": 1, "sse": 1})
        self.assertEqual(self.client_counts.of_topic(TEXT), {})

    def test_the_busiest(self) -> None:
        for topics in ([IMAGE, TEXT], [IMAGE], [IMAGE, "/topic/b/image"]):
            self.client(*topics)
        self.assertEqual(self.client_counts.busiest(2), [(IMAGE, 3), (TEXT, 1)])


class TestSlowest(CensusCase):
    def say(self, *bodies: bytes) -> None:
        for body in bodies:
            self.hub.publish(IMAGE, Message(IMAGE, body, "id", 1))

    def test_who_reads_is_not_slow(self) -> None:
        client = self.client(IMAGE)
        self.say(b"1")
        client.outbox.flush()
        self.assertEqual(self.client_counts.slowest(10), [])

    def test_the_one_with_most_comes_first(self) -> None:
        one, other = self.client(IMAGE, address="192.0.2.1"), self.client(IMAGE, TEXT, address="192.0.2.2")
        for client in (one, other):
            client.outbox.block()
        self.hub.publish(TEXT, Message(TEXT, b"x", "id", 1))
        self.say(b"1")
        self.assertEqual([each.address for each in self.client_counts.slowest(10)], ["192.0.2.2", "192.0.2.1"])
        self.assertEqual([each.address for each in self.client_counts.slowest(1)], ["192.0.2.2"])

    def test_what_is_told_of_it(self) -> None:
        client = self.client(IMAGE)
        client.outbox.block()
        self.say(b"1", b"2" * 20)
        octets = client.outbox.octets
        self.assertGreater(octets, 20)
        self.assertEqual(self.client_counts.slowest(9), [Slow("192.0.2.1", "stomp", 1, octets, 1, blocked=True)])

    def test_one_that_has_lost_messages_and_caught_up(self) -> None:
        client = self.client(IMAGE)
        client.outbox.block()
        self.say(b"1", b"2" * 20)
        client.outbox.unblock()
        self.assertEqual(self.client_counts.slowest(9), [Slow("192.0.2.1", "stomp", 0, 0, 1, blocked=False)])
        self.assertEqual(self.flusher.dropped, 1)

    def test_one_without_an_outbox(self) -> None:
        self.join(Client(None, "poll"), IMAGE)
        self.say(b"1")
        self.assertEqual(self.client_counts.slowest(9), [])
