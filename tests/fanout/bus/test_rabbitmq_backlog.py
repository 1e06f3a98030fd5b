"""The bus when there is more to send or to hear than it can keep."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs
from twisted.internet.defer import DeferredList, gatherResults
from twisted.trial import unittest

from fanout.bus.broker_settings import RetryPolicy
from fanout.bus.interface import BusError
from fanout.hub.message import Message
from tests.fanout.bus.node import Node, device_publishes, until
from tests.fanout.bus.outage import Nodes, message


class GivenUp(Nodes, unittest.TestCase):
    async def test_what_never_went_out_is_missed_by_nobody(self) -> None:
        """Too old, or too much: its publisher was told, and the others have no gap to mind."""
        one, two = await self.running(RetryPolicy(max_age=2.0, messages=2)), await self.running()
        await one.bus.publish(message(b"before"))
        one.bus.blocked("held back by the test")
        kept = DeferredList([one.bus.publish(message(b"late")) for _ in range(3)], consumeErrors=True)
        self.assertEqual([taken for taken, _ in await kept], [False, False, False])
        one.bus.blocked(None)
        await one.bus.publish(message(b"after"))
        await two.has(2)
        self.assertEqual((two.bodies(), two.bus.counters.missed), ([b"before", b"after"], 0))


class TooMuch(Nodes, unittest.TestCase):
    async def test_a_message_amqp_cannot_carry_is_refused_and_the_next_is_not(self) -> None:
        node = await self.running()
        unfit = Message("/topic/a", b"x", "id", 1, (("n" * 300, "v"),))
        self.failureResultOf(node.bus.publish(unfit), BusError)
        await node.bus.publish(message(b"fit"))

    async def test_a_device_floods_a_node_that_lags_and_the_newest_are_kept(self) -> None:
        node = await self.running(queue_length=10, prefetch=5)
        slow: list[bytes] = []
        node.bus._receive = lambda got: slow.append(got.body)
        channels: list[Any] = []
        node.bus.connection.hearing._acknowledge = channels.append  # It takes its five and no more.
        flood = [({"topic": "/topic/a"}, b"%d" % number) for number in range(100)]
        await device_publishes(self.rabbitmq, self.exchange, *flood)
        await until(lambda: len(slow) == 5 and bool(channels), "five, and their acknowledgement")
        del node.bus.connection.hearing._acknowledge
        node.bus.connection.hearing._acknowledge(channels[0])
        await until(lambda: slow[-1:] == [b"99"], "the newest")
        self.assertEqual(slow, [b"%d" % number for number in (0, 1, 2, 3, 4, *range(90, 100))])


class TooSlow(Nodes, unittest.TestCase):
    """A node takes five messages of a queue of ten, and no more."""

    async def lagging(self, **broker: Any) -> tuple[Node, list[Any]]:
        node = await self.running(queue_length=10, prefetch=5, **broker)
        channels: list[Any] = []
        node.bus.connection.hearing._acknowledge = channels.append
        return node, channels

    async def test_what_the_queue_dropped_is_noticed_and_the_node_asks_for_last_slides(self) -> None:
        slow, channels = await self.lagging()
        fast = await self.running()
        await gatherResults([fast.bus.publish(message(b"%d" % number)) for number in range(100)])
        await slow.has(5)
        with capture_logs() as logs:
            await until(lambda: channels, "a first acknowledgement")
            del slow.bus.connection.hearing._acknowledge
            slow.bus.connection.hearing._acknowledge(channels[0])
            await slow.connected(2)
        self.assertEqual(slow.bodies()[-1], b"99")
        [gap] = [each for each in logs if each["event"] == "bus.gap"]
        self.assertEqual((gap["messages"], slow.bus.counters.missed), (85, 85))
        self.assertEqual(fast.bus.counters.missed, 0)

    async def test_a_queue_full_of_what_devices_published_is_noticed_as_well(self) -> None:
        with capture_logs() as logs:
            slow, _ = await self.lagging(check=0.2)
            await device_publishes(
                self.rabbitmq, self.exchange, *[({"topic": "/topic/a"}, b"%d" % number) for number in range(100)]
            )
            await slow.connected(2)
        self.assertEqual(next(each["waiting"] for each in logs if each["event"] == "bus.overflowing"), 10)
