"""The stored messages behind the fan-out exchange: a stream of RabbitMQ, from which a node reads the messages it
missed.

A fan-out exchange keeps nothing for a node whose queue does not exist. Therefore one more queue is bound to it, of the
type *stream*: durable, shared by all nodes, limited in size and age, readable from any position, and not emptied by
reading. A publish is confirmed only when the stream has it, too. Messages still reach each node through its own queue;
the stream is read only after a connection was made, up to that moment. It does not delay other messages.

**One reading** (:meth:`StreamQueue.read`). The node has bound its own queue, and does not consume it yet: messages
published from now on wait there. Then the stream is read:

- from its first message, at the first connection of a process. The newest message of each topic is the retained one;
- from the last known position, after a reconnect. All new messages are handed on in the order of the stream; if there
  are more than :data:`MOST_MISSED`, only the newest of each topic.

The end is a *marker*: a message that the node publishes to the stream alone, through the default exchange with the name
of the queue, after its own queue is bound. So no other queue, node, log or client gets it. When the marker is read from
the stream, everything older has been read, and the node begins to consume its own queue. The marker is published again
every second, because a stream that is down drops it. If the broker ends the consumer, because the stream gets another
leader, another consumer continues after the last message.

**Position.** The marker has an offset. Each message received after it has a higher one. So the offset of the marker
plus the number of messages received since then is a position that is not too late; markers of other nodes make it too
early. The broker may put the messages of two publishers into a queue and into the stream in different orders, so a
reading begins :data:`REORDERED` messages earlier. If the stream was deleted and does not have the position, nothing is
delivered; then the stream is read from its first message.

**No message twice.** Messages of nodes have serials (:mod:`fanout.bus.duplicates`). The stream has the messages of each
publisher in order, so one number for each publisher tells which were received. Messages of other AMQP clients have no
serials:

- At the beginning of a reading, the last message received of each topic is recognized by its content
  (:func:`fingerprint`); the messages that the stream has of this topic up to it were received.
- At the end, messages published between the binding and the marker are in the stream and in the node's own queue. The
  messages waiting in the queue are compared with the same number of messages from the end of the stream
  (:class:`Overlap`).

**Limits.** The stream is limited by :data:`MAX_OCTETS` and :data:`MAX_AGE`; the broker deletes whole segments, so these
are small. The messages read at a time are limited by :data:`PREFETCH`, with an acknowledgement per reactor turn. The
messages held in memory by :class:`Missed` are at most as large as the stream. A reading ends without its marker when
nothing was received for :data:`SILENCE_SECONDS`, because the broker is short of memory and accepts no marker, or
because the stream has no leader. It ends after :data:`MOST_SECONDS` in any case, because others may publish so much
that the end is never reached.

**Without streams.** RabbitMQ before 3.9 has none, the feature flag ``stream_queue`` may be turned off, and a user may
lack the permission. This is logged once (``stream.unavailable``), and the nodes work without a stream for
:data:`REFUSED_SECONDS`.

Facts about RabbitMQ 3.10.8, all of them tested: after a restart a stream is "down or inaccessible" (404) for some
tenths of a second; messages survive a ``kill -9`` of the broker; a consumer that asks for an offset beyond the end gets
nothing; offsets have gaps; a stream whose feature flag is off is refused with 541, which ends the connection. If the
broker is killed in the first seconds after its very first stream was created, its coordinator of streams forgets that
stream, and the stream stays down (404) for ever: publishes are confirmed without it, and the nodes work without it
(docs/production.md).
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
"""Size of the stream in octets. A message takes about 400 octets there, so these are 80,000 messages: many minutes of a
busy cluster, within which the watchdog repeats the default of each silent topic. A node reads all of them at its start,
in 2 to 4 s. The value is the same in all versions, because RabbitMQ does not change the arguments of an existing queue.
"""
SEGMENT_OCTETS = 2**20
"""Size of one segment in octets, a 32nd of the stream. The broker deletes the oldest messages in segments."""
MAX_AGE = "1D"
"""Maximum age of the messages in the stream, as an argument for the broker. The broker deletes whole segments; see
MAX_AGE_SECONDS."""
MAX_AGE_SECONDS = 86_400
"""Seconds, a day. Older messages are not read as retained ones: a topic without a message for longer is off the air."""
PREFETCH = 500
"""Messages that the broker may send before we acknowledge earlier ones: enough to read without waiting for the
broker."""
SILENCE_SECONDS = 5.0
"""Seconds until the stream must exist, and, while it is read, until the next message or the marker. The broker answers
within milliseconds, and a stream finds another leader within one or two seconds. Meanwhile the clients of this node
receive nothing new."""
BEYOND_SECONDS = 2.0
"""Seconds without any message after which we assume that the stream does not have the position; then it is read from
its first message. This is shorter than :data:`SILENCE_SECONDS`."""
MOST_SECONDS = 30.0
"""Seconds after which a reading ends in any case. Reading the complete stream takes 2 to 4 s, and several times as long
on a busy machine. Meanwhile the clients of this node receive nothing new."""
MARK_SECONDS = 1.0
"""Seconds until a marker that was not received is published again."""
RETRY_SECONDS = 0.1
"""Seconds between attempts to reach a stream that is down. After a restart it is down for some tenths of a second."""
REFUSED_SECONDS = 600.0
"""Seconds until a broker that refused the stream is asked again, with the next connection. It may have been
upgraded."""
MOST_MISSED = 10_000
"""Messages handed on one by one after a reconnect. This is 10 s of 1,000 publishes per second; more messages would keep
clients busy with values that are out of date."""
REORDERED = 1_000
"""Messages by which the order in the stream may differ from that in a node's queue. It is a generous estimate of the
messages that are on their way between two processes of the broker. Reading this many messages again takes some
hundredths of a second."""
MAX_DEVICE_TOPICS = 10_000
"""Topics of other AMQP clients of which the last message is known; devices publish to far fewer."""
REFUSALS = frozenset({ACCESS_REFUSED, PRECONDITION_FAILED, NOT_ALLOWED, 540, 541})
"""Reply codes of refusals that will last for a while; 540 is "not implemented", 541 "internal error"."""
OTHER_ARGUMENTS = "inequivalent arg"
"""Part of a refusal of RabbitMQ: the queue exists, and was created with other arguments by an operator or by another
version."""
NO_REPLICA = "replica on the local node"
"""Part of a refusal (406) of RabbitMQ: its own copy of the stream is not running, for up to some seconds after a
partition."""
OFFSET = "x-stream-offset"
"""The name of the header, and of the consumer's argument, that contains a position in the stream."""

Decode = Callable[[BasicProperties, bytes], Message | None]
"""Decodes a message; returns None if it is malformed."""


class StreamQueue:
    """The stream of an exchange, as one process uses it. See the head of this file.

    :ivar name: name of the queue.
    :ivar position: the offset after the last marker; None before the first marker.
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
        """Whether the broker has not refused the stream within :data:`REFUSED_SECONDS`."""
        return bool(self._reactor.seconds() - self._refused_at >= REFUSED_SECONDS)

    async def declare(self, connection: BrokerConnection) -> None:
        """Make sure that the stream exists, has a leader, and is bound to the exchange, within :data:`SILENCE_SECONDS`.

        :raises BusError: the stream cannot be used on this connection, or not at all (:attr:`usable`).
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
        """Declare the stream with a time limit. A broker that has lost its majority may not answer at all, and nothing
        is sent or received meanwhile.
        """
        declared = Deferred.fromCoroutine(self._declare(connection))
        try:
            await declared.addTimeout(max(RETRY_SECONDS, deadline - self._reactor.seconds()), self._reactor)
        except defer.TimeoutError:
            raise BusError(f"the broker did not answer within {SILENCE_SECONDS:g} s") from None

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
        """Whether the stream exists and has a leader, as far as the broker knows."""
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
        """Unbind the stream from the exchange, to which an earlier run has bound it. A failure is logged."""
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
        """Read the stream up to now.

        :param take: called with each message. Must not raise.
        :param heard: how many messages were received since the start. None may be received during a reading.
        :return: whether the marker was read, and nothing is missing since the last position.
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
        """Read, and continue with another consumer if the broker ends the first one.

        :param silence: seconds to wait for the first message.
        """
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
        """Publish the marker over the publishing connection, until the task is cancelled. A broker that is short of
        memory stops reading from every connection that publishes. Then the marker has to wait, and the reading ends
        without it.
        """
        while True:
            channel = await AmqpChannel.open(connection)
            channel.raw.basic_publish("", self.name, b"", BasicProperties(correlation_id=marker))
            channel.close()
            await deferLater(self._reactor, MARK_SECONDS)


class StreamDown(BusError):
    """The broker ended a consumer of the stream; another one may succeed."""


class _Reading:
    """Reads the stream up to a marker, with one consumer after another.

    :ivar marker: the correlation id of the message that ends the reading.
    :ivar first: the lowest offset received, of a message or of a marker; None if nothing was received.
    :ivar next: the offset after the last one received; None if nothing was received.
    :ivar end: the marker's offset; None if it was not received.
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
        """Seconds since the reading began."""
        return float(round(self._reactor.seconds() - self._began_at, 1))

    def left(self, silence: float) -> float:
        """Seconds until the reading ends without its marker.

        :param silence: seconds to wait for the first message.
        """
        last = self._last_at + (silence if self.next is None else SILENCE_SECONDS)
        return float(min(last, self._began_at + MOST_SECONDS) - self._reactor.seconds())

    async def run(self, channel: AmqpChannel, queue: str, offset: str | int, silence: float) -> None:
        """Consume until the marker is received, or nothing more.

        :raises StreamDown: the broker ended the consumer.
        :raises BusError: the broker refuses the consumer, or the connection is lost.
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
        """Acknowledge all messages that were received in one reactor turn."""
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
    """The marker was not published, because the publishing connection is lost or the reading is over."""
    if not failure.check(defer.CancelledError):
        log.info("stream.not_marked", reason=failure.getErrorMessage())


def _end(done: Deferred[None], error: BusError) -> None:
    if not done.called:
        done.errback(error)


def _closed(reason: Exception) -> BusError:
    """The error for a channel of a consumer that was closed."""
    text = f"the stream cannot be read: {reason}"
    is_down = isinstance(reason, ChannelClosedByBroker) and (
        reason.reply_code not in REFUSALS or NO_REPLICA in reason.reply_text
    )
    return StreamDown(text) if is_down else BusError(text)


# What was read


def fingerprint(properties: BasicProperties, body: bytes) -> int:
    """A number that is the same for two copies of a message of another AMQP client. It is valid in this process
    only.
    """
    return hash((repr(properties.headers), body))


class Devices:
    """Remembers the last message of each topic that came from an AMQP client that is not a node, by its fingerprint."""

    def __init__(self, topics: int = MAX_DEVICE_TOPICS) -> None:
        """:param topics: how many topics are remembered: those with the latest messages."""
        self._last: BoundedDict[str, int] = BoundedDict(topics)

    def heard(self, topic: str, print_: int) -> None:
        """A message was received."""
        self._last[topic] = print_

    def is_last(self, topic: str, print_: int) -> bool:
        """Whether the last message received of a topic has this fingerprint."""
        return self._last.get(topic) == print_


class Overlap:
    """Recognizes messages without a serial that are received twice: from the end of the stream, and from the node's own
    queue.

    :ivar left: how many messages of the queue are still to be compared.
    """

    def __init__(self) -> None:
        self.left = 0
        self._end: deque[int | None] = deque(maxlen=REORDERED)
        self._expected: Counter[int] = Counter()

    def read(self, print_: int | None) -> None:
        """A message was read from the stream.

        :param print_: its fingerprint; None if it has a serial.
        """
        self._end.append(print_)

    def expect(self, waiting: int) -> None:
        """The queue is consumed from now on.

        :param waiting: how many messages are in it.
        """
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
    """The messages of one reading that the node did not receive before, in the order of the stream.

    A message that the node did receive makes earlier ones on the same topic out of date. Publishers that reconnect send
    messages again, after newer ones: the position of the first copy counts.

    :ivar overlap: the messages that may be received a second time.
    """

    def __init__(self, devices: Devices, *, newest_only: bool, is_first: bool = False) -> None:
        """
        :param devices: what was received before the reading; afterwards also what was read.
        :param newest_only: keep one message of each topic, and none that is older than a day.
        :param is_first: whether this process has received and read nothing before.
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
        """A message was read from the stream.

        :param is_new: whether its serial was not seen before.
        """
        serial = properties.correlation_id
        print_ = None if has_serial(serial) else fingerprint(properties, body)
        self.overlap.read(print_)
        message = decode(properties, body)
        if message is None or (print_ is None and self._was_read(serial)):
            return
        if print_ is not None:
            is_new = not self._devices.is_last(message.topic, print_)
            self._prints[message.topic] = print_
        elif properties.type == AGAIN and not is_new:  # A marked copy is new if the first one was lost.
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
        """Handle a copy that was sent again, after later messages of its publisher. Either it was received before, or
        the stream has deleted the first copy: then its position is before all messages read, and it may be the newest
        of its topic.
        """
        topic = message.topic
        if self._is_first and (topic in self._copies or topic not in self._of_topic):
            self._forget(topic)
            self._add(message)
            self._copies.add(topic)

    def messages(self) -> list[Message]:
        """End the reading. Returns the messages that are left."""
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
