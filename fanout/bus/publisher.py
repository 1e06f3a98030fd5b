"""Publishes to an exchange whose messages another program reads from a durable queue, such as monitoring events.

It never delays its caller and never raises an error: without a broker it keeps a limited number of messages.
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

# Messages sent and not confirmed. They bound the memory of the socket's buffer while the broker does not read. A broker
# that reads confirms far more than this number per second.
MAX_SENT = 500

log = structlog.get_logger()


@dataclass(slots=True)
class PublisherCounters:
    """What happened since the start: messages accepted, messages confirmed by the broker, and messages dropped because
    too many were waiting.
    """

    accepted: int = 0
    confirmed: int = 0
    dropped: int = 0


class QueueConnection(PublisherConnection):
    """A publisher's connection that creates a durable queue for the reader if the queue is missing.

    :ivar queue: the queue's name.
    """

    def __init__(self, reactor: Any, broker: Broker, confirms: Confirms, queue: str) -> None:
        super().__init__(reactor, broker, confirms)
        self.queue = queue

    async def _make_ready(self) -> None:
        """An existing queue is used as it is: declaring it with other arguments would fail."""
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
    """Sends messages in order, again if necessary, until the broker has confirmed them. Connects and reconnects by
    itself.

    While there is no broker a limited number of messages is kept; beyond this limit the oldest are dropped. A message
    may arrive twice if the connection is lost before its confirm.

    :param reactor: Twisted's reactor.
    :param endpoint: client endpoint of the broker: TCP or TLS.
    :param queue: name of the durable queue that is bound to the exchange.
    :param retry_policy: ``messages`` and ``octets`` limit what is kept; ``max_age`` has no effect here.
    :param chance: returns a random number from 0 to 1, for the jitter.
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
        """Accept a message. This never fails and never waits; after :meth:`stop` the message is dropped."""
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
        """The current state of the publisher."""
        connected = self._client.connection is not None and not self._blocked
        return BusState(connected, self._reason, len(self._unconfirmed))

    def stop(self) -> Deferred[None]:
        """Send the waiting messages, as far as possible within ``retry_policy.stop`` seconds, and disconnect."""
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
        if self._send_call is not None:  # Only now: until the end a confirm may cause another send.
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
        """Schedule one send per reactor turn, however many messages are published in it."""
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
        """The connection is open: send the waiting messages."""
        self._reason = "connected"
        waiting, dropped = len(self._unconfirmed), self.counters.dropped
        self._log.info("publisher.connected", queue=connection.queue, waiting=waiting, dropped=dropped)
        self._send_soon()

    def down(self) -> None:
        """The connection is lost. Unconfirmed messages are sent again over the next one."""
        self._blocked = False
        self._unconfirmed.connection_lost()
        self._check_drained()

    def lost(self, reason: str, retry_in: float) -> None:
        """There is no connection, for the given reason."""
        self._reason = reason
        if self._throttle.allow("lost"):
            waiting, held_back = len(self._unconfirmed), self._throttle.held_back("lost")
            self._log.warning(
                "publisher.lost", reason=reason, retry_in=round(retry_in, 1), waiting=waiting, held_back=held_back
            )

    # Events of the connection

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker has stored the messages, or refuses them (basic.nack) because it has no room. In the second case
        all are sent again after a reconnect, in order and after a pause, because an immediate retry would only keep the
        broker busy.
        """
        if taken:
            self.counters.confirmed += len(self._unconfirmed.confirm(tag, multiple))
            self._send_soon()
            self._check_drained()
        elif self._client.connection is not None:
            self._client.connection.abort(ConnectionAbortedError("the broker refuses what is published (basic.nack)"))

    def returned(self, properties: BasicProperties) -> None:
        """No queue is bound any more, because it was deleted. A reconnect would not help."""
        if self._throttle.allow("returned"):
            held_back = self._throttle.held_back("returned")
            self._log.warning("publisher.returned", reason="no queue is bound to the exchange", held_back=held_back)

    def blocked(self, reason: str | None) -> None:
        """The broker has become short of memory or disk, or has enough again."""
        self._blocked = reason is not None
        self._reason = f"the broker accepts no messages: {reason}" if reason else "connected"
        self._send_soon()
