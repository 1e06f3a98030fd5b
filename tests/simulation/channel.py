"""The broker's end of one AMQP channel (:class:`Channel`): methods and messages in, answers and deliveries out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import spec
from pika.spec import Basic, BasicProperties, Confirm, Exchange
from pika.spec import Channel as ChannelClass
from pika.spec import Queue as QueueClass

from tests.simulation.cluster import ACCESS_REFUSED, HAND_OVER, NoAnswerYet, Refused
from tests.simulation.queues import Consumer, Item, Publishing, Queue, Stored

if TYPE_CHECKING:
    from tests.simulation.session import Session

Delivery = tuple[Queue, Consumer, Item]


class Channel:
    """One channel.

    :ivar ended: whether it is closed.
    """

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.ended = False
        self._number = number
        self._cluster = session.cluster
        self._prefetch = 0
        self._consumers: dict[str, tuple[Queue, Consumer]] = {}
        self._unacknowledged: dict[int, tuple[Queue, Consumer, Item | None]] = {}
        self._last_delivery = 0
        self._confirming = False
        self._last_publish = 0
        self._publish: Any = None
        self._head = b""
        self._body: list[bytes] = []
        self._missing = 0
        self._hand_overs: dict[Queue, float] = {}
        self._ignoring = False
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._on_the_way: list[Delivery] = []
        self._acknowledged: list[Delivery] = []

    def _send(self, method: Any) -> None:
        self.session.send(self._number, method)

    def on_method(self, method: Any) -> None:
        """What comes while another method waits for its answer waits, too."""
        if self._waiting:
            self._waiting.append((self._handle, (method,)))
        else:
            self._handle(method)

    def _handle(self, method: Any) -> None:
        handler = _CHANNEL.get(type(method))
        if handler is None or (self._ignoring and not isinstance(method, ChannelClass.CloseOk)):
            return
        try:
            handler(self, method)
        except Refused as refusal:
            self._refuse(refusal, method)
        except NoAnswerYet:
            self._waiting.insert(0, (self._handle, (method,)))

    def resume(self) -> None:
        """What it waits for may have happened."""
        waiting, self._waiting = self._waiting, []
        while waiting and not self._waiting:
            call, arguments = waiting.pop(0)
            call(*arguments)
        self._waiting += waiting
        on_the_way, self._on_the_way = self._on_the_way, []
        for delivery in on_the_way:
            self.deliver(*delivery)
        acknowledged, self._acknowledged = self._acknowledged, []
        for delivery in acknowledged:
            self._acknowledge(*delivery)
        self.session.flush()

    def _refuse(self, refusal: Refused, method: Any) -> None:
        self._ignoring = True
        self.end()
        class_id, method_id = divmod(method.INDEX, 1 << 16)
        self._send(ChannelClass.Close(refusal.code, str(refusal), class_id, method_id))

    def on_close(self, _method: Any) -> None:
        self.end()
        self._send(ChannelClass.CloseOk())
        self.session.channels.pop(self._number, None)

    def on_close_ok(self, _method: Any) -> None:
        self.session.channels.pop(self._number, None)

    def end(self) -> None:
        """No more consumers; what is not acknowledged goes back."""
        if self.ended:
            return
        self.ended = True
        back: dict[Queue, list[Item]] = {}
        for queue, consumer, item in [*self._unacknowledged.values(), *self._on_the_way, *self._acknowledged]:
            if item is not None and not consumer.no_ack:
                back.setdefault(queue, []).append(item)
        for what_waits in (self._unacknowledged, self._on_the_way, self._acknowledged, self._waiting):
            what_waits.clear()
        consumers, self._consumers = self._consumers, {}
        for queue, consumer in consumers.values():  # None of them gets back what it gives back.
            if consumer in queue.consumers:
                consumer.room = 0
        for queue, items in back.items():
            queue.give_back(items)
        for queue, consumer in consumers.values():
            queue.remove(consumer)

    def detach(self, queue: Queue) -> list[Item]:
        """The queue's node died: what is not acknowledged is in the queue again."""
        taken = [(tag, *entry) for tag, entry in self._unacknowledged.items() if entry[0] is queue]
        for tag, _, consumer, _ in taken:
            self._unacknowledged[tag] = (queue, consumer, None)
        on_the_way = [*self._on_the_way, *self._acknowledged]
        self._on_the_way = [each for each in self._on_the_way if each[0] is not queue]
        self._acknowledged = [each for each in self._acknowledged if each[0] is not queue]
        items = [item for *_, item in taken if item is not None]
        return items + [item for each, consumer, item in on_the_way if each is queue and not consumer.no_ack]

    # Declarations

    def on_exchange_declare(self, method: Any) -> None:
        self._cluster.declare_exchange(self.session, method)
        self._answer(method, Exchange.DeclareOk())

    def on_queue_declare(self, method: Any) -> None:
        queue = self._cluster.declare_queue(self.session, method)
        self._answer(method, QueueClass.DeclareOk(queue.name, len(queue.items), len(queue.consumers)))

    def on_queue_bind(self, method: Any) -> None:
        queue = self._cluster.queue(self.session, method.queue)
        self._cluster.bind(self.session, queue, method.exchange, method.routing_key)
        self._answer(method, QueueClass.BindOk())

    def on_queue_unbind(self, method: Any) -> None:
        queue = self._cluster.queue(self.session, method.queue)
        self._cluster.unbind(self.session, queue, method.exchange, method.routing_key)
        self._send(QueueClass.UnbindOk())

    def on_queue_delete(self, method: Any) -> None:
        if method.queue in self._cluster.queues:
            queue = self._cluster.queue(self.session, method.queue)
            if (method.if_unused and queue.consumers) or (method.if_empty and queue.items):
                raise Refused(406, f"PRECONDITION_FAILED - queue '{queue.name}' in use or not empty")
            self._cluster.delete(queue)
        self._answer(method, QueueClass.DeleteOk(0))

    def _answer(self, method: Any, answer: Any) -> None:
        if not getattr(method, "nowait", False):
            self._send(answer)

    # Consuming

    def on_qos(self, method: Any) -> None:
        self._prefetch = method.prefetch_count
        self._send(Basic.QosOk())

    def on_consume(self, method: Any) -> None:
        queue = self._cluster.queue(self.session, method.queue)
        if queue.consumers and (method.exclusive or queue.consumers[0].exclusive):
            raise Refused(ACCESS_REFUSED, f"ACCESS_REFUSED - queue '{queue.name}' in vhost '/' in exclusive use")
        tag = method.consumer_tag or f"ctag{len(self._consumers) + 1}"
        room = None if method.no_ack or not self._prefetch else self._prefetch
        consumer = Consumer(self, tag, method.no_ack, room, exclusive=bool(method.exclusive))
        self._consumers[tag] = (queue, consumer)
        self._answer(method, Basic.ConsumeOk(tag))
        queue.add(consumer, dict(method.arguments or {}))
        queue.pump()

    def on_cancel(self, method: Any) -> None:
        entry = self._consumers.pop(method.consumer_tag, None)
        self._answer(method, Basic.CancelOk(method.consumer_tag))
        if entry is not None:
            queue, consumer = entry
            queue.remove(consumer)

    def cancelled(self, consumer: Consumer) -> None:
        """The queue is gone."""
        if self._consumers.pop(consumer.tag, None) is not None and not self.ended:
            self._send(Basic.Cancel(consumer.tag, True))
            self._flush_soon()

    def deliver(self, queue: Queue, consumer: Consumer, item: Item) -> None:
        if self._waiting or (self._cluster.apart and not self._cluster.together(queue.home, self.session.node)):
            self._on_the_way.append((queue, consumer, item))
            return
        self._last_delivery += 1
        if not consumer.no_ack:
            self._unacknowledged[self._last_delivery] = (queue, consumer, item)
        message = item.message
        head = _with_offset(message, item.number) if queue.is_stream else message.head
        method = Basic.Deliver(consumer.tag, self._last_delivery, item.redelivered, message.exchange, message.key)
        self.session.send_content(self._number, method, head, message.body)
        self._flush_soon()

    def _flush_soon(self) -> None:
        self.session.node.process.call(self.session.flush)

    def on_ack(self, method: Any) -> None:
        for queue, consumer, item in self._take(method.delivery_tag, method.multiple):
            if item is not None:
                self._acknowledge(queue, consumer, item)

    def _acknowledge(self, queue: Queue, consumer: Consumer, item: Item) -> None:
        if self._cluster.apart and not self._cluster.together(queue.home, self.session.node):
            self._acknowledged.append((queue, consumer, item))
            return
        self._cluster.acknowledged(queue, item)
        queue.acknowledged(consumer)

    def on_nack(self, method: Any) -> None:
        self._reject(self._take(method.delivery_tag, method.multiple), requeue=method.requeue)

    def on_reject(self, method: Any) -> None:
        self._reject(self._take(method.delivery_tag, False), requeue=method.requeue)

    def _reject(self, taken: list[tuple[Queue, Consumer, Item | None]], *, requeue: bool) -> None:
        for queue, consumer, item in taken:
            if item is None:
                continue
            if requeue:
                queue.give_back([item])
            else:
                self._cluster.acknowledged(queue, item)
            queue.acknowledged(consumer)

    def _take(self, tag: int, multiple: bool) -> list[tuple[Queue, Consumer, Item | None]]:
        tags = [each for each in self._unacknowledged if each <= tag or not tag] if multiple else [tag]
        if not multiple and tag not in self._unacknowledged:
            raise Refused(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        return [self._unacknowledged.pop(each) for each in tags]

    # Publishing

    def on_select(self, method: Any) -> None:
        self._confirming = True
        self._answer(method, Confirm.SelectOk())

    def on_publish(self, method: Any) -> None:
        if method.exchange not in self._cluster.exchanges:
            raise Refused(404, f"NOT_FOUND - no exchange '{method.exchange}' in vhost '/'")
        self._publish, self._body = method, []

    def on_content(self, kind: int, payload: bytes) -> None:
        if self._waiting:
            self._waiting.append((self.on_content, (kind, payload)))
        elif self._publish is not None:
            self._on_payload(kind, payload)

    def _on_payload(self, kind: int, payload: bytes) -> None:
        if kind == spec.FRAME_HEADER:
            self._head = payload
            self._missing = struct.unpack_from(">Q", payload, 4)[0]
        else:
            self._body.append(payload)
            self._missing -= len(payload)
        if self._missing <= 0:
            method, self._publish = self._publish, None
            self._on_message(method, Stored(method.exchange, method.routing_key, self._head, b"".join(self._body)))

    def _on_message(self, method: Any, message: Stored) -> None:
        self._last_publish += 1
        self._cluster.stored(message, self.session)
        queues = self._cluster.route(message)
        if not queues and method.mandatory:
            returned = Basic.Return(312, "NO_ROUTE", message.exchange, message.key)
            self.session.send_content(self._number, returned, message.head, message.body)
        publishing = Publishing(self, self._last_publish, message, len(queues) or 1)
        for queue in queues:
            self._hand_over(queue, publishing)
        if not queues:
            publishing.settle()
        if self._cluster.alarm:
            self.session.block()

    def _hand_over(self, queue: Queue, publishing: Publishing) -> None:
        """In order for each channel and queue, in any order otherwise."""
        world = self._cluster.world
        when = max(self._hand_overs.get(queue, 0.0), world.now + world.rng.choice(HAND_OVER))
        self._hand_overs[queue] = when
        self._cluster.hand_over(queue, publishing, when)

    def settled(self, publishing: Publishing) -> None:
        """All queues have it, or one refused it."""
        if not self._confirming or self.ended or self.session.closed:
            return
        self.session.node.process.call(self._confirm, publishing)

    def _confirm(self, publishing: Publishing) -> None:
        if self.session.closed:
            return
        client = self.session.connection.other.process
        if client in self._cluster.losing:
            self._cluster.losing.remove(client)
            self._cluster.confirmed(publishing.message)
            self.session.connection.abortConnection()
            self.session.drop()
            return
        if publishing.refused:
            self._send(Basic.Nack(publishing.tag))
        else:
            self._cluster.confirmed(publishing.message)
            self.session.send_ack(self._number, publishing.tag)
        self.session.flush()


def _with_offset(message: Stored, number: int) -> bytes:
    properties: BasicProperties = message.properties()
    properties.headers = {**(properties.headers or {}), "x-stream-offset": number}
    return message.head[:12] + b"".join(properties.encode())


_CHANNEL: dict[type, Callable[[Channel, Any], None]] = {
    ChannelClass.Close: Channel.on_close,
    ChannelClass.CloseOk: Channel.on_close_ok,
    Exchange.Declare: Channel.on_exchange_declare,
    QueueClass.Declare: Channel.on_queue_declare,
    QueueClass.Bind: Channel.on_queue_bind,
    QueueClass.Unbind: Channel.on_queue_unbind,
    QueueClass.Delete: Channel.on_queue_delete,
    Basic.Qos: Channel.on_qos,
    Basic.Consume: Channel.on_consume,
    Basic.Cancel: Channel.on_cancel,
    Basic.Ack: Channel.on_ack,
    Basic.Nack: Channel.on_nack,
    Basic.Reject: Channel.on_reject,
    Confirm.Select: Channel.on_select,
    Basic.Publish: Channel.on_publish,
}
