"""The short cuts through pika: the same octets out, the same calls in."""

from __future__ import annotations

from typing import Any
from unittest import mock

from pika.adapters.twisted_connection import _TwistedConnectionAdapter
from pika.channel import Channel
from pika.connection import Parameters
from pika.exceptions import InvalidFrameError
from pika.frame import Body, Header, Heartbeat, Method
from pika.spec import Basic, BasicProperties
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial import unittest

from fanout.bus.express import Express

PROPERTIES = BasicProperties(headers={"topic": "/topic/a", "link": "http://ü"}, delivery_mode=2, correlation_id="x")
CHANNEL = 1


def connected(kind: type[_TwistedConnectionAdapter]) -> tuple[Any, StringTransport]:
    """A connection of pika that believes it is through with its greeting."""
    connection, transport = kind(Parameters(), None, None, None, custom_reactor=Clock()), StringTransport()
    connection.connection_made(transport)
    transport.clear()
    connection._body_max_length = 1_000
    return connection, transport


def opened(connection: Any) -> Channel:
    """A channel on which anything may be said."""
    channel = Channel(connection, CHANNEL, lambda _: None)
    channel._state = Channel.OPEN
    return channel


def delivery(body: bytes, tag: int, properties: BasicProperties = PROPERTIES) -> bytes:
    """What a broker sends for one message."""
    octets: bytes = Method(CHANNEL, Basic.Deliver("c", tag, False, "e", "")).marshal()
    octets += Header(CHANNEL, len(body), properties).marshal()
    return octets + (Body(CHANNEL, body).marshal() if body else b"")


class Out(unittest.TestCase):
    def test_the_octets_are_those_of_pika(self) -> None:
        ours, our_octets = connected(Express)
        theirs, their_octets = connected(_TwistedConnectionAdapter)
        publishes = [("radiovis", b"SHOW x"), ("radiovis", b""), ("other", b"y" * 2_500), ("radiovis", b"z" * 1_000)]
        for exchange, body in publishes:
            ours.publish(opened(ours), exchange, PROPERTIES, body)
            opened(theirs).basic_publish(exchange, "", body, PROPERTIES, mandatory=True)
        self.assertEqual(our_octets.value(), their_octets.value())
        self.assertEqual((ours.bytes_sent, ours.frames_sent), (theirs.bytes_sent, theirs.frames_sent))

    def test_a_message_is_one_write(self) -> None:
        ours, transport = connected(Express)
        with mock.patch.object(transport, "write") as write:
            ours.publish(opened(ours), "radiovis", PROPERTIES, b"SHOW x")
        self.assertEqual(write.call_count, 1)


class In(unittest.TestCase):
    def setUp(self) -> None:
        self.connection, _ = connected(Express)
        self.got: list[tuple[int, bytes]] = []
        channel = Channel(self.connection, CHANNEL, lambda _: None)
        channel._consumers["c"] = self.take
        self.connection._channels[CHANNEL] = channel

    def take(self, _channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        self.assertEqual(properties.headers["topic"], "/topic/a")
        self.got.append((method.delivery_tag, body))

    def test_whatever_the_pieces(self) -> None:
        octets = b"".join(delivery(b"SHOW %d" % tag, tag) for tag in range(1, 20))
        for size in (1, 2, 7, 8, 100, len(octets)):
            self.got.clear()
            for start in range(0, len(octets), size):
                self.connection.data_received(octets[start : start + size])
            self.assertEqual(self.got, [(tag, b"SHOW %d" % tag) for tag in range(1, 20)], size)
            self.assertEqual(self.connection._frame_buffer, b"")

    def test_a_devices_message_between_ours_and_all_are_counted_as_pika_does(self) -> None:
        device = BasicProperties(headers={"topic": "/topic/a", "when": 1795294643})
        octets = delivery(b"1", 1) + delivery(b"2", 2, device) + delivery(b"", 3) + delivery(b"4", 4)
        pika, _ = connected(_TwistedConnectionAdapter)
        pika._channels[CHANNEL] = mock.Mock()
        for connection in (self.connection, pika):
            connection.data_received(octets)
        self.assertEqual(self.got, [(1, b"1"), (2, b"2"), (3, b""), (4, b"4")])
        self.assertEqual(self.connection.bytes_received, pika.bytes_received)
        self.assertEqual(self.connection.frames_received, pika.frames_received)

    def test_a_message_for_a_channel_there_is_not_is_nobodys(self) -> None:
        self.connection._channels.clear()
        with self.assertLogs("pika.connection", "CRITICAL"):
            self.connection.data_received(delivery(b"1", 1))
        self.assertEqual((self.got, self.connection._frame_buffer), ([], b""))

    def test_a_heart_beat_between_messages_is_pikas_business(self) -> None:
        self.connection._heartbeat_checker = mock.Mock()
        self.connection.data_received(delivery(b"1", 1) + Heartbeat().marshal() + delivery(b"2", 2))
        self.assertEqual(self.got, [(1, b"1"), (2, b"2")])
        self.connection._heartbeat_checker.received.assert_called_once_with()

    def test_confirms_reach_who_asked_for_them(self) -> None:
        confirmed: list[int] = []
        self.connection.callbacks.add(
            CHANNEL, Basic.Ack, lambda frame: confirmed.append(frame.method.delivery_tag), False
        )
        self.connection.data_received(Method(CHANNEL, Basic.Ack(3, True)).marshal() + delivery(b"1", 1))
        self.assertEqual((confirmed, self.got), ([3], [(1, b"1")]))

    def test_confirms_go_straight_to_who_wants_them_so_and_are_counted_as_pika_does(self) -> None:
        confirmed: list[tuple[int, bool]] = []
        others: list[Any] = []
        self.connection.callbacks.add(CHANNEL, Basic.Ack, others.append, False)
        self.connection.callbacks.add(CHANNEL, Basic.Nack, others.append, False)
        self.connection.confirm(opened(self.connection), lambda tag, multiple: confirmed.append((tag, multiple)))
        acks = [Method(CHANNEL, Basic.Ack(tag, multiple)).marshal() for tag, multiple in ((3, True), (2**40, False))]
        octets = acks[0] + delivery(b"1", 1) + acks[1] + Method(CHANNEL, Basic.Nack(9)).marshal()
        pika, _ = connected(_TwistedConnectionAdapter)
        pika._channels[CHANNEL] = mock.Mock()
        pika.data_received(octets)
        for size in (len(octets), 1, 5):
            confirmed.clear()
            for start in range(0, len(octets), size):
                self.connection.data_received(octets[start : start + size])
            self.assertEqual(confirmed, [(3, True), (2**40, False)])
        self.assertEqual([type(frame.method) for frame in others], [Basic.Nack] * 3)
        self.assertEqual(self.connection.bytes_received, 3 * pika.bytes_received)
        self.assertEqual(self.connection.frames_received, 3 * pika.frames_received)

    def test_a_confirm_of_another_channel_is_pikas_business(self) -> None:
        self.connection.confirm(opened(self.connection), mock.Mock())
        others: list[Any] = []
        self.connection.callbacks.add(CHANNEL + 1, Basic.Ack, others.append, False)
        self.connection._channels[CHANNEL + 1] = mock.Mock()
        self.connection.data_received(Method(CHANNEL + 1, Basic.Ack(3)).marshal())
        self.assertEqual([frame.method.delivery_tag for frame in others], [3])

    def test_messages_of_nodes_go_straight_to_who_wants_them_so_and_a_devices_to_the_consumer(self) -> None:
        straight: list[tuple[int, Any, bytes]] = []
        device = BasicProperties(headers={"topic": "/topic/a", "when": 1795294643})
        self.connection.deliver(opened(self.connection), lambda *what: straight.append(what))
        self.connection.data_received(delivery(b"1", 1) + delivery(b"2", 2, device) + delivery(b"3", 3))
        self.assertEqual(straight, [(1, PROPERTIES, b"1"), (3, PROPERTIES, b"3")])
        self.assertEqual(self.got, [(2, b"2")])

    def test_a_routing_key_that_is_no_text(self) -> None:
        """Any octets are a routing key to a publisher who likes them; to a fan-out exchange it is nothing."""
        octets = delivery(b"1", 1).replace(b"\x01e\x00", b"\x01e\x01\xff").replace(b"\0\0\0\x12", b"\0\0\0\x13", 1)
        straight: list[int] = []
        self.connection.data_received(octets)
        self.assertEqual(self.got, [(1, b"1")])  # pika takes it as it is
        self.connection.deliver(opened(self.connection), lambda tag, *_: straight.append(tag))
        self.connection.data_received(octets)
        self.assertEqual((straight, self.got), ([1], [(1, b"1")]))

    def test_what_cannot_be_read_stays_first_in_line(self) -> None:
        bad = delivery(b"2", 2)[:-1] + b"x"
        with self.assertRaises(InvalidFrameError):
            self.connection.data_received(delivery(b"1", 1) + bad)
        self.assertEqual(self.got, [(1, b"1")])
        self.assertEqual(self.connection._frame_buffer, Body(CHANNEL, b"2").marshal()[:-1] + b"x")
