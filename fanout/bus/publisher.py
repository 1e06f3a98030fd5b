"""Publishing to an exchange whose messages another program reads from a durable queue, such as monitoring events.

It never delays or fails its caller: while there is no broker a bounded number of messages is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Any

import structlog
from pika.exceptions import ChannelClosedByBroker
from pika.spec import BasicProperties
from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed

from fanout.bus.amqp_connection import NOT_FOUND
from fanout.bus.broker_settings import Broker, RetryPolicy
from fanout.bus.connection_pair import Confirms, PublisherConnection
from fanout.bus.interface import BusError, BusState
from fanout.bus.reconnect import ReconnectingClient
from fanout.bus.unconfirmed_publishes import Unconfirmed
from fanout.process.logs import Throttle

# What a broker that has stopped reading may cost in the socket's buffer; it confirms far more than that per second.
MAX_SENT = 500

log = structlog.get_logger()


@dataclass(slots=True)
class PublisherCounters:
    """What happened since the start: messages accepted, confirmed by the broker, dropped because too many waited."""

    accepted: int = 0
    confirmed: int = 0
    dropped: int = 0


class QueueConnection(PublisherConnection):
    """A publisher's connection that makes sure of a durable queue for the reader.

    :ivar queue: its name.
    """

    def __init__(self, reactor: Any, broker: Broker, confirms: Confirms, queue: str) -> None:
        super().__init__(reactor, broker, confirms)
        self.queue = queue

    async def _make_ready(self) -> None:
        """A queue that exists is used as it is: declaring it again with other arguments would fail."""
        await super()._make_ready()
        channel = await self._open_channel()
        try:
            await self._call(channel.queue_declare, queue=self.queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            channel = await self._open_channel()
            await self._call(channel.queue_declare, queue=self.queue, durable=True)
        await self._call(channel.queue_bind, queue=self.queue, exchange=self._broker.exchange, routing_key="")


class Publisher:
    """Sends messages in order until the broker has confirmed them; connects and reconnects by itself.

    While there is no broker a bounded number of messages is kept; beyond it the oldest are dropped. A message may
    arrive twice, when the connection is lost before its confirm.

    :param reactor: Twisted's.
    :param endpoint: client endpoint of the broker: TCP or TLS.
    :param queue: name of the durable queue that is bound to the exchange.
    :param retry_policy: its ``messages`` and ``octets`` bound what is kept; its ``max_age`` does not matter here.
    :param chance: a number from 0 to 1 for the jitter.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: Any,
        broker: Broker,
        queue: str,
        retry_policy: RetryPolicy,
        chance: Callable[[], float] = random,
    ) -> None:
        self.counters = PublisherCounters()
        self._reactor = reactor
        self._policy = retry_policy
        self._unconfirmed = Unconfirmed(retry_policy.messages, retry_policy.octets, float("inf"))
        self._client = ReconnectingClient(
            reactor, endpoint, retry_policy, lambda: QueueConnection(reactor, broker, self, queue), self, chance
        )
        self._log = log.bind(exchange=broker.exchange)
        self._throttle = Throttle(reactor.seconds)
        self._reason = "not started"
        self._blocked = False
        self._stopping = False
        self._send_call: Any = None
        self._drained: Deferred[None] | None = None

    def start(self) -> None:
        """Connect, and stay connected until :meth:`stop`."""
        self._reason = "connecting"
        self._client.start()

    def publish(self, properties: BasicProperties, body: bytes) -> None:
        """Take a message. Never fails and never waits; after :meth:`stop` it is dropped."""
        self.counters.accepted += 1
        while not self._stopping:
            try:
                self._unconfirmed.add(properties, body, self._reactor.seconds())
            except BusError:
                if not self._unconfirmed.drop_oldest():
                    break
                self._dropped()
            else:
                self._send_soon()
                return
        self._dropped()

    def state(self) -> BusState:
        """How it is doing right now."""
        connected = self._client.connection is not None and not self._blocked
        return BusState(connected, self._reason, len(self._unconfirmed))

    def stop(self) -> Deferred[None]:
        """Send what waits, as far as possible within ``retry_policy.stop``, and disconnect."""
        if self._stopping:
            return succeed(None)
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._client.connection is not None and len(self._unconfirmed):
            self._drained = Deferred()
            self._drained.addTimeout(self._policy.stop, self._reactor)
            try:
                await self._drained
            except defer.TimeoutError:
                self._log.warning("publisher.unsent_at_stop", waiting=len(self._unconfirmed))
        self._unconfirmed.clear()
        await self._client.stop()
        if self._send_call is not None:  # Not earlier: a confirm may come, and ask to send more, until the very end.
            self._send_call.cancel()
        self._reason = "stopped"

    def _dropped(self) -> None:
        self.counters.dropped += 1
        if not self._stopping and self._throttle.allow("dropped"):
            held_back = self._throttle.held_back("dropped")
            total = self.counters.dropped
            self._log.warning("publisher.dropped", reason=self._reason, total=total, held_back=held_back)

    # Sending

    def _send_soon(self) -> None:
        """Once per reactor turn, however many are given."""
        if self._send_call is None and self._client.connection is not None:
            self._send_call = self._reactor.callLater(0, self._send)

    def _send(self) -> None:
        self._send_call = None
        connection = self._client.connection
        if connection is None or self._blocked:
            return
        while self._unconfirmed.waiting and self._unconfirmed.sent < MAX_SENT and connection.can_publish:
            publish = self._unconfirmed.send_next(self._reactor.seconds())
            connection.publish(publish.properties, publish.body)

    def _check_drained(self) -> None:
        done = self._client.connection is None or not len(self._unconfirmed)
        if done and self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    # For the reconnecting client

    def up(self, connection: QueueConnection) -> None:
        """Connected: send what waits."""
        self._reason = "connected"
        waiting, dropped = len(self._unconfirmed), self.counters.dropped
        self._log.info("publisher.connected", queue=connection.queue, waiting=waiting, dropped=dropped)
        self._send_soon()

    def down(self) -> None:
        """What was not confirmed is sent again over the next connection."""
        self._blocked = False
        self._unconfirmed.connection_lost()
        self._check_drained()

    def lost(self, reason: str, retry_in: float) -> None:
        """Not connected, and why."""
        self._reason = reason
        if self._throttle.allow("lost"):
            waiting, held_back = len(self._unconfirmed), self._throttle.held_back("lost")
            self._log.warning(
                "publisher.lost", reason=reason, retry_in=round(retry_in, 1), waiting=waiting, held_back=held_back
            )

    # Events of the connection

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker has stored them. If it refuses (basic.nack) it has no room: all are sent again after a reconnect,
        in order and after a pause, as trying at once would only keep it busy.
        """
        if taken:
            self.counters.confirmed += len(self._unconfirmed.confirm(tag, multiple))
            self._send_soon()
            self._check_drained()
        elif self._client.connection is not None:
            self._client.connection.abort(ConnectionAbortedError("the broker refuses what is published (basic.nack)"))

    def returned(self, properties: BasicProperties) -> None:
        """No queue is bound any more: it was deleted. That is not worth a reconnect."""
        if self._throttle.allow("returned"):
            held_back = self._throttle.held_back("returned")
            self._log.warning("publisher.returned", reason="no queue is bound to the exchange", held_back=held_back)

    def blocked(self, reason: str | None) -> None:
        """The broker is short of memory or disk, or has some again."""
        self._blocked = reason is not None
        self._reason = f"the broker takes no messages: {reason}" if reason else "connected"
        self._send_soon()
