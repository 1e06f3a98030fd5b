"""The bus of a cluster: a fan-out exchange of RabbitMQ that all nodes share. Other AMQP clients may use it too.

**Responsibilities.** A publisher gets its confirmation only after the broker has stored the message. Every node gets
every message once and in the order of its publisher, even across reconnects, as far as the broker allows. A node
notices which messages it missed, and reads them or asks for them. Neither a slow broker nor a slow node may take
unbounded memory, on the broker or in this process.

The AMQP itself is in :mod:`~fanout.bus.connection_pair` and :mod:`~fanout.bus.amqp_connection`, the stored messages
behind the exchange in :mod:`~fanout.bus.stream`, the outbox in :mod:`~fanout.bus.unconfirmed_publishes`, second copies
in :mod:`~fanout.bus.duplicates`, reconnecting in :mod:`~fanout.bus.reconnect`.

**States of the connection.**

- *connecting*: there is no pair of connections. Publishes are kept, within limits of number, size and age.
- *preparing*: connected, and our own queue is bound; messages published from now on wait in it. Nothing is sent until
  we know that the stream exists, which takes some milliseconds, because the stream keeps our messages for nodes that
  are not connected yet.
- *reading*: publishes are sent. The missed messages are read from the stream and handed on. Then our own queue is
  consumed, beginning with the messages that wait in it. The node has then *caught up*
  (:class:`~fanout.bus.interface.BusState`), and is ready.
- *sending*: publishes are sent at once, many unconfirmed ones at a time, and messages are received from our own queue
  only.
- *blocked*: the broker is short of memory or disk and has stopped reading. Receiving continues; publishes are kept.
- *stopping*: no new publishes are accepted. The kept ones are sent and their confirms are awaited, for a limited time;
  then the pair is closed. Timers end last, because messages are received until the sockets are closed.

Without a stream, one other state replaces *preparing* and *reading*. This happens with a broker that has no streams,
with ``Broker.stream`` turned off, and in a program that does not ask for missed messages (:meth:`RabbitMQ.remember`).

- *settling*: connected again after a loss, and receiving. Nothing is sent yet: the other nodes lost the broker too, and
  a fan-out exchange keeps nothing for a node whose queue does not exist. We wait as long as the other nodes may take to
  reconnect (``longest_pause``), and send. After the same time again we ask the node to catch up (``connected``): by
  then the other nodes have sent as well. When the node has done this, it has caught up. The first connection of a
  process skips this state, because there is nothing to send again.

If the stream could be read only in part, the node is asked to catch up as well, at once. It then checks the stream
again from time to time, and when the stream answers, the connection is closed so that the next one reads it
(:data:`LOOK_SECONDS`).

**How a reading ends.** Every reading ends either in *caught up* or in the loss of the connection, after which the next
reading starts from the beginning. Every wait has a limit. So a node is ready some seconds after the broker is back,
whatever the state of the stream.

===============================================  =======================================================================
an earlier reading still hands on messages       its connection is lost, so all its requests have failed; its messages
                                                 are handed on in turns of the reactor, and wait for nothing else
the stream is down, or is not declared           ``SILENCE_SECONDS`` (5 s); then settling, as if since the connection
the broker refuses the stream                    at once: settling; or, with 541, the connection is lost, and the next
                                                 pair is made without a stream
the stream gets another leader while it is read  another consumer continues the reading, within the next two limits
neither a message nor the marker arrives         ``SILENCE_SECONDS``; then the other nodes are asked
others publish, and the marker does not arrive   ``MOST_SECONDS`` (30 s); then the other nodes are asked
our own queue cannot be consumed                 the broker's error, or ``RetryPolicy.connect``: the pair is closed
our queue has fewer messages than were counted   :data:`BACKLOG_SECONDS`: caught up
the other nodes do not answer, or ours raises    :data:`OTHERS_SECONDS`, or at once: caught up
the connection is lost at any of these           the requests fail, timers are cancelled (:meth:`RabbitMQ.down`)
an error in our own code                         logged (``stream.failed``), and the pair is closed
===============================================  =======================================================================

**Invariants.**

1. *Order.* Publishes are sent in the order in which they were accepted. After a loss the unconfirmed ones, and those
   confirmed shortly before (2), go first, again in their original order. A publish gets its serial number when it is
   sent for the first time, so numbers rise in the order of sending, and a publish that was given up before leaves no
   gap.
2. *Confirms.* Delivery tag n is the n-th publish of a connection. ``basic.ack`` completes the publisher's Deferred.
   ``basic.nack``, a return (no queue is bound) or the age limit fails it. A connection is closed if an ack does not
   arrive within :data:`CONFIRM_SECONDS`, or if one of several hosts sends a nack, and the publish is sent again over
   the next connection. An ack means that the broker has the message, not that every node has it: the nodes' queues are
   transient, and a crash of the broker loses them. Confirmed publishes are therefore kept for some more seconds, and
   sent again if the connection is lost. Those copies are marked (``type`` is :data:`AGAIN`), and no publisher waits for
   their confirms. With a stream an ack also means that the stream has the message; the copies are sent nevertheless,
   for nodes of earlier versions.
3. *Duplicates.* Every copy of number n is sent after all lower numbers of its publisher. So one number per publisher is
   enough to recognize a second copy. A marked copy from an unknown publisher is dropped if it was published before this
   node began to receive: it is old, and was not lost. Messages without a serial, from other AMQP clients, are always
   new.
4. *Gaps.* A number that is left out was lost on its way to us. The stream may have the message: the connection is
   closed, and the next one reads the stream, at most once per :data:`GIVE_UP_SECONDS`. In between, and without a
   stream, the node is asked to catch up, at most once per :data:`GAP_SECONDS`. The node is also asked at the first gap
   of each publisher after a reading that found the oldest messages deleted: another reading would not find them either.
   Gaps do not count while stopping, because a node that stops leaves messages unread.
5. *A fault of one client does not close the connection of the others.* A malformed message is counted and dropped, even
   if pika cannot decode its headers. If a receiver raises, the error is logged.
6. *The stream does not delay any message.* It is read by a separate consumer, after a connection was made and up to
   that moment; a message on its way from a publisher to the subscribers does not pass through it.

**Why not the other ways?** *A durable queue per node* would lose nothing in an outage, but it would grow while a node
is away, keep the queues of nodes that never come back, and deliver a late backlog to clients that only want the newest
value. *The stream instead of the nodes' own queues* would give one order for all, but a broker without streams and
nodes of earlier versions only know the exchange, and every message would wait for the stream's disk. *Waiting for each
confirm* before the next publish needs no rules about order, but reaches less than a third of the rate. *AMQP
transactions* are slower still. *Deduplication by message id* needs a set of ids with an age; a number per publisher is
exact. *One connection for both directions* stops receiving when the broker blocks publishers. *Pika's
``TwistedChannel``* has an unbounded queue of received messages, and searches all unconfirmed publishes at each confirm.

If messages are right at one moment only (``RetryPolicy.outlast`` is False) nothing survives the connection: unconfirmed
publishes fail when it is lost, and a publish without a connection fails at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from random import random
from typing import Any

import structlog
from pika.exceptions import AMQPError
from pika.spec import BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionClosed
from twisted.python.failure import Failure

from fanout.bus.amqp_connection import broker_endpoint
from fanout.bus.amqp_message import AGAIN, DEFAULT_LIMITS, MalformedMessage, MessageLimits, from_amqp, to_amqp
from fanout.bus.broker_settings import DEFAULT_RETRY_POLICY, Broker, BrokerHosts, BrokerSettings, RetryPolicy, broker
from fanout.bus.connection_pair import Pair
from fanout.bus.duplicates import Seen, Serials, has_serial
from fanout.bus.interface import BusCounters, BusError, BusState, Replay
from fanout.bus.reconnect import ReconnectingClient
from fanout.bus.stream import Devices, Missed, Overlap, StreamQueue, fingerprint
from fanout.bus.unconfirmed_publishes import Confirmed, Unconfirmed, UnconfirmedPublish
from fanout.hub.message import Message
from fanout.process.logs import Throttle

log = structlog.get_logger()

# After a long outage all kept messages are sent. No client waits for more than this number of publishes in one reactor
# turn.
SEND_AT_ONCE = 500
# A connection is closed when a publish has waited this long for its confirm, and each further time after twice as long.
# A broker answers within milliseconds, or within 3 s while a queue gets another leader. RabbitMQ 3.10.8 never confirms
# some of the publishes that were on their way when the leader of a stream was cut off (about every second time; no
# confirm came within 45 s).
CONFIRM_SECONDS = 10.0
# A node that could not read the stream checks after this time whether it is back, and then each time after twice as
# long. If the stream answers, the node closes its connection to read it. The growing pauses keep the cost low if a
# stream answers but cannot be read.
LOOK_SECONDS = 5.0
MOST_LOOK_SECONDS = 300.0
# The time that a node may need to log in and bind its queue, after it has started an attempt.
LOGIN_SECONDS = 1.0
# A queue that overflows loses many messages at a time; one warning and one catch-up are enough for all of them.
GAP_SECONDS = 1.0
# The messages that waited in our queue while the stream was read arrive within milliseconds. If the queue overflowed
# meanwhile, fewer messages arrive than were counted, and the node is ready after this time nevertheless.
BACKLOG_SECONDS = 5.0
# The node asks the other nodes, through memcached, for the messages it missed. That takes 2 s. If it takes very long,
# it is better to be ready with old values than not to be ready.
OTHERS_SECONDS = 10.0
# A node reconnects at most once in this time because of a gap, to read the stream. A node that is too slow has a gap
# after each overflow of its queue, and must not spend its time on reconnecting. The same limit holds for refused
# publishes.
GIVE_UP_SECONDS = 10.0


class RabbitMQ:
    """A :class:`~fanout.bus.interface.Bus` over RabbitMQ that connects and reconnects by itself.

    It is also a :class:`~fanout.bus.interface.BrokerBus`, a :class:`~fanout.bus.interface.RememberingBus` and a
    :class:`~fanout.bus.interface.CountedBus`. The head of this file explains how it works.

    :param reactor: Twisted's reactor.
    :param endpoint: client endpoint of the broker: TCP or TLS.
    :param broker: the login, the exchange, and the limits of our queue.
    :param retry_policy: how long the bus waits, and how much it keeps.
    :param limits: the limits of a message.
    :param chance: returns a random number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: Any,
        broker: Broker,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        limits: MessageLimits = DEFAULT_LIMITS,
        chance: Callable[[], float] = random,
    ) -> None:
        self.counters = BusCounters()
        self._reactor = reactor
        self._broker = broker
        self._policy = retry_policy
        self._limits = limits
        self._unconfirmed = Unconfirmed(retry_policy.messages, retry_policy.octets, retry_policy.max_age)
        resend = retry_policy.resend if retry_policy.outlast else 0.0
        self._confirmed = Confirmed(resend, retry_policy.messages // 10, retry_policy.octets // 10)
        self._serials = Serials()
        self._seen = Seen()
        self._client = ReconnectingClient(reactor, endpoint, retry_policy, self._make_pair, user=self, chance=chance)
        self._reason = "not started"
        self._blocked = False
        self._stopping = False
        self._drained: Deferred[None] | None = None
        self._age_call: Any = None
        self._confirm_call: Any = None
        self._confirm_seconds = CONFIRM_SECONDS
        self._send_call: Any = None
        self._settle_call: Any = None
        self._preparing = False
        self._catch_up_call: Any = None
        self._gap_call: Any = None
        self._receiving_since = float("inf")
        self._connected_at = 0.0
        self._stream: StreamQueue | None = None
        self._unused_stream: StreamQueue | None = None
        self._reading: Deferred[None] | None = None
        self._reading_lock = defer.DeferredLock()
        self._devices = Devices()
        self._overlap: Overlap | None = None
        self._has_received = False
        self._given_up: Pair | None = None
        self._given_up_at = self._moved_at = float("-inf")
        self._move_seconds = GIVE_UP_SECONDS
        self._has_hosts = isinstance(endpoint, BrokerHosts) and len(endpoint.endpoints) > 1
        self._caught_up = False
        self._backlog_call: Any = None
        self._look_call: Any = None
        self._reads_later = False
        self._look_seconds = LOOK_SECONDS
        self._throttle = Throttle(reactor.seconds)
        self._losses = Throttle(reactor.seconds)

    # Bus

    def start(self, receive: Callable[[Message], None], connected: Callable[[], Deferred[None] | None]) -> None:
        """See :meth:`Bus.start <fanout.bus.interface.Bus.start>`."""
        self._receive = receive
        self._connected = connected
        self._reason = "connecting"
        self._client.start()

    def publish(self, message: Message) -> Deferred[None]:
        """See :meth:`Bus.publish <fanout.bus.interface.Bus.publish>`."""
        if self._stopping:
            return fail(BusError("the bus is stopped"))
        if not self._policy.outlast and self.connection is None:
            return fail(BusError(self._reason))
        try:
            properties, body = to_amqp(message, self._limits)
            publish = self._unconfirmed.add(properties, body, self._reactor.seconds())
        except (ValueError, BusError) as error:
            self.counters.failed += 1
            return fail(BusError(str(error)))
        self._watch_age()
        self._send()
        return publish.done

    def use_password(self, password: str) -> None:
        """See :meth:`PasswordBus.use_password <fanout.bus.interface.PasswordBus.use_password>`."""
        self._broker = replace(self._broker, password=password)

    def state(self) -> BusState:
        """See :meth:`Bus.state <fanout.bus.interface.Bus.state>`."""
        doing = ""
        if self.connection is not None and not self._caught_up:
            doing = ", reading what was missed"
        elif self._reads_later:
            doing = "; the stream could not be read, and will be tried again"
        return BusState(
            connected=self.connection is not None and not self._blocked,
            reason=self._reason + doing,
            waiting=self._unconfirmed.unanswered,
            caught_up=self._caught_up,
            reads_later=self._reads_later,
        )

    def remember(self, begin: Callable[[], Replay]) -> None:
        """See :meth:`RememberingBus.remember <fanout.bus.interface.RememberingBus.remember>`."""
        self._begin_replay = begin
        stream = StreamQueue(self._reactor, self._broker.exchange)
        if self._broker.stream:
            self._stream = stream
        else:
            self._unused_stream = stream

    def stop(self) -> Deferred[None]:
        """See :meth:`Bus.stop <fanout.bus.interface.Bus.stop>`.

        This takes at most ``retry_policy.stop`` seconds, plus the time to close the connections.
        """
        if self._stopping:
            return succeed(None)
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    # For the reconnecting client

    def up(self, connection: Pair) -> None:
        """The connection is open: messages arrive from now on. Send the waiting publishes."""
        self._losses.clear()  # The next loss is news, and no repetition.
        self._throttle.clear()
        self._reason = self._connected_as()
        self._connected_at = self._reactor.seconds()
        self.counters.connects += 1
        log.info(
            "bus.connected",
            exchange=self._broker.exchange,
            queue=connection.hearing.queue,
            waiting=len(self._unconfirmed),
        )
        if self.counters.connects == 1:
            self._receiving_since = self._connected_at
        if self._unused_stream is not None:
            Deferred.fromCoroutine(self._unused_stream.unbind(connection.hearing))
        first = not self._has_received
        if self._stream is not None and connection.hearing.holds:
            self._preparing = True
            self._reading = Deferred.fromCoroutine(self._read_stream(self._stream, connection, first=first))
            self._reading.addErrback(_reading_failed, connection)
        else:
            self._go_on(connection, first=first)

    def _make_pair(self) -> Pair:
        holds = self._stream is not None and self._stream.usable
        return Pair(self._reactor, self._broker, self, holds=holds)

    def _go_on(self, connection: Pair, *, first: bool) -> None:
        """Continue without a stream: the other nodes must know the missed messages."""
        self._has_received = True
        if first:
            self._ask_others(connection)
            self._send()
        else:
            self._settle(connection)

    def _settle(self, connection: Pair) -> None:
        """Wait until the other nodes receive again, then send; wait until they have sent, then ask for the missed
        messages. Time spent on waiting for a stream counts for both.
        """
        pause = self._client.longest_pause + LOGIN_SECONDS
        waited = self._reactor.seconds() - self._connected_at
        self._settle_call = self._reactor.callLater(max(0.0, pause - waited), self._settled)
        self._catch_up_call = self._reactor.callLater(max(0.0, 2 * pause - waited), self._ask_others, connection)

    def _settled(self) -> None:
        self._settle_call = None
        self._send()

    def down(self) -> None:
        """The connection is lost. Unconfirmed publishes must be sent again; publishes confirmed just before may be
        lost.
        """
        self._blocked = self._caught_up = self._reads_later = False
        self._overlap = None
        self._cancel_settling()
        if self._policy.outlast:
            again = self._confirmed.take(self._reactor.seconds())
            for publish in again:
                publish.properties.type = AGAIN
            self._unconfirmed.connection_lost(again)
            self._watch_age()
        else:
            self._fail(self._unconfirmed.clear(), "the connection was lost before the broker had confirmed it")
        self._check_drained()

    def lost(self, reason: str, retry_in: float) -> None:
        """There is no connection, for the given reason."""
        self._reason = reason
        if self._losses.allow(reason):
            retry_in, held_back = round(retry_in, 1), self._losses.held_back(reason)
            waiting = len(self._unconfirmed)
            log.warning("bus.lost", reason=reason, retry_in=retry_in, waiting=waiting, held_back=held_back)

    @property
    def connection(self) -> Pair | None:
        """See :class:`~fanout.bus.interface.BrokerBus`."""
        return self._client.connection

    def _connected_as(self) -> str:
        return f"connected as {self._broker.name!r}, listening to {self._broker.exchange!r}"

    def _cancel_settling(self) -> None:
        for call in (self._settle_call, self._catch_up_call, self._backlog_call, self._look_call):
            if call is not None and call.active():
                call.cancel()
        self._settle_call = self._backlog_call = None
        self._preparing = False

    async def _stop(self) -> None:
        self._cancel_settling()
        if self._reading is not None:
            self._reading.cancel()
        self._send()
        await self._drain()
        self._fail(self._unconfirmed.clear(), "the bus is stopped")
        await self._client.stop()
        for call in (
            self._age_call,
            self._confirm_call,
            self._send_call,
            self._gap_call,
        ):  # Last, because confirms arrive until now.
            if call is not None and call.active():
                call.cancel()
        self._reason = "stopped"

    async def _drain(self) -> None:
        """Wait until all publishes are confirmed, the connection is lost, or the time is over."""
        if self.connection is None or not len(self._unconfirmed):
            return
        self._drained = Deferred()
        self._drained.addTimeout(self._policy.stop, self._reactor)
        try:
            await self._drained
        except defer.TimeoutError:
            log.warning("bus.unconfirmed_at_stop", waiting=len(self._unconfirmed))
        finally:
            self._drained = None

    def _check_drained(self) -> None:
        done = self.connection is None or not len(self._unconfirmed)
        if done and self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    # What was missed

    async def _read_stream(self, stream: StreamQueue, connection: Pair, *, first: bool) -> None:
        """Read the stream, hand on the missed messages, and begin to receive. See "How a reading ends" in the head of
        this file.
        """
        await self._reading_lock.acquire()  # Messages of an earlier reading are handed on first.
        try:
            before = stream.position
            missed = Missed(self._devices, newest_only=before is None, is_first=first)
            replay = self._begin_replay()
            read = await self._read_missed(stream, connection, missed)
            await self._hand_on(replay, missed.messages())
        finally:
            self._reading_lock.release()
        if connection is not self.connection or not await self._begin(connection, missed.overlap):
            return
        if read:
            self._look_seconds = LOOK_SECONDS
            self._caught_up_behind_the_backlog()
            return
        if stream.position == before:
            self._look_later(stream, connection)
        if read is None:
            self._preparing = False
            self._go_on(connection, first=first)
        else:
            self._ask_others(connection)

    def _look_later(self, stream: StreamQueue, connection: Pair) -> None:
        """The stream could not be read. Check later whether it can be read, unless the broker has no streams."""
        self._reads_later = stream.usable and not self._stopping
        if self._reads_later:
            self._look_call = self._reactor.callLater(self._look_seconds, self._look, stream, connection)
            self._look_seconds = min(2 * self._look_seconds, MOST_LOOK_SECONDS)

    def _look(self, stream: StreamQueue, connection: Pair) -> None:
        looked = Deferred.fromCoroutine(stream.answers(connection.hearing))
        looked.addCallback(self._looked, stream, connection)

    def _looked(self, answers: bool, stream: StreamQueue, connection: Pair) -> None:
        if connection is self.connection and answers:
            connection.abort(ConnectionAbortedError("the stream is available again; the next connection reads it"))
        elif connection is self.connection:
            self._look_later(stream, connection)

    async def _read_missed(self, stream: StreamQueue, connection: Pair, missed: Missed) -> bool | None:
        """:return: whether all missed messages were read; None if there is no stream."""

        def take(properties: BasicProperties, body: bytes) -> None:
            missed.take(properties, body, self._decode, is_new=self._seen.is_new(properties.correlation_id))

        declared, position = False, stream.position
        try:
            await stream.declare(connection.hearing)
            connection.hearing.keep_bound(stream.name)
            declared, self._preparing = True, False
            self._send()  # The stream keeps these messages for nodes that are not connected yet.
            complete = await stream.read(connection, take, self.counters.received - self.counters.duplicates)
        except BusError as error:
            log.info("stream.not_read", stream=stream.name, reason=str(error))
            return False if declared else None
        if not complete and stream.position != position:  # The end was read, and the missing part was deleted.
            self._seen.were_lost()
        return complete

    def _decode(self, properties: BasicProperties, body: bytes) -> Message | None:
        """Decode a message of the stream; None if it is malformed. It is counted when it arrives through our own
        queue.
        """
        try:
            return from_amqp(properties, body, int(time.time()), self._limits)
        except MalformedMessage:
            return None

    async def _hand_on(self, replay: Replay, messages: list[Message]) -> None:
        self.counters.replayed += len(messages)
        try:
            await replay(messages)
        except defer.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged.
            self._receive_failed(error)

    async def _begin(self, connection: Pair, overlap: Overlap) -> bool:
        """Start to consume our own queue.

        :return: whether the broker allows it.
        """
        beginning = Deferred.fromCoroutine(connection.hearing.begin())
        try:
            overlap.expect(await beginning.addTimeout(self._policy.connect, self._reactor))
        except defer.TimeoutError:
            connection.abort(TimeoutError(f"no answer within {self._policy.connect:g} s"))
            return False
        except AMQPError as error:
            connection.abort(error)
            return False
        self._overlap = overlap if overlap.left else None
        self._has_received = True
        return True

    def _is_second(self, overlap: Overlap, properties: BasicProperties, body: bytes) -> bool:
        """Whether a message of another AMQP client, received from our own queue, was already read from the stream."""
        overlap.left -= 1
        if not overlap.left:
            self._overlap = None
            self._backlog_over()
        return not has_serial(properties.correlation_id) and overlap.is_second(fingerprint(properties, body))

    def _caught_up_behind_the_backlog(self) -> None:
        """Set the state to caught up as soon as the messages waiting in our queue are received."""
        self._backlog_call = self._reactor.callLater(BACKLOG_SECONDS, self._backlog_over)
        if self._overlap is None:
            self._backlog_over()

    def _backlog_over(self) -> None:
        call, self._backlog_call = self._backlog_call, None
        if call is not None and self.connection is not None:
            if call.active():
                call.cancel()
            self._now_caught_up(self.connection)

    def _ask_others(self, connection: Pair) -> None:
        """Make the node ask the other nodes for the messages it missed."""
        try:
            asked = self._connected()
        except Exception as error:  # noqa: BLE001 - it is logged.
            self._receive_failed(error)
            asked = None
        if asked is None:
            self._now_caught_up(connection)
        else:
            asked.addTimeout(OTHERS_SECONDS, self._reactor).addBoth(lambda _: self._now_caught_up(connection))

    def _now_caught_up(self, connection: Pair) -> None:
        if connection is self.connection and not self._caught_up:
            self._caught_up = True
            log.info("bus.caught_up", replayed=self.counters.replayed)

    # Publishing

    def _send(self) -> None:
        """Send the waiting publishes in order; many of them are spread over several reactor turns."""
        if self._send_call is not None or self._settle_call is not None or self._preparing:
            return
        now = self._reactor.seconds()
        for _ in range(min(SEND_AT_ONCE, self._unconfirmed.waiting)):
            if self.connection is None or self._blocked or not self.connection.publishing.can_publish:
                return
            publish = self._unconfirmed.send_next(now)
            if publish.properties.correlation_id is None:  # Not earlier: a publish that is given up would leave a gap.
                publish.properties.correlation_id = self._serials.next()
            self.connection.publishing.publish(publish.properties, publish.body)
            self.counters.published += 1
            if self._confirm_call is None and self._policy.outlast:
                self._confirm_call = self._reactor.callLater(self._confirm_seconds, self._check_confirms)
        if self._unconfirmed.waiting:
            self._send_call = self._reactor.callLater(0, self._send_more)

    def _send_more(self) -> None:
        self._send_call = None
        self._send()

    def _check_confirms(self) -> None:
        """Close a connection over which a confirm does not arrive; the publish is sent again over the next one."""
        self._confirm_call = None
        sent_at, connection = self._unconfirmed.sent_first_at(), self.connection
        if sent_at is None or connection is None:
            return
        left = sent_at + self._confirm_seconds - self._reactor.seconds()
        if left > 0 or self._blocked:
            wait = left if left > 0 else self._confirm_seconds
            self._confirm_call = self._reactor.callLater(wait, self._check_confirms)
            return
        reason = f"no confirm within {self._confirm_seconds:g} s"
        self._confirm_seconds = min(2 * self._confirm_seconds, self._policy.max_age)
        connection.abort(ConnectionAbortedError(reason))

    def _watch_age(self) -> None:
        """Start the timer for the age of publishes. One timer is enough, because it is set for the oldest publish."""
        if self._age_call is not None:
            return
        deadline = self._unconfirmed.oldest_deadline()
        if deadline is not None:
            self._age_call = self._reactor.callLater(max(0.0, deadline - self._reactor.seconds()), self._expire)

    def _expire(self) -> None:
        self._age_call = None
        late = self._unconfirmed.expire(self._reactor.seconds())
        self._fail(late, f"the broker did not confirm it within {self._policy.max_age:g} s ({self._reason})")
        self._watch_age()
        self._check_drained()

    def _fail(self, publishes: list[UnconfirmedPublish], reason: str) -> None:
        for publish in publishes:
            if not publish.done.called:  # A publish that was sent again had been confirmed before.
                self.counters.failed += 1
                publish.done.errback(BusError(reason))

    # Events of the connections

    def received(self, properties: BasicProperties, body: bytes) -> None:
        """A message was received from the bus. It was published by this node, another node, or another AMQP client."""
        if self._caught_up and self._seen.leaves_out(properties.correlation_id) and self._reads_again():
            return  # The stream delivers it after the missing messages.
        self.counters.received += 1
        if self._overlap is not None and self._is_second(self._overlap, properties, body):
            self.counters.duplicates += 1
            return
        first_of_publisher = properties.type == AGAIN and not self._seen.knows(properties.correlation_id)
        missed = self._seen.missed
        is_new = self._seen.is_new(properties.correlation_id)
        if self._seen.missed > missed:
            self._gap(self._seen.missed - missed)
        if not is_new:
            self.counters.duplicates += 1
            return
        try:
            message = from_amqp(properties, body, int(time.time()), self._limits)
        except MalformedMessage as error:
            self._malformed(error)
            return
        if first_of_publisher and time.time() - message.when > self._reactor.seconds() - self._receiving_since:
            self.counters.duplicates += 1  # Not missed: it was published before this node began to receive.
            return
        if self._stream is not None and not has_serial(properties.correlation_id):
            self._devices.heard(message.topic, fingerprint(properties, body))
        self._call(self._receive, message)

    def _reads_again(self) -> bool:
        """A message is missing before this one. Close the connection so that the next one reads it from the stream, in
        order.

        The stream may have the message: the broker confirms a message that it has stored there, and drops messages on
        their way between two of its nodes when these lose each other.

        :return: whether the connection is being closed.
        """
        connection, now = self.connection, self._reactor.seconds()
        if self._stream is None or connection is None or not connection.hearing.holds:
            return False
        if connection is self._given_up:
            return True
        if self._stopping or now - self._given_up_at < GIVE_UP_SECONDS:
            return False
        self._given_up, self._given_up_at = connection, now
        log.warning("bus.gap", reads="stream")
        connection.abort(ConnectionAbortedError("messages are missing; the next connection reads them from the stream"))
        return True

    def _gap(self, messages: int) -> None:
        """Others published messages that did not arrive, because this node was disconnected, too slow, or its queue
        unbound.
        """
        if self._stopping:
            return
        before, self.counters.missed = self.counters.missed, self.counters.missed + messages
        if self._gap_call is None:
            self._gap_call = self._reactor.callLater(GAP_SECONDS, self._report_gap, before)

    def _report_gap(self, before: int) -> None:
        self._gap_call = None
        self._warn("bus.gap", messages=self.counters.missed - before, total=self.counters.missed)
        self._catch_up()

    def overflowing(self, waiting: int) -> None:
        """This node is too slow for the rate of published messages, and does not get all of them."""
        self._warn("bus.overflowing", waiting=waiting, advice="this node is too slow for what is published")
        self._catch_up()

    def _catch_up(self) -> None:
        """Make the node ask for the messages it missed, unless it will do so anyway after a reconnect."""
        if self._caught_up:
            self._call(self._connected)

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker has answered publishes; pass the answers to the publishers."""
        now = self._reactor.seconds()
        if not taken and self._moves(now):
            return
        self._confirm_seconds = CONFIRM_SECONDS
        for publish in self._unconfirmed.confirm(tag, multiple):
            if self._unconfirmed.was_returned(publish):
                self._fail([publish], f"no queue is bound to exchange {self._broker.exchange!r}: no node would get it")
            elif not taken:
                self._fail([publish], "the broker refused it (basic.nack)")
            else:
                self._taken(publish, now)
        self._check_drained()

    def _moves(self, now: float) -> bool:
        """A publish was refused. Close the connection; the publish is sent again over the next one.

        RabbitMQ refuses a message if one of the queues ends before it has stored the message, as the queue of a node
        that dies, although the others have it. RabbitMQ 3.10.8 may also refuse everything on one of its nodes after
        another node was cut off. A queue without room refuses again, so this happens rarely:
        :data:`GIVE_UP_SECONDS`, and with one host a longer time after each refusal.

        :return: whether the connection is being closed.
        """
        connection = self.connection
        if connection is None or not self._policy.outlast or self._stopping:
            return False
        if connection is self._given_up:
            return True
        if now - self._moved_at < self._move_seconds:
            return False
        if now - self._moved_at > 2 * MOST_LOOK_SECONDS or self._has_hosts:
            self._move_seconds = GIVE_UP_SECONDS
        else:
            self._move_seconds = min(2 * self._move_seconds, MOST_LOOK_SECONDS)
        self._given_up, self._moved_at = connection, now
        connection.abort(ConnectionAbortedError("a publish was refused (basic.nack); it is sent again"))
        return True

    def _taken(self, publish: UnconfirmedPublish, now: float) -> None:
        self._confirmed.keep(publish, now)
        if not publish.done.called:
            self.counters.confirmed += 1
            publish.done.callback(None)

    def returned(self, properties: BasicProperties) -> None:
        """The broker found no queue for a publish, which cannot happen while our queue is bound."""
        self.counters.returned += 1
        self._unconfirmed.mark_returned(str(properties.correlation_id))
        self._warn("bus.returned", exchange=self._broker.exchange)

    def blocked(self, reason: str | None) -> None:
        """The broker is short of memory or disk, and has stopped reading; or it reads again."""
        self._blocked = reason is not None
        if reason is not None:
            self._reason = f"the broker accepts no messages: {reason}"
            log.warning("bus.blocked", reason=reason)
            return
        self._reason = self._connected_as()
        log.info("bus.unblocked")
        self._send()

    def _malformed(self, error: MalformedMessage) -> None:
        self.counters.malformed += 1
        self._warn("bus.malformed", reason=str(error), total=self.counters.malformed)

    def _warn(self, event: str, **fields: Any) -> None:
        """Log a fault that may come with every message, see :data:`~fanout.process.logs.REPEAT_SECONDS`."""
        if self._throttle.allow(event):
            log.warning(event, held_back=self._throttle.held_back(event), **fields)

    def _receive_failed(self, error: Exception) -> None:
        """Log an error of the receiver. The same bug may come with every message."""
        key = (type(error), str(error))
        if self._throttle.allow(key):
            log.error("bus.receive_failed", exc_info=error, held_back=self._throttle.held_back(key))

    def _call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call a receiver, and log its error: an error of one receiver must not close the connection for all others."""
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - it is logged.
            self._receive_failed(error)


def _reading_failed(failure: Failure, connection: Pair) -> None:
    """Handle the failure of a reading. Its reason is the end of the process, the loss of the connection, which is
    reported elsewhere, or an error in our code. After an error the connection is closed, because its messages stay in
    the queue.
    """
    lost = connection.hearing.lost.called or connection.publishing.lost.called
    if not lost and not failure.check(defer.CancelledError, ConnectionClosed):
        log.error("stream.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
        connection.abort(ConnectionAbortedError(failure.getErrorMessage()))


def rabbitmq(
    reactor: Any,
    settings: BrokerSettings,
    name: str,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    limits: MessageLimits = DEFAULT_LIMITS,
    *,
    stream: bool = True,
) -> RabbitMQ:
    """A bus over the broker of the settings.

    :param name: the name of the connections in the broker's own lists.
    :param limits: the limits of a message.
    :param stream: whether a bus that reads missed messages uses a stream of the broker.
    :raises CertificateError: the file of RABBITMQ_CA cannot be used.
    """
    used = replace(broker(settings, name), stream=stream)
    return RabbitMQ(reactor, broker_endpoint(reactor, settings), used, retry_policy, limits)
