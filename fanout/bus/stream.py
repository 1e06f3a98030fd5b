"""The memory behind the fan-out: a stream of RabbitMQ, from which a node reads what it did not hear.

A fan-out exchange keeps nothing for a node whose queue does not exist. So one more queue is bound to it, of the type
*stream*: durable, shared by all nodes, bounded by size and age, read from any position, and not emptied by reading. A
publish is confirmed when the stream has it, too. Messages still reach each node over its own queue; the stream is read
only after a connection was made, up to that moment. It is in no message's way.

**One reading** (:meth:`StreamQueue.read`). The node has bound its own queue, and does not consume it yet: what is
published from now on waits there. Then the stream is read:

- from its first message, at the first connection of a process. The newest message of each topic is the retained one;
- from the last known position, after a reconnect. All that is new is handed on in the order of the stream; if it is
  more than :data:`MOST_MISSED`, only the newest of each topic.

The end is a *marker*: a message that the node publishes to the stream alone, by the default exchange and the name of
the queue, when its own queue is bound. So it reaches no other queue: no node, no log, no client. When it comes back,
everything older has been read, and the node begins to consume its own queue. It is published again every second, as
a stream that is down drops it. If the broker ends the consumer, because the stream gets another leader, another
consumer goes on behind the last message.

**Position.** The marker has an offset. Each message heard after it has a higher one, so the offset of the marker and
the number of messages heard since give a position that is not too late; markers of other nodes make it too early. The
broker may put the messages of two publishers into a queue and into the stream in different orders, so a reading begins
:data:`REORDERED` messages earlier. A position that the stream does not have, because somebody deleted it, brings
nothing; then the stream is read from its first message.

**Nothing twice.** Messages of nodes have serials (:mod:`fanout.bus.duplicates`). The stream has the messages of each
publisher in order, so one number for each publisher tells what was heard. Messages of other AMQP clients have none:

- At the beginning of a reading, the last one heard of each topic is known by its content (:func:`fingerprint`); what
  the stream has of the topic up to it was heard.
- At the end, what was published between the binding and the marker is in the stream and in the node's own queue. As
  many messages as wait in the queue are compared with as many from the end of the stream (:class:`Overlap`).

**Bounds.** The stream by :data:`MAX_OCTETS` and :data:`MAX_AGE`; it deletes whole segments, so these are small. What is
read at a time by :data:`PREFETCH`, with an acknowledgement per reactor turn. What is held in memory by :class:`Missed`,
which is at most as large as the stream. A reading ends without its marker when nothing has come for
:data:`SILENCE_SECONDS`: the broker is short of memory and takes no marker, or the stream has no leader; and after
:data:`MOST_SECONDS` in any case, because what others publish meanwhile may come without an end.

**Without streams.** RabbitMQ before 3.9, the feature flag ``stream_queue`` turned off, or a user without the
permission: this is logged once (``stream.unavailable``), and the nodes do without for :data:`REFUSED_SECONDS`.

Facts of RabbitMQ 3.10.8, all tried: after a restart a stream is "down or inaccessible" (404) for some tenths of a
second; messages outlive a ``kill -9`` of the broker; a consumer that asks for an offset beyond the end gets nothing;
offsets have gaps; a stream whose feature flag is off is refused with 541, which ends the connection. If the broker is
killed in the first seconds after it got the first stream of its life, its coordinator of streams forgets that one, and
it stays down (404) for ever: publishes are confirmed without it, and the nodes do without (docs/production.md).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from fanout.bus.amqp_connection import ACCESS_REFUSED, NOT_ALLOWED, NOT_FOUND, PRECONDITION_FAILED, AmqpChannel, Refusal
from fanout.bus.amqp_message import AGAIN
from fanout.bus.duplicates import has_serial
from fanout.bus.interface import BrokerConnection, BrokerConnections, BusError
from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.message import Message
from fanout.process.logs import Throttle

log = structlog.get_logger()

MAX_OCTETS = 32 * 2**20
"""Octets of the stream. Messages take about 400 there, so these are 80,000: many minutes of a busy cluster, within
which the watchdog repeats the default of each silent topic. A node reads all of it at its start, in 2 to 4 s. It is the
same in all versions: RabbitMQ does not change the arguments of a queue that exists."""
SEGMENT_OCTETS = 2**20
"""Octets of one segment: the unit in which the broker deletes the oldest messages, so a 32nd of the stream."""
MAX_AGE = "1D"
"""Age of the messages in the stream, for the broker, which deletes whole segments; see MAX_AGE_SECONDS."""
MAX_AGE_SECONDS = 86_400
"""Seconds, a day. Older messages are not read as retained ones: a topic that says nothing for longer is off the air."""
PREFETCH = 500
"""Messages that the broker sends ahead of our acknowledgements: enough to read without waiting for it."""
SILENCE_SECONDS = 5.0
"""Seconds that the stream may take until it exists, and, while it is read, until the next message or the marker. The
broker answers within milliseconds, and a stream finds another leader within one or two seconds; meanwhile the clients
of this node hear nothing new."""
BEYOND_SECONDS = 2.0
"""Seconds without any message after which a position is taken for one that the stream does not have; then it is read
from its first message. This is within :data:`SILENCE_SECONDS`."""
MOST_SECONDS = 30.0
"""Seconds after which a reading ends in any case. All of the stream takes 2 to 4 s, and several times that on a busy
machine; the clients of this node hear nothing new meanwhile."""
MARK_SECONDS = 1.0
"""Seconds until a marker that has not come is published again."""
RETRY_SECONDS = 0.1
"""Seconds between attempts to reach a stream that is down, as it is for some tenths of a second after a restart."""
REFUSED_SECONDS = 600.0
"""Seconds until a broker that refused the stream is asked again, with the next connection. It may be a newer one."""
MOST_MISSED = 10_000
"""Messages handed on one by one after a reconnect. It is 10 s of 1,000 publishes per second; more than that would
keep clients busy with values that are out of date."""
REORDERED = 1_000
"""Messages by which the stream may have another order than a node's queue: what is on its way between two processes of
the broker, generously. Reading so many too much takes some hundredths of a second."""
MAX_DEVICE_TOPICS = 10_000
"""Topics of other AMQP clients of which the last message is known; devices publish to far fewer."""
REFUSALS = frozenset({ACCESS_REFUSED, PRECONDITION_FAILED, NOT_ALLOWED, 540, 541})
"""Reply codes that will not change soon; 540 is "not implemented", 541 "internal error"."""
OTHER_ARGUMENTS = "inequivalent arg"
"""In a refusal of RabbitMQ: the queue exists, and an operator or another version of ours gave it other arguments."""
NO_REPLICA = "replica on the local node"
"""In a refusal (406) of RabbitMQ: its own copy of the stream does not run, for up to some seconds after a partition."""
OFFSET = "x-stream-offset"
"""The header, and the consumer's argument, with a position in the stream."""

Decode = Callable[[BasicProperties, bytes], Message | None]
"""Makes a message of what came; None if it is malformed."""


class StreamQueue:
    """The stream of an exchange, as one process uses it. See the head of this file.

    :ivar name: of the queue.
    :ivar position: the offset behind the last marker; None before one came.
    """

    def __init__(self, reactor: Any, exchange: str) -> None:
        self.name = f"stream.{exchange}"
        self._reactor = reactor
        self.position: int | None = None
        self._exchange = exchange
        self._heard = 0
        self._refused_at = float("-inf")
        self._throttle = Throttle(reactor.seconds)

    def _warn(self, event: str, **fields: Any) -> None:
        if self._throttle.allow(event):
            log.warning(event, stream=self.name, held_back=self._throttle.held_back(event), **fields)

    @property
    def usable(self) -> bool:
        """Whether the broker has not refused it lately."""
        return bool(self._reactor.seconds() - self._refused_at >= REFUSED_SECONDS)

    async def declare(self, connection: BrokerConnection) -> None:
        """Make sure that it exists, has a leader, and is bound to the exchange, within :data:`SILENCE_SECONDS`.

        :raises BusError: it cannot be used on this connection, or not at all (:attr:`usable`).
        """
        deadline = self._reactor.seconds() + SILENCE_SECONDS
        while True:
            try:
                return await self._declare_until(deadline, connection)
            except Refusal as refusal:
                if refusal.code in REFUSALS:
                    self._refused_at = self._reactor.seconds()
                    self._warn("stream.unavailable", reason=str(refusal))
                if refusal.code != NOT_FOUND or self._reactor.seconds() > deadline:
                    raise
            await deferLater(self._reactor, RETRY_SECONDS)

    async def _declare_until(self, deadline: float, connection: BrokerConnection) -> None:
        """A broker that has lost its majority may not answer at all, and nothing is sent or received meanwhile."""
        declared = Deferred.fromCoroutine(self._declare(connection))
        try:
            await declared.addTimeout(max(RETRY_SECONDS, deadline - self._reactor.seconds()), self._reactor)
        except defer.TimeoutError:
            raise BusError(f"the broker has not answered within {SILENCE_SECONDS:g} s") from None

    async def _declare(self, connection: BrokerConnection) -> None:
        arguments = {
            "x-queue-type": "stream",
            "x-max-length-bytes": MAX_OCTETS,
            "x-max-age": MAX_AGE,
            "x-stream-max-segment-size-bytes": SEGMENT_OCTETS,
        }
        channel = await AmqpChannel.open(connection)
        try:
            await channel.ask("queue_declare", queue=self.name, durable=True, arguments=arguments)
        except Refusal as refusal:
            if refusal.code != PRECONDITION_FAILED or OTHER_ARGUMENTS not in str(refusal):
                raise
            channel = await AmqpChannel.open(connection)
        await channel.ask("queue_bind", queue=self.name, exchange=self._exchange, routing_key="")
        channel.close()

    async def answers(self, connection: BrokerConnection) -> bool:
        """Whether it is there and has a leader, as far as the broker knows."""
        try:
            asked = Deferred.fromCoroutine(self._ask(connection))
            await asked.addTimeout(SILENCE_SECONDS, self._reactor)
        except (BusError, defer.TimeoutError):
            return False
        return True

    async def _ask(self, connection: BrokerConnection) -> None:
        channel = await AmqpChannel.open(connection)
        await channel.ask("queue_declare", queue=self.name, durable=True, passive=True)
        channel.close()

    async def unbind(self, connection: BrokerConnection) -> None:
        """Take it from the exchange, where an earlier run has bound it. A failure is logged."""
        try:
            channel = await AmqpChannel.open(connection)
            await channel.ask("queue_declare", queue=self.name, durable=True, passive=True)
            await channel.ask("queue_unbind", queue=self.name, exchange=self._exchange, routing_key="")
            channel.close()
            log.info("stream.unbound", stream=self.name, exchange=self._exchange)
        except BusError as error:
            if not isinstance(error, Refusal) or error.code != NOT_FOUND:
                log.info("stream.not_unbound", stream=self.name, reason=str(error))

    async def read(
        self, connections: BrokerConnections, take: Callable[[BasicProperties, bytes], None], heard: int
    ) -> bool:
        """Read up to now.

        :param take: is given each message. Must not raise.
        :param heard: how many messages were heard since the start. None may be heard during a reading.
        :return: whether the marker came, and nothing is missing since the last position.
        :raises BusError: the connection is lost, or the stream is down.
        """
        start = None if self.position is None else max(0, self.position + heard - self._heard - REORDERED)
        reading = _Reading(self._reactor, take)
        marking = Deferred.fromCoroutine(self._mark(connections.publishing, reading.marker))
        marking.addErrback(_not_marked)
        try:
            await self._read_from(connections.hearing, reading, start)
        finally:
            marking.cancel()
        if reading.end is None:
            self._warn("stream.silent", seconds=reading.seconds)
            return False
        self.position, self._heard = reading.end + 1, heard
        return start is None or reading.first is None or reading.first <= start

    async def _read_from(self, connection: BrokerConnection, reading: _Reading, start: int | None) -> None:
        if start is not None:
            await self._read_on(connection, reading, start, BEYOND_SECONDS)
        if reading.end is None and reading.next is None:
            await self._read_on(connection, reading, "first", SILENCE_SECONDS)

    async def _read_on(self, connection: BrokerConnection, reading: _Reading, start: str | int, silence: float) -> None:
        """Read, also over the end of a consumer. :param silence: seconds until the first message."""
        while True:
            offset = start if reading.next is None else reading.next
            try:
                return await self._consume(connection, reading, offset, silence)
            except StreamDown:
                if reading.left(silence) <= 0:
                    raise
            await deferLater(self._reactor, RETRY_SECONDS)

    async def _consume(
        self, connection: BrokerConnection, reading: _Reading, offset: str | int, silence: float
    ) -> None:
        channel = await AmqpChannel.open(connection)
        await channel.ask("basic_qos", prefetch_count=PREFETCH)
        try:
            await reading.run(channel, self.name, offset, silence)
        finally:
            channel.close()

    async def _mark(self, connection: BrokerConnection, marker: str) -> None:
        """Over the connection that publishes: the broker stops reading from one that does, when it is short of memory.
        Then this waits, and the reading ends without it.
        """
        while True:
            channel = await AmqpChannel.open(connection)
            channel.raw.basic_publish("", self.name, b"", BasicProperties(correlation_id=marker))
            channel.close()
            await deferLater(self._reactor, MARK_SECONDS)


class StreamDown(BusError):
    """The broker ended a consumer of the stream; another one may succeed."""


class _Reading:
    """Consumers of the stream, one after another, up to a marker.

    :ivar marker: ends it.
    :ivar first: the lowest offset that came, of a message or of a marker; None if nothing came.
    :ivar next: the offset behind the last one that came; None if nothing came.
    :ivar end: the marker's offset; None if it did not come.
    """

    def __init__(self, reactor: Any, take: Callable[[BasicProperties, bytes], None]) -> None:
        self.marker = uuid4().hex
        self.first: int | None = None
        self.next: int | None = None
        self.end: int | None = None
        self._reactor = reactor
        self._take = take
        self._channel: AmqpChannel
        self._done: Deferred[None]
        self._began_at = self._last_at = reactor.seconds()
        self._last_tag = 0
        self._ack_call: Any = None
        self._silence_call: Any = None

    @property
    def seconds(self) -> float:
        """Since its begin."""
        return float(round(self._reactor.seconds() - self._began_at, 1))

    def left(self, silence: float) -> float:
        """Seconds until it ends without its marker. :param silence: until the first message."""
        last = self._last_at + (silence if self.next is None else SILENCE_SECONDS)
        return float(min(last, self._began_at + MOST_SECONDS) - self._reactor.seconds())

    async def run(self, channel: AmqpChannel, queue: str, offset: str | int, silence: float) -> None:
        """Consume until the marker came, or nothing more.

        :raises StreamDown: the broker ended the consumer.
        :raises BusError: it refuses one, or the connection is lost.
        """
        done: Deferred[None] = Deferred()
        self._channel, self._done = channel, done
        raw = channel.raw
        raw.add_on_cancel_callback(lambda _frame: _end(done, StreamDown("the stream was deleted, or is down")))
        raw.add_on_close_callback(lambda _channel, reason: _end(done, _closed(reason)))
        self._check_silence(silence)
        try:
            raw.basic_consume(queue, on_message_callback=self._on_message, arguments={OFFSET: offset})
            await done
        finally:
            for call in (self._ack_call, self._silence_call):
                if call is not None and call.active():
                    call.cancel()
            self._ack_call = None

    def _on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if self._done.called or channel is not self._channel.raw:
            return
        self._last_at = self._reactor.seconds()
        self._last_tag = method.delivery_tag
        if self._ack_call is None:
            self._ack_call = self._reactor.callLater(0, self._acknowledge)
        headers = properties.headers or {}
        offset = headers.pop(OFFSET, None)
        if not isinstance(offset, int):
            _end(self._done, BusError("a queue of another type has the name of the stream"))
        elif self.next is None or offset >= self.next:
            self._read(int(offset), method.exchange, properties, body)

    def _read(self, offset: int, exchange: str, properties: BasicProperties, body: bytes) -> None:
        self.first = offset if self.first is None else self.first
        self.next = offset + 1
        if exchange:
            self._take(properties, body)
        elif properties.correlation_id == self.marker:
            self.end = offset
            self._done.callback(None)

    def _acknowledge(self) -> None:
        """All that came in one reactor turn."""
        self._ack_call = None
        if self._channel.is_open:
            self._channel.raw.basic_ack(self._last_tag, multiple=True)

    def _check_silence(self, silence: float) -> None:
        left = self.left(silence)
        if left > 0:
            self._silence_call = self._reactor.callLater(left, self._check_silence, silence)
        elif not self._done.called:
            self._done.callback(None)


def _not_marked(failure: Failure) -> None:
    """The connection that publishes is lost, or the reading is over."""
    if not failure.check(defer.CancelledError):
        log.info("stream.not_marked", reason=failure.getErrorMessage())


def _end(done: Deferred[None], error: BusError) -> None:
    if not done.called:
        done.errback(error)


def _closed(reason: Exception) -> BusError:
    """Why a channel of a consumer was closed."""
    text = f"the stream cannot be read: {reason}"
    is_down = isinstance(reason, ChannelClosedByBroker) and (
        reason.reply_code not in REFUSALS or NO_REPLICA in reason.reply_text
    )
    return StreamDown(text) if is_down else BusError(text)


# What was read


def fingerprint(properties: BasicProperties, body: bytes) -> int:
    """The same for two copies of a message of another AMQP client, in this process."""
    return hash((repr(properties.headers), body))


class Devices:
    """The last message of each topic that came from another AMQP client than a node, by its fingerprint."""

    def __init__(self, topics: int = MAX_DEVICE_TOPICS) -> None:
        """:param topics: of how many topics it is known, those with the latest messages."""
        self._last: BoundedDict[str, int] = BoundedDict(topics)

    def heard(self, topic: str, print_: int) -> None:
        """A message was heard."""
        self._last[topic] = print_

    def is_last(self, topic: str, print_: int) -> bool:
        """Whether the last one heard of a topic has this fingerprint."""
        return self._last.get(topic) == print_


class Overlap:
    """Knows the messages without a serial that come twice: from the end of the stream, and from the node's own queue.

    :ivar left: how many messages of the queue are still to be compared.
    """

    def __init__(self) -> None:
        self.left = 0
        self._end: deque[int | None] = deque(maxlen=REORDERED)
        self._expected: Counter[int] = Counter()

    def read(self, print_: int | None) -> None:
        """A message of the stream. :param print_: its fingerprint; None if it has a serial."""
        self._end.append(print_)

    def expect(self, waiting: int) -> None:
        """The queue is consumed from now on. :param waiting: how many messages are in it."""
        self.left = waiting
        end = list(self._end)[-waiting:] if waiting else []
        self._expected = Counter(each for each in end if each is not None)

    def is_second(self, print_: int) -> bool:
        """Whether this message of the queue was read from the stream."""
        if not self._expected[print_]:
            return False
        self._expected[print_] -= 1
        return True


class Missed:
    """The messages of one reading that the node did not hear, in the order of the stream.

    One that it did hear makes those before it on the same topic out of date. Publishers that reconnect send messages
    again, behind newer ones: the place of the first copy counts.

    :ivar overlap: what may come a second time.
    """

    def __init__(self, devices: Devices, *, newest_only: bool, is_first: bool = False) -> None:
        """
        :param devices: what was heard before the reading; afterwards also what was read.
        :param newest_only: keep one message of each topic, and none that is older than a day.
        :param is_first: whether this process has heard and read nothing before.
        """
        self.overlap = Overlap()
        self._devices = devices
        self._newest_only = newest_only
        self._is_first = is_first
        self._messages: dict[int, Message] = {}
        self._of_topic: dict[str, list[int]] = {}
        self._prints: dict[str, int] = {}
        self._serials: set[str] = set()
        self._copies: set[str] = set()  # topics of which only copies were read
        self._added = 0

    def take(self, properties: BasicProperties, body: bytes, decode: Decode, *, is_new: bool) -> None:
        """A message of the stream. :param is_new: whether its serial was not seen before."""
        serial = properties.correlation_id
        print_ = None if has_serial(serial) else fingerprint(properties, body)
        self.overlap.read(print_)
        message = decode(properties, body)
        if message is None or (print_ is None and self._was_read(serial)):
            return
        if print_ is not None:
            is_new = not self._devices.is_last(message.topic, print_)
            self._prints[message.topic] = print_
        elif properties.type == AGAIN and not is_new:  # A marked copy is new if the first was lost.
            self._take_copy(message)
            return
        if self._newest_only or not is_new:
            self._forget(message.topic)
        if is_new:
            self._add(message)

    def _was_read(self, serial: str) -> bool:
        before = len(self._serials)
        self._serials.add(serial)
        return len(self._serials) == before

    def _take_copy(self, message: Message) -> None:
        """A copy that was sent again, behind later messages of its publisher. It was heard before, or the stream has
        deleted the first one: then its place is before all that was read, and it may be the newest of its topic.
        """
        topic = message.topic
        if self._is_first and (topic in self._copies or topic not in self._of_topic):
            self._forget(topic)
            self._add(message)
            self._copies.add(topic)

    def messages(self) -> list[Message]:
        """The end of the reading: those that are left."""
        for topic, print_ in self._prints.items():
            self._devices.heard(topic, print_)
        return list(self._messages.values())

    def _add(self, message: Message) -> None:
        if self._newest_only and time.time() - message.when > MAX_AGE_SECONDS:
            return
        self._added += 1
        self._messages[self._added] = message
        self._of_topic.setdefault(message.topic, []).append(self._added)
        if len(self._messages) > MOST_MISSED and not self._newest_only:
            self._newest_only = True
            for topic, numbers in list(self._of_topic.items()):
                self._of_topic[topic] = numbers[-1:]
                for number in numbers[:-1]:
                    del self._messages[number]

    def _forget(self, topic: str) -> None:
        self._copies.discard(topic)
        for number in self._of_topic.pop(topic, ()):
            del self._messages[number]
