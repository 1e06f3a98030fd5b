"""The bus of a cluster: a fan-out exchange of RabbitMQ that all nodes and devices share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Any

import structlog
from pika.spec import BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, succeed

from fanout.bus.config import DEFAULT_RETRY_POLICY, Broker, RetryPolicy, broker, broker_endpoint, retry_policy
from fanout.bus.interface import BusError, BusState
from fanout.bus.message import DEFAULT_LIMITS, MalformedMessage, MessageLimits, from_amqp, to_amqp
from fanout.bus.pair import Pair
from fanout.bus.reconnect import ReconnectingClient
from fanout.bus.serial import Seen, Serials
from fanout.bus.unconfirmed import Confirmed, Publish, Unconfirmed
from fanout.hub.message import Message
from fanout.settings import BrokerSettings

log = structlog.get_logger()

# After a long outage the whole outbox is to be sent; radios wait no longer than this many publishes for their turn.
SEND_AT_ONCE = 500
# A device gone mad must not fill the disk with what we think of it.
MALFORMED_LOG_SECONDS = 1.0
# What a node may need to log in and bind its queue, once it has tried again.
LOGIN_SECONDS = 1.0
# A queue that overflows loses many at a time; one line and one look at the last slides do for all.
GAP_SECONDS = 1.0
# AMQP property ``type`` of a copy of what was confirmed before.
AGAIN = "again"


@dataclass(slots=True)
class BusCounters:
    """What happened since the start. A duplicate is a second copy, dropped; a returned publish found no queue;
    a missed message was lost on its way to us, or given up by its publisher.
    """

    connects: int = 0
    received: int = 0
    malformed: int = 0
    duplicates: int = 0
    published: int = 0
    confirmed: int = 0
    failed: int = 0
    returned: int = 0
    missed: int = 0


class RabbitMQ:
    """A :class:`~fanout.bus.interface.Bus` over RabbitMQ that connects, and connects again, by itself.

    Publishes are sent without waiting for the confirms of earlier ones. Those made while there is no connection, those
    a lost connection left unconfirmed, and those confirmed shortly before are sent after the reconnect, in order;
    receivers drop second copies. As the broker keeps nothing for a node that is not connected, publishing begins again
    only when the other nodes had time to come back too.

    :param reactor: Twisted's.
    :param endpoint: client endpoint of the broker: TCP or TLS.
    :param limits: of a message that comes from the broker.
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
        self._patience = retry_policy
        self._limits = limits
        self._unconfirmed = Unconfirmed(retry_policy.messages, retry_policy.octets, retry_policy.max_age)
        resend = retry_policy.resend if retry_policy.outlast else 0.0
        self._confirmed = Confirmed(resend, retry_policy.messages // 10, retry_policy.octets // 10)
        self._serials = Serials()
        self._seen = Seen()
        self._link = ReconnectingClient(
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
        self._heard_since = float("inf")
        self._malformed_logged = float("-inf")

    # Bus

    def start(self, receive: Callable[[Message], None], connected: Callable[[], None]) -> None:
        """See :meth:`Bus.start <fanout.bus.interface.Bus.start>`."""
        self._receive = receive
        self._connected = connected
        self._reason = "connecting"
        self._link.start()

    def publish(self, message: Message) -> Deferred[None]:
        """See :meth:`Bus.publish <fanout.bus.interface.Bus.publish>`."""
        if self._stopping:
            return fail(BusError("the bus is stopped"))
        if not self._patience.outlast and self.connection is None:
            return fail(BusError(self._reason))
        try:
            properties, body = to_amqp(message)
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
        """See :meth:`Bus.stop <fanout.bus.interface.Bus.stop>`. Takes ``retry_policy.stop`` and a goodbye at most."""
        if self._stopping:
            return succeed(None)
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    # The link's user

    def up(self, connection: Pair) -> None:
        """Connected: begin to hear, and send what waits."""
        self._reason = self._connected_as()
        self.counters.connects += 1
        log.info(
            "bus.connected",
            exchange=self._broker.exchange,
            queue=connection.hearing.queue,
            waiting=len(self._unconfirmed),
        )
        if self.counters.connects == 1:
            self._heard_since = self._reactor.seconds()
            self._guarded(self._connected)
            self._send()
        else:
            self._settle()

    def _settle(self) -> None:
        """Give the others time to hear again before we send; and them time to send before we ask what we missed."""
        pause = self._link.longest_pause + LOGIN_SECONDS
        self._settle_call = self._reactor.callLater(pause, self._settled)
        self._catch_up_call = self._reactor.callLater(2 * pause, self._guarded, self._connected)

    def _settled(self) -> None:
        self._settle_call = None
        self._send()

    def down(self) -> None:
        """What was not confirmed has to be sent again, and what was confirmed just before may be lost."""
        self._blocked = False
        self._cancel_settling()
        if self._patience.outlast:
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
        """The connections of this moment, for what else there is to ask the broker; None without one."""
        return self._link.connection

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
        for call in (self._age_call, self._send_call, self._gap_call):
            if call is not None and call.active():
                call.cancel()
        await self._link.stop()
        self._reason = "stopped"

    async def _drain(self) -> None:
        """Wait until all is confirmed, the connection is gone, or patience is at its end."""
        if self.connection is None or not len(self._unconfirmed):
            return
        self._drained = Deferred()
        self._drained.addTimeout(self._patience.stop, self._reactor)
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
        """Send what waits, in order; much of it in several reactor turns."""
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
        self._fail(late, f"the broker has not taken it within {self._patience.max_age:g} s ({self._reason})")
        self._watch_age()
        self._check_drained()

    def _fail(self, publishes: list[Publish], reason: str) -> None:
        for publish in publishes:
            if not publish.done.called:  # One that was sent again had been confirmed before.
                self.counters.failed += 1
                publish.done.errback(BusError(reason))

    # Events of the connections

    def received(self, properties: BasicProperties, body: bytes) -> None:
        """A message is on the bus: ours, another node's or a device's."""
        self.counters.received += 1
        first_heard = properties.type == AGAIN and not self._seen.knows(properties.correlation_id)
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
        if first_heard and time.time() - message.when > self._reactor.seconds() - self._heard_since:
            self.counters.duplicates += 1  # We did not miss it: it was published before we began to listen.
            return
        self._guarded(self._receive, message)

    def _gap(self, messages: int) -> None:
        """Others have published what did not come: while we were away, or too slow, or unbound."""
        before, self.counters.missed = self.counters.missed, self.counters.missed + messages
        if self._gap_call is None:
            self._gap_call = self._reactor.callLater(GAP_SECONDS, self._mind_gap, before)

    def _mind_gap(self, before: int) -> None:
        self._gap_call = None
        log.warning("bus.gap", messages=self.counters.missed - before, total=self.counters.missed)
        self._catch_up()

    def overflowing(self, waiting: int) -> None:
        """We are too slow for what is published, and do not get all of it."""
        log.warning("bus.overflowing", waiting=waiting, advice="this node is too slow for what is published")
        self._catch_up()

    def _catch_up(self) -> None:
        """Have the node ask what it missed, unless that is about to be done after a reconnect."""
        if self._catch_up_call is None or not self._catch_up_call.active():
            self._guarded(self._connected)

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker answers for publishes; their publishers are told."""
        now = self._reactor.seconds()
        for publish in self._unconfirmed.confirm(tag, multiple):
            if self._unconfirmed.was_returned(publish):
                self._fail([publish], f"no queue is bound to exchange {self._broker.exchange!r}: nobody would get it")
            elif not taken:
                self._fail([publish], "the broker refused it (basic.nack)")
            else:
                self._taken(publish, now)
        self._check_drained()

    def _taken(self, publish: Publish, now: float) -> None:
        self._confirmed.keep(publish, now)
        if not publish.done.called:
            self.counters.confirmed += 1
            publish.done.callback(None)

    def returned(self, properties: BasicProperties) -> None:
        """The broker found no queue, which cannot be while ours exists."""
        self.counters.returned += 1
        self._unconfirmed.mark_returned(str(properties.correlation_id))
        log.warning("bus.returned", exchange=self._broker.exchange)

    def blocked(self, reason: str | None) -> None:
        """The broker is short of memory or disk, and takes nothing until it has some again."""
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

    def _guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        """A receiver's fault must not cost all others the connection."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("bus.receive_failed")


def rabbitmq(reactor: Any, settings: BrokerSettings, name: str) -> RabbitMQ:
    """The broker all nodes share.

    :param name: how the connections are called in the broker's own lists.
    :raises CertificateError: RABBITMQ_CA cannot be used.
    """
    return RabbitMQ(reactor, broker_endpoint(reactor, settings), broker(settings, name), retry_policy(settings))
