from __future__ import annotations

from structlog.testing import capture_logs
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.bus.loopback import Loopback
from fanout.hub.message import Message


def message(body: bytes) -> Message:
    return Message("/topic/a", body, "id", 1)


class LoopbackDelivers(unittest.TestCase):
    def setUp(self) -> None:
        self.bus = Loopback(max_waiting=3)
        self.received: list[Message] = []
        self.connects = 0

    def connected(self) -> None:
        self.connects += 1

    def test_start_calls_connected_at_once(self) -> None:
        self.bus.start(self.received.append, self.connected)
        self.assertEqual(self.connects, 1)
        self.assertTrue(self.bus.state().connected)

    def test_publish_is_delivered_before_it_returns(self) -> None:
        self.bus.start(self.received.append, self.connected)
        sent = message(b"1")
        done = self.bus.publish(sent)
        self.assertIs(self.received[0], sent)
        self.assertIsNone(self.successResultOf(done))

    def test_a_receiver_that_publishes_keeps_the_order(self) -> None:
        order = []

        def receive(got: Message) -> None:
            if got.body == b"1":
                self.successResultOf(self.bus.publish(message(b"2")))
                self.successResultOf(self.bus.publish(message(b"3")))
                self.assertEqual(self.bus.state().waiting, 2)
            order.append(got.body)

        self.bus.start(receive, self.connected)
        self.bus.publish(message(b"1"))
        self.assertEqual(order, [b"1", b"2", b"3"])

    def test_a_receiver_that_never_stops_publishing_is_refused(self) -> None:
        refused = []

        def receive(_: Message) -> None:
            if not refused:
                for number in range(5):
                    self.bus.publish(message(b"%d" % number)).addErrback(refused.append)

        self.bus.start(receive, self.connected)
        self.bus.publish(message(b"1"))
        self.assertEqual(len(refused), 2)
        self.assertIsInstance(refused[0].value, BusError)

    def test_a_receiver_that_raises_does_not_stop_the_next_message(self) -> None:
        def receive(got: Message) -> None:
            self.received.append(got)
            raise RuntimeError("broken receiver")

        self.bus.start(receive, self.connected)
        with capture_logs() as logs:
            self.bus.publish(message(b"1"))
            self.bus.publish(message(b"2"))
        self.assertEqual([got.body for got in self.received], [b"1", b"2"])
        self.assertEqual([line["event"] for line in logs], ["bus.receive_failed"])  # The same error again.

    def test_before_start_and_after_stop_publishing_fails(self) -> None:
        self.failureResultOf(self.bus.publish(message(b"1")), BusError)
        self.bus.start(self.received.append, self.connected)
        self.successResultOf(self.bus.stop())
        self.failureResultOf(self.bus.publish(message(b"2")), BusError)
        self.assertEqual(self.received, [])
        self.assertFalse(self.bus.state().connected)
