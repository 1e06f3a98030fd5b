"""The model of the broker, asked by plain pika: what RabbitMQ answers, it answers."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

from pika import BasicProperties, ConnectionParameters
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet.endpoints import connectProtocol

from tests.simulation.cluster import Cluster, Node
from tests.simulation.network import Endpoint, Network
from tests.simulation.queues import KEPT_SECONDS
from tests.simulation.schedule import simulated
from tests.simulation.session import Session
from tests.simulation.world import Process, World

PERSISTENT = BasicProperties(delivery_mode=2)
SINGLE = {"x-queue-type": "quorum", "x-single-active-consumer": True}


class Client:
    """One connection with one channel.

    :ivar answers: what the broker answered, newest last.
    :ivar got: bodies of what was delivered.
    :ivar closed: the code with which the broker closed the channel.
    """

    def __init__(self, case: ModelCase, node: Node) -> None:
        self.answers: list[Any] = []
        self.got: list[bytes] = []
        self.deliveries: list[tuple[Any, Any]] = []
        self.closed = 0
        self.process = Process(case.world, "client")
        self._case = case
        self._protocol = TwistedProtocolConnection(ConnectionParameters(heartbeat=5), self.process.clock)
        connectProtocol(Endpoint(case.network, self.process, [node]), self._protocol)
        case.settle()
        self.open_channel()

    def open_channel(self) -> None:
        self.channel = self._protocol._impl.channel(on_open_callback=self.answers.append)
        self.channel.add_on_close_callback(self._on_closed)
        self._case.settle()

    def _on_closed(self, _channel: Any, reason: Any) -> None:
        self.closed = getattr(reason, "reply_code", -1)

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        """A method of the channel, and the broker's answer; None if there is none."""
        before = len(self.answers)
        self.process.call(lambda: getattr(self.channel, method)(*arguments, **named, callback=self.answers.append))
        self._case.settle()
        return self.answers[-1].method if len(self.answers) > before else None

    def consume(self, queue: str, *, prefetch: int = 100, acknowledge: bool = True, **arguments: Any) -> None:
        self.ask("basic_qos", prefetch_count=prefetch)
        self.ask("basic_consume", queue, self._taker(acknowledge), arguments=arguments)

    def _taker(self, acknowledge: bool) -> Callable[..., None]:
        def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.got.append(body)
            self.deliveries.append((method, properties))
            if acknowledge:
                channel.basic_ack(method.delivery_tag)

        return take

    def publish(self, key: str, *bodies: bytes, exchange: str = "") -> None:
        for body in bodies:
            self.process.call(self.channel.basic_publish, exchange, key, body, PERSISTENT)
        self._case.settle()

    def confirm(self) -> list[Any]:
        """Ask for confirms; they come into the list."""
        confirms: list[Any] = []
        self.ask("confirm_delivery", ack_nack_callback=lambda frame: confirms.append(type(frame.method).__name__))
        return confirms

    def disconnect(self) -> None:
        self.process.call(self._protocol.close)
        self._case.settle()


class ModelCase(unittest.TestCase):
    khepri = False

    def setUp(self) -> None:
        logs = simulated()
        logs.__enter__()
        self.addCleanup(logs.__exit__, None, None, None)
        self.world = World(self.id())
        self.network = Network(self.world)
        self.cluster = Cluster(self.world, self.network, 3, Session, khepri=self.khepri)

    def settle(self, seconds: float = 1.0) -> None:
        self.world.run_until(self.world.now + seconds)

    def client(self, node: int = 0) -> Client:
        return Client(self, self.cluster.nodes[node])


class Queues(ModelCase):
    def test_what_is_not_acknowledged_comes_again_in_its_place(self) -> None:
        reader, writer = self.client(), self.client()
        writer.ask("queue_declare", "queue", durable=True)
        reader.consume("queue", prefetch=2, acknowledge=False)
        writer.publish("queue", b"1", b"2", b"3")
        self.assertEqual(reader.got, [b"1", b"2"])
        reader.disconnect()
        again = self.client()
        again.consume("queue")
        self.assertEqual(again.got, [b"1", b"2", b"3"])
        self.assertEqual([method.redelivered for method, _ in again.deliveries], [True, True, False])

    def test_a_full_queue_drops_its_head_or_refuses(self) -> None:
        client = self.client()
        confirms = client.confirm()
        client.ask("queue_declare", "drops", arguments={"x-max-length": 2, "x-overflow": "drop-head"})
        client.ask("queue_declare", "refuses", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
        client.publish("drops", b"1", b"2", b"3")
        client.publish("refuses", b"1", b"2", b"3")
        client.consume("drops")
        self.assertEqual((client.got, confirms), ([b"2", b"3"], ["Ack"] * 5 + ["Nack"]))

    def test_a_missing_queue_closes_the_channel(self) -> None:
        client = self.client()
        self.assertIsNone(client.ask("queue_declare", "missing", passive=True))
        self.assertEqual(client.closed, 404)

    def test_other_arguments_are_refused(self) -> None:
        client = self.client()
        client.ask("queue_declare", "queue", durable=True)
        client.ask("queue_declare", "queue", durable=False)
        self.assertEqual(client.closed, 406)

    def test_a_durable_queue_is_away_with_its_node_and_comes_back_with_persistent_messages(self) -> None:
        home, other = self.client(0), self.client(1)
        home.ask("queue_declare", "queue", durable=True)
        home.publish("queue", b"1")
        self.cluster.kill(self.cluster.nodes[0])
        self.assertIsNone(other.ask("queue_declare", "queue", passive=True))
        self.assertEqual(other.closed, 404)
        self.cluster.revive(self.cluster.nodes[0])
        other.open_channel()
        other.consume("queue")
        self.assertEqual(other.got, [b"1"])


class SingleActiveConsumer(ModelCase):
    def test_the_next_consumer_is_active_when_the_first_is_gone(self) -> None:
        first, second, writer = self.client(0), self.client(1), self.client(2)
        first.ask("queue_declare", "queue", durable=True, arguments=SINGLE)
        first.consume("queue", prefetch=1, acknowledge=False)
        second.consume("queue")
        writer.publish("queue", b"1", b"2")
        self.assertEqual((first.got, second.got), ([b"1"], []))
        self.cluster.kill(self.cluster.nodes[0])
        self.settle()
        self.assertEqual(second.got, [b"1", b"2"])

    def test_without_a_majority_nothing_is_answered(self) -> None:
        client = self.client(2)
        client.ask("queue_declare", "queue", durable=True, arguments=SINGLE)
        for node in self.cluster.nodes[:2]:
            self.cluster.kill(node)
        self.assertIsNone(client.ask("queue_declare", "queue", passive=True))
        self.assertEqual(client.closed, 0)


class Streams(ModelCase):
    def test_each_consumer_reads_from_its_offset_and_nothing_is_used_up(self) -> None:
        client = self.client()
        client.ask("queue_declare", "stream", durable=True, arguments={"x-queue-type": "stream"})
        client.publish("stream", b"0", b"1", b"2")
        for offset, expected in (("first", [b"0", b"1", b"2"]), (1, [b"1", b"2"]), ("next", [])):
            with self.subTest(offset):
                reader = self.client(1)
                reader.consume("stream", prefetch=1, **{"x-stream-offset": offset})
                self.settle()
                self.assertEqual(reader.got, expected)
        self.assertEqual(reader.deliveries, [])
        client.publish("stream", b"3")
        self.assertEqual((reader.got, reader.deliveries[0][1].headers), ([b"3"], {"x-stream-offset": 3}))

    def test_what_was_confirmed_outlives_the_leader_and_an_election_leaves_a_gap(self) -> None:
        client, other = self.client(0), self.client(1)
        client.ask("queue_declare", "stream", durable=True, arguments={"x-queue-type": "stream"})
        client.publish("stream", b"0", b"1")
        other.consume("stream", prefetch=1, **{"x-stream-offset": "first"})
        self.cluster.kill(self.cluster.nodes[0])
        self.settle(5)
        other.publish("stream", b"2")
        self.assertEqual(other.got, [b"0", b"1", b"2"])
        self.assertEqual([properties.headers["x-stream-offset"] for _, properties in other.deliveries], [0, 1, 3])

    def test_during_an_election_it_is_down_and_confirms_nothing(self) -> None:
        self.world.faults.seed(1)
        client, other = self.client(0), self.client(1)
        client.ask("queue_declare", "stream", durable=True, arguments={"x-queue-type": "stream"})
        confirms = other.confirm()
        self.cluster.kill(self.cluster.nodes[0])
        other.process.call(other.channel.basic_publish, "", "stream", b"0", PERSISTENT)
        third = self.cluster.queues["stream"]
        self.settle(0.01)
        self.assertEqual((third.electing, confirms), (True, []))
        self.settle(5)
        self.assertEqual(confirms, ["Ack"])

    def test_the_oldest_segment_is_deleted(self) -> None:
        client = self.client()
        arguments = {"x-queue-type": "stream", "x-max-length-bytes": 200, "x-stream-max-segment-size-bytes": 60}
        client.ask("queue_declare", "stream", durable=True, arguments=arguments)
        client.publish("stream", *(b"%030d" % number for number in range(20)))
        self.assertEqual(len(self.cluster.queues["stream"].items), 20, "they have just come")
        self.settle(KEPT_SECONDS)
        client.publish("stream", b"%030d" % 20)
        client.consume("stream", **{"x-stream-offset": "first"})
        self.assertEqual(client.got[-1], b"%030d" % 20)
        self.assertLess(len(client.got), 8)


class Apart(ModelCase):
    """The second node does not reach the first and the third."""

    def setUp(self) -> None:
        super().setUp()
        self.client(0).ask("exchange_declare", "exchange", "fanout")
        self.near, self.far = self.client(0), self.client(1)
        for client, queue in ((self.near, "near"), (self.far, "far")):
            client.ask("queue_declare", queue, exclusive=True)
            client.ask("queue_bind", queue, "exchange")
            client.consume(queue, acknowledge=False)
        self.cluster.part(self.cluster.nodes[1])

    def test_what_is_on_its_way_arrives_later_and_is_confirmed_then(self) -> None:
        confirms = self.near.confirm()
        self.near.publish("", b"1", b"2", exchange="exchange")
        self.assertEqual((self.near.got, self.far.got, confirms), ([b"1", b"2"], [], []))
        self.cluster.rejoin(self.cluster.nodes[1])
        self.settle()
        self.assertEqual((self.far.got, confirms), ([b"1", b"2"], ["Ack", "Ack"]))

    def test_nobody_can_declare_until_it_is_over(self) -> None:
        self.assertIsNone(self.near.ask("queue_declare", "new"))
        self.cluster.rejoin(self.cluster.nodes[1])
        self.settle()
        self.assertEqual(self.near.answers[-1].method.queue, "new")

    def test_the_minority_stops_and_begins_again(self) -> None:
        self.settle(10)
        self.assertEqual([node.up for node in self.cluster.nodes], [True, False, True])
        self.assertIsNotNone(self.near.ask("queue_declare", "new"))
        self.cluster.rejoin(self.cluster.nodes[1])
        self.assertTrue(self.cluster.nodes[1].up)

    def test_a_quorum_queue_elects_its_next_consumer_when_the_minority_has_stopped(self) -> None:
        self.cluster.rejoin(self.cluster.nodes[1])
        self.far.ask("queue_declare", "quorum", durable=True, arguments=SINGLE)
        self.far.consume("quorum")
        self.near.consume("quorum")
        self.cluster.part(self.cluster.nodes[1])
        self.settle(5)
        self.near.publish("quorum", b"1")
        self.assertNotIn(b"1", self.near.got + self.far.got)
        self.settle(5)
        self.near.publish("quorum", b"2")
        self.assertIn(b"2", self.near.got)


class ApartWithKhepri(Apart):
    khepri = True

    def test_nobody_can_declare_until_it_is_over(self) -> None:
        """The majority can."""
        self.assertIsNotNone(self.near.ask("queue_declare", "new"))
        self.assertIsNone(self.far.ask("queue_declare", "newer"))


class ExclusiveQueues(ModelCase):
    def test_others_are_refused_until_its_connection_ends(self) -> None:
        owner, other = self.client(0), self.client(1)
        owner.ask("queue_declare", "lock", exclusive=True)
        other.ask("queue_declare", "lock", exclusive=True)
        self.assertEqual(other.closed, 405)
        owner.disconnect()
        other.open_channel()
        self.assertIsNotNone(other.ask("queue_declare", "lock", exclusive=True))

    def test_one_of_a_dead_node_is_free(self) -> None:
        self.assertIsNotNone(self.declared_after_death())

    def declared_after_death(self) -> Any:
        owner, other = self.client(0), self.client(1)
        owner.ask("queue_declare", "lock", exclusive=True)
        self.cluster.kill(self.cluster.nodes[0])
        self.settle()
        return other.ask("queue_declare", "lock", exclusive=True)


class KhepriRule(ExclusiveQueues):
    khepri = True

    def test_one_of_a_dead_node_is_free(self) -> None:
        """It is not: only when the node is back."""
        self.assertIsNone(self.declared_after_death())
        self.cluster.revive(self.cluster.nodes[0])
        self.assertIsNotNone(self.client(1).ask("queue_declare", "lock", exclusive=True))


class Publishing(ModelCase):
    def test_a_connection_that_publishes_under_the_alarm_is_blocked_until_it_is_over(self) -> None:
        client = self.client()
        confirms = client.confirm()
        client.ask("queue_declare", "queue")
        self.cluster.set_alarm(True)
        client.publish("queue", b"1")
        client.publish("queue", b"2")
        self.assertEqual(confirms, ["Ack"])
        self.cluster.set_alarm(False)
        self.settle()
        self.assertEqual(confirms, ["Ack", "Ack"])

    def test_a_silent_client_loses_its_connection(self) -> None:
        client = self.client()
        client.process.pause()
        self.settle(30)
        self.assertEqual(self.cluster.nodes[0].sessions, [])
