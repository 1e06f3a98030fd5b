"""Nodes on a RabbitMQ, for the tests of what goes wrong: the one all tests share, or one that may be tampered with."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from fanout.bus.broker_settings import RetryPolicy
from fanout.hub.message import Message
from tests import services
from tests.fanout.bus.node import QUICK, Node, until


def message(body: bytes) -> Message:
    return Message("/topic/id/a/1/text", body, "id", 1795294643)


def rabbitmqctl(broker: services.RabbitMQ, *arguments: str) -> Deferred[Any]:
    return deferToThread(broker.ctl, *arguments)


class Nodes:
    """Mixed into the cases. Not a TestCase itself: it would run as an empty test."""

    timeout = 150
    rabbitmq: Any

    async def setUp(self) -> None:
        self.rabbitmq = await deferToThread(services.rabbitmq)
        self.exchange = f"fanout-{uuid4().hex}"

    def node(self, retry_policy: RetryPolicy = QUICK, **broker: Any) -> Node:
        node = Node(self.rabbitmq, self.exchange, retry_policy, **broker)
        self.addCleanup(node.bus.stop)
        return node

    async def running(self, retry_policy: RetryPolicy = QUICK, **broker: Any) -> Node:
        node = self.node(retry_policy, **broker)
        node.start()
        await node.connected()
        return node

    async def goes_down(self, node: Node) -> None:
        await until(lambda: not node.bus.state().connected, "state says it is not connected")


class Outage(Nodes):
    """Tests with nodes. The broker is our own, one for a whole file, which ends with :func:`close_broker`."""

    broker: ClassVar[services.RabbitMQ | None] = None

    async def setUp(self) -> None:
        if Outage.broker is None:
            Outage.broker = services.RabbitMQ()
            await deferToThread(Outage.broker.start)
        self.rabbitmq = Outage.broker
        self.exchange = f"fanout-{uuid4().hex}"


def close_broker() -> None:
    """For ``teardown_module``."""
    broker, Outage.broker = Outage.broker, None
    if broker is not None:
        broker.close()
