from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock, LoopingCall
from twisted.trial import unittest

from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, Outbox, OutboxSettings
from fanout.hub.subscriber import Cohort
from fanout.metrics.traffic import ClientCounts, Rates, ReactorLag, Slow
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.server_frames import MessageForm

IMAGE, TEXT = "/topic/a/image", "/topic/a/text"


class Client:
    """A client of any protocol, as the servers have them."""

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
        self.flusher.settings = OutboxSettings.model_construct(OUTBOX_BYTES=100)
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


class TestLag(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = ReactorLag(self.clock.seconds, 0.5, kept=4)
        loop = LoopingCall(self.lag.sample)
        loop.clock = self.clock
        loop.start(0.5)

    def test_on_time(self) -> None:
        self.clock.pump([0.5] * 10)
        self.assertEqual((self.lag.worst, self.lag.total), (0.0, 0.0))

    def test_a_stall(self) -> None:
        self.clock.advance(0.5)
        self.clock.advance(2.5)  # Nothing came round in between.
        self.assertEqual((self.lag.worst, self.lag.total), (2.0, 2.0))

    def test_a_stall_is_forgotten_but_counted(self) -> None:
        self.clock.advance(2.5)
        self.clock.pump([0.5] * 3)
        self.assertEqual(self.lag.worst, 2.0)
        self.clock.advance(0.5)
        self.assertEqual((self.lag.worst, self.lag.total), (0.0, 2.0))

    def test_before_the_first_look(self) -> None:
        self.assertEqual(ReactorLag(self.clock.seconds).worst, 0.0)


class TestRates(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.messages = self.clients = 0
        self.rates = Rates(
            self.clock.seconds,
            {"messages": lambda: self.messages},
            {"clients": lambda: self.clients},
            interval=5,
            kept=3,
        )
        self.rates.sample()

    def after(self, seconds: float, messages: int, clients: int) -> None:
        self.clock.advance(seconds)
        self.messages += messages
        self.clients = clients
        self.rates.sample()

    def test_growth_per_second_and_levels_as_they_are(self) -> None:
        self.after(5, 10, 3)
        self.after(10, 10, 4)
        self.assertEqual(
            self.rates.report(), {"interval": 5, "times": [1005, 1015], "messages": [2, 1], "clients": [3, 4]}
        )

    def test_what_was_before_the_start_is_no_peak(self) -> None:
        self.messages = 1_000_000
        rates = Rates(self.clock.seconds, {"messages": lambda: self.messages}, {})
        rates.sample()
        self.assertEqual(rates.report(), {"interval": 5, "times": [], "messages": []})

    def test_only_what_is_new(self) -> None:
        self.after(5, 10, 3)
        self.after(5, 20, 3)
        self.assertEqual(self.rates.report(since=1005)["messages"], [4])
        self.assertEqual(self.rates.report(since=1010)["times"], [])

    def test_no_more_than_so_many(self) -> None:
        for _ in range(10):
            self.after(5, 5, 1)
        self.assertEqual(self.rates.report()["times"], [1040, 1045, 1050])

    def test_a_clock_that_stands_still_divides_by_nothing(self) -> None:
        self.after(0, 10, 1)
        self.assertEqual(self.rates.report()["times"], [])
