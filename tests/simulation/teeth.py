"""Faults put back into the product, each of which the simulation has to find (:data:`TEETH`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from pika.channel import Channel
from twisted.internet.defer import Deferred, succeed

from fanout.bus.amqp_connection import RESOURCE_LOCKED, AmqpChannel, Refusal
from fanout.bus.connection_pair import ConsumerConnection
from fanout.bus.consumer_retry import RetryBuffer
from fanout.bus.interface import BusError
from fanout.bus.leader import LeaderNames
from fanout.bus.queues import DurableQueue
from fanout.bus.rabbitmq import RabbitMQ
from fanout.hub.message import Message
from radiovis.node.restore import Restore
from tests.simulation import processes


def _acknowledge_first(self: Any, channel: Any, tag: int, message: Message, properties: Any) -> None:
    channel.basic_ack(tag)
    with mock.patch("fanout.bus.queues._acknowledge", lambda *_: None):
        _received(self, _Silent(channel), tag, message, properties)


class _Silent:
    """A channel that is told no more acknowledgements."""

    is_open = False

    def __init__(self, channel: Channel) -> None:
        """It stays as it is."""


_received = DurableQueue._received


def _receipt_first(self: RabbitMQ, message: Message) -> Deferred[None]:
    _publish(self, message).addErrback(lambda _: None)
    return succeed(None)


_publish = RabbitMQ.publish


async def _consume_without_binding(self: Any, channel: Channel) -> None:
    if self._consumer.counters.connects == 0:
        await _consume(self, channel)
        return
    declared = await self._call(channel.queue_declare, queue="", exclusive=True, auto_delete=True)
    self.queue = declared.method.queue
    await self._call(channel.basic_consume, queue=self.queue, on_message_callback=self._on_message)


_consume = ConsumerConnection._consume


class ExclusiveLock:
    """The leader election of before RabbitMQ 4.2: an exclusive queue. A :class:`fanout.bus.leader.Leader`."""

    leaderless = 0.0

    def __init__(self, _clock: Any, bus: Any, names: LeaderNames) -> None:
        self._bus = bus
        self._name = names.lock
        self._leads_on: object = None

    @property
    def leading(self) -> bool:
        return self._leads_on is not None and self._leads_on is self._bus.connection

    async def claim(self) -> bool:
        connection, state = self._bus.connection, self._bus.state()
        if connection is None or not state.connected:
            raise BusError(state.reason)
        channel = await AmqpChannel.open(connection.publishing)
        self._leads_on = connection
        try:
            await channel.ask("queue_declare", queue=self._name, exclusive=True)
        except Refusal as refusal:
            if refusal.code != RESOURCE_LOCKED:
                raise
            self._leads_on = None
        channel.close()
        return self.leading


def _offer_in_any_order(self: Any, item: Any, done: Callable[[], None]) -> None:
    offer = _offer_type(next(self._numbers), item, done)
    self._offer(offer)


_offer_type = RetryBuffer.offer.__globals__["_Offer"]


def _show_without_retaining(self: Restore, topic: str, message: Message) -> int:
    """What a node reads from the stream goes to its subscribers, and the last message stays what it was."""
    last = self._hub.last(topic)
    shown = _put(self, topic, message)
    if last is not None:
        self._hub.remember(topic, last)
    return shown


_put = Restore.put


@dataclass(frozen=True, slots=True)
class Tooth:
    """A fault.

    :ivar patch: puts it into the product.
    :ivar finds: the invariants that it breaks.
    :ivar seed: of a schedule that finds it.
    """

    patch: Callable[[], AbstractContextManager[Any]]
    finds: tuple[str, ...]
    seed: int


TEETH = {
    "acknowledge before accept": Tooth(
        lambda: mock.patch.object(DurableQueue, "_received", _acknowledge_first), ("acknowledged",), 0
    ),
    "lost confirm": Tooth(lambda: mock.patch.object(RabbitMQ, "publish", _receipt_first), ("receipt",), 0),
    "no re-declare": Tooth(
        lambda: mock.patch.object(ConsumerConnection, "_consume", _consume_without_binding),
        ("everything recovers", "nothing lost"),
        2,
    ),
    "exclusive lock under the Khepri rule": Tooth(
        lambda: mock.patch.object(processes, "BrokerLeader", ExclusiveLock),
        ("leader in time",),
        76,
    ),
    "reordered hand-over": Tooth(
        lambda: mock.patch.object(RetryBuffer, "offer", _offer_in_any_order), ("once and in order",), 234
    ),
    "stale retained message": Tooth(
        lambda: mock.patch.object(Restore, "put", _show_without_retaining), ("nothing lost",), 13
    ),
}
