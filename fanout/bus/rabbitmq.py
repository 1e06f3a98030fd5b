"""The bus of a cluster: a fan-out exchange of RabbitMQ that all nodes share, and other AMQP clients too.

**Responsibilities.** A publish is stored by the broker before its publisher is told so. Every node gets every message
once and in the order of its publisher, also across reconnects, as far as the broker allows; what a node misses it
notices, so that it can catch up. Neither a slow broker nor a slow node may take unbounded memory, here or there.
The AMQP itself is in :mod:`~fanout.bus.connection_pair` and :mod:`~fanout.bus.amqp_connection`, the outbox in
:mod:`~fanout.bus.unconfirmed_publishes`, second copies in :mod:`~fanout.bus.duplicates`, reconnecting in
:mod:`~fanout.bus.reconnect`.

**States of the connection.**

- *connecting*: there is no pair of connections. Publishes are kept, up to a number, a size and an age.
- *settling*: connected again after a loss, and receiving. Nothing is sent yet: the other nodes lost the broker too, and
  a fan-out exchange keeps nothing for a node whose queue does not exist. We wait as long as the others may take to come
  back (``longest_pause``), send, and after the same time again ask the node to catch up (``connected``): by then the
  others have sent as well. The first connection of a process skips this state; there is nothing to send again.
- *sending*: publishes are sent at once, many unconfirmed ones at a time.
- *blocked*: the broker is short of memory or disk and has stopped reading. Receiving continues; publishes are kept.
- *stopping*: no new publishes. What is kept is sent and its confirms are awaited, for a limited time; then the pair is
  closed. Timers end last, because messages arrive until the sockets are closed.

**Invariants.**

1. *Order.* Publishes are sent in the order they were accepted. After a loss the unconfirmed ones, and those confirmed
   shortly before (2), go first, again in their original order. A publish gets its serial number when it is sent for
   the first time, so numbers rise in the order of sending, and one that was given up before leaves no gap.
2. *Confirms.* Delivery tag n is the n-th publish of a connection. ``basic.ack`` completes the publisher's Deferred;
   ``basic.nack``, a return (no queue bound) or the end of its time fails it. An ack means that the broker has the
   message, not that every node has it: nodes' queues are transient, and a crash of the broker loses them. Confirmed
   publishes are therefore kept for some seconds more, and sent again if the connection is lost. Those copies are marked
   (``type`` is :data:`AGAIN`), and no publisher waits for their confirms.
3. *Duplicates.* Every copy of number n comes after all lower numbers of its publisher. So one number per publisher is
   enough to recognize a second copy. A marked copy from a publisher never heard before is dropped if it was published
   before this node began to receive: it is old news and not a loss. Messages without a serial, from other AMQP
   clients, are always new.
4. *Gaps.* A number that is left out was lost on its way to us. The node is asked to catch up, at most once per
   :data:`GAP_SECONDS`. Gaps do not count while stopping: a node that stops leaves messages behind.
5. *A fault of one costs no other the connection.* A malformed message is counted and dropped; a receiver that raises is
   logged.

**Why not otherwise?** *A durable queue per node* would lose nothing in an outage, but grow while a node is away, keep
the queues of nodes that never come back, and deliver a late backlog to clients that only want the newest value.
*Waiting for each confirm* before the next publish needs no rules about order, but reaches less than a third of the
rate. *AMQP transactions* are slower still. *Deduplication by message id* needs a set of ids with an age; a number per
publisher is exact. *One connection for both directions* stops receiving when the broker blocks publishers. *Pika's
``TwistedChannel``* has an unbounded queue of received messages, and searches all unconfirmed publishes at each confirm.

For messages that are right at one moment only (``RetryPolicy.outlast`` is False) nothing survives the connection: what
is unconfirmed fails at its loss, and a publish without a connection fails at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import random
from typing import Any

import structlog
from pika.spec import BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, succeed

from fanout.bus.amqp_connection import broker_endpoint
from fanout.bus.amqp_message import AGAIN, DEFAULT_LIMITS, MalformedMessage, MessageLimits, from_amqp, to_amqp
from fanout.bus.broker_settings import DEFAULT_RETRY_POLICY, Broker, BrokerSettings, RetryPolicy, broker
from fanout.bus.connection_pair import Pair
from fanout.bus.duplicates import Seen, Serials
from fanout.bus.interface import BusCounters, BusError, BusState
from fanout.bus.reconnect import ReconnectingClient
from fanout.bus.unconfirmed_publishes import Confirmed, Unconfirmed, UnconfirmedPublish
from fanout.hub.message import Message

log = structlog.get_logger()

# After a long outage everything kept is to be sent; clients wait no longer than this many publishes for their turn.
SEND_AT_ONCE = 500
# A faulty AMQP client must not fill the disk with warnings.
MALFORMED_LOG_SECONDS = 1.0
# What a node may need to log in and bind its queue, once it has tried again.
LOGIN_SECONDS = 1.0
# A queue that overflows loses many messages at a time; one warning and one catch-up are enough for all.
GAP_SECONDS = 1.0


class RabbitMQ:
    """A :class:`~fanout.bus.interface.Bus` over RabbitMQ that connects and reconnects by itself.

    Also a :class:`~fanout.bus.interface.BrokerBus` and a :class:`~fanout.bus.interface.CountedBus`. The head of this
    file explains how it works.

    :param reactor: Twisted's.
    :param endpoint: client endpoint of the broker: TCP or TLS.
    :param limits: of a message.
    :param chance: a number from 0 to 1 for the jitter.
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
        self._client = ReconnectingClient(
            reactor, endpoint, retry_policy, lambda: Pair(reactor, broker, self), user=self, chance=chance
        )
        self._reason = "not started"
        self._blocked = False
        self._stopping = False
        self._drained: Deferred[None] | None = None
        self._age_call: Any = None
        self._send_call: Any = None
        self._settle_call: Any = None
        self._catch_up_call: Any = None
        self._gap_call: Any = None
        self._receiving_since = float("inf")
        self._malformed_logged = float("-inf")

    # Bus

    def start(self, receive: Callable[[Message], None], connected: Callable[[], None]) -> None:
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

    def state(self) -> BusState:
        """See :meth:`Bus.state <fanout.bus.interface.Bus.state>`."""
        return BusState(self.connection is not None and not self._blocked, self._reason, self._unconfirmed.unanswered)

    def stop(self) -> Deferred[None]:
        """See :meth:`Bus.stop <fanout.bus.interface.Bus.stop>`.

        Takes ``retry_policy.stop`` seconds at most, and the time to close the connections.
        """
        if self._stopping:
            return succeed(None)
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    # For the reconnecting client

    def up(self, connection: Pair) -> None:
        """Connected: messages arrive from now on; send what waits."""
        self._reason = self._connected_as()
        self.counters.connects += 1
        log.info(
            "bus.connected",
            exchange=self._broker.exchange,
            queue=connection.hearing.queue,
            waiting=len(self._unconfirmed),
        )
        if self.counters.connects == 1:
            self._receiving_since = self._reactor.seconds()
            self._call(self._connected)
            self._send()
        else:
            self._settle()

    def _settle(self) -> None:
        """Wait until the others receive again before we send; and until they have sent before we ask what we missed."""
        pause = self._client.longest_pause + LOGIN_SECONDS
        self._settle_call = self._reactor.callLater(pause, self._settled)
        self._catch_up_call = self._reactor.callLater(2 * pause, self._call, self._connected)

    def _settled(self) -> None:
        self._settle_call = None
        self._send()

    def down(self) -> None:
        """What was not confirmed has to be sent again, and what was confirmed just before may be lost."""
        self._blocked = False
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
        """Not connected, and why."""
        self._reason = reason
        log.warning("bus.lost", reason=reason, retry_in=round(retry_in, 1), waiting=len(self._unconfirmed))

    @property
    def connection(self) -> Pair | None:
        """See :class:`~fanout.bus.interface.BrokerBus`."""
        return self._client.connection

    def _connected_as(self) -> str:
        return f"connected as {self._broker.name!r}, listening to {self._broker.exchange!r}"

    def _cancel_settling(self) -> None:
        for call in (self._settle_call, self._catch_up_call):
            if call is not None and call.active():
                call.cancel()
        self._settle_call = None

    async def _stop(self) -> None:
        self._cancel_settling()
        self._send()
        await self._drain()
        self._fail(self._unconfirmed.clear(), "the bus is stopped")
        await self._client.stop()
        for call in (self._age_call, self._send_call, self._gap_call):  # Last: until now messages and confirms came.
            if call is not None and call.active():
                call.cancel()
        self._reason = "stopped"

    async def _drain(self) -> None:
        """Wait until all is confirmed, the connection is gone, or the time is over."""
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

    # Publishing

    def _send(self) -> None:
        """Send what waits, in order; if it is much, in several reactor turns."""
        if self._send_call is not None or self._settle_call is not None:
            return
        for _ in range(min(SEND_AT_ONCE, self._unconfirmed.waiting)):
            if self.connection is None or self._blocked or not self.connection.publishing.can_publish:
                return
            publish = self._unconfirmed.send_next()
            if publish.properties.correlation_id is None:  # Not earlier: one that is given up would leave a gap.
                publish.properties.correlation_id = self._serials.next()
            self.connection.publishing.publish(publish.properties, publish.body)
            self.counters.published += 1
        if self._unconfirmed.waiting:
            self._send_call = self._reactor.callLater(0, self._send_more)

    def _send_more(self) -> None:
        self._send_call = None
        self._send()

    def _watch_age(self) -> None:
        """One timer for all: it looks at the oldest publish."""
        if self._age_call is not None:
            return
        deadline = self._unconfirmed.oldest_deadline()
        if deadline is not None:
            self._age_call = self._reactor.callLater(max(0.0, deadline - self._reactor.seconds()), self._expire)

    def _expire(self) -> None:
        self._age_call = None
        late = self._unconfirmed.expire(self._reactor.seconds())
        self._fail(late, f"the broker has not taken it within {self._policy.max_age:g} s ({self._reason})")
        self._watch_age()
        self._check_drained()

    def _fail(self, publishes: list[UnconfirmedPublish], reason: str) -> None:
        for publish in publishes:
            if not publish.done.called:  # One that was sent again had been confirmed before.
                self.counters.failed += 1
                publish.done.errback(BusError(reason))

    # Events of the connections

    def received(self, properties: BasicProperties, body: bytes) -> None:
        """A message is on the bus: from this node, another one, or another AMQP client."""
        self.counters.received += 1
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
            self.counters.duplicates += 1  # We did not miss it: it was published before we began to listen.
            return
        self._call(self._receive, message)

    def _gap(self, messages: int) -> None:
        """Others have published what did not come: while we were away, or too slow, or unbound."""
        if self._stopping:
            return
        before, self.counters.missed = self.counters.missed, self.counters.missed + messages
        if self._gap_call is None:
            self._gap_call = self._reactor.callLater(GAP_SECONDS, self._report_gap, before)

    def _report_gap(self, before: int) -> None:
        self._gap_call = None
        log.warning("bus.gap", messages=self.counters.missed - before, total=self.counters.missed)
        self._catch_up()

    def overflowing(self, waiting: int) -> None:
        """This node is too slow for what is published, and does not get all of it."""
        log.warning("bus.overflowing", waiting=waiting, advice="this node is too slow for what is published")
        self._catch_up()

    def _catch_up(self) -> None:
        """Have the node ask what it missed, unless that is due after a reconnect anyway."""
        if self._catch_up_call is None or not self._catch_up_call.active():
            self._call(self._connected)

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker answers publishes; their publishers are told."""
        now = self._reactor.seconds()
        for publish in self._unconfirmed.confirm(tag, multiple):
            if self._unconfirmed.was_returned(publish):
                self._fail([publish], f"no queue is bound to exchange {self._broker.exchange!r}: no node would get it")
            elif not taken:
                self._fail([publish], "the broker refused it (basic.nack)")
            else:
                self._taken(publish, now)
        self._check_drained()

    def _taken(self, publish: UnconfirmedPublish, now: float) -> None:
        self._confirmed.keep(publish, now)
        if not publish.done.called:
            self.counters.confirmed += 1
            publish.done.callback(None)

    def returned(self, properties: BasicProperties) -> None:
        """The broker found no queue, which cannot happen while ours is bound."""
        self.counters.returned += 1
        self._unconfirmed.mark_returned(str(properties.correlation_id))
        log.warning("bus.returned", exchange=self._broker.exchange)

    def blocked(self, reason: str | None) -> None:
        """The broker is short of memory or disk, and stops reading until it is not."""
        self._blocked = reason is not None
        if reason is not None:
            self._reason = f"the broker takes no messages: {reason}"
            log.warning("bus.blocked", reason=reason)
            return
        self._reason = self._connected_as()
        log.info("bus.unblocked")
        self._send()

    def _malformed(self, error: MalformedMessage) -> None:
        self.counters.malformed += 1
        now = self._reactor.seconds()
        if now - self._malformed_logged >= MALFORMED_LOG_SECONDS:
            self._malformed_logged = now
            log.warning("bus.malformed", reason=str(error), total=self.counters.malformed)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """An error of a receiver must not cost all others the connection."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("bus.receive_failed")


def rabbitmq(
    reactor: Any,
    settings: BrokerSettings,
    name: str,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    limits: MessageLimits = DEFAULT_LIMITS,
) -> RabbitMQ:
    """A bus over the broker of the settings.

    :param name: the name of the connections in the broker's own lists.
    :param limits: of a message.
    :raises CertificateError: RABBITMQ_CA cannot be used.
    """
    return RabbitMQ(reactor, broker_endpoint(reactor, settings), broker(settings, name), retry_policy, limits)
