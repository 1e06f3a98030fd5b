"""Held messages of a cluster, in a durable queue of the broker, where the leading watchdog finds them.

A node writes them with :class:`BrokerIntake`, the watchdog reads them with :class:`BrokerSlideStore`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.bus.amqp_message import DEFAULT_LIMITS, MessageLimits, to_amqp
from fanout.bus.interface import BrokerBus, BrokerConnection, BusError
from fanout.bus.queues import WORK_EXCHANGE, ConfirmedChannel, Unroutable, WorkItem, WorkQueue
from fanout.hub.message import Message
from fanout.process.logs import Throttle
from radiovis.schedule.held_slides import MOST_HELD, Take

SECONDS = 10.0
"""Seconds within which the broker must confirm, because a publisher waits."""

log = structlog.get_logger(__name__)


class BrokerIntake:
    """A node's intake. It stores nothing itself: without a broker no message can be held."""

    def __init__(self, clock: Any, bus: BrokerBus, queue: str, limits: MessageLimits = DEFAULT_LIMITS) -> None:
        """
        :param clock: Twisted's reactor.
        :param bus: the bus whose connections are used.
        :param queue: name of the queue.
        :param limits: the limits of a message.
        """
        self._clock = clock
        self._bus = bus
        self._queue = queue
        self._limits = limits
        self._channel: ConfirmedChannel | None = None
        self._lock = defer.DeferredLock()
        self._throttle = Throttle(clock.seconds)

    def hold(self, message: Message) -> Deferred[None]:
        """Hold a message. The Deferred fires when the broker has it on disk. A cancellation needs no room."""
        held = Deferred.fromCoroutine(self._hold(message))
        return held.addTimeout(SECONDS, self._clock, _late).addErrback(self._not_held, message)

    def _not_held(self, failure: Failure, message: Message) -> Failure:
        """Log it: the publisher may not have asked for a receipt."""
        reason = failure.getErrorMessage()
        if self._throttle.allow(reason):
            held_back = self._throttle.held_back(reason)
            log.warning("schedule.not_held", topic=message.topic, reason=reason, held_back=held_back)
        return failure

    async def _hold(self, message: Message) -> None:
        try:
            properties, body = to_amqp(message, self._limits)
        except ValueError as error:
            raise BusError(str(error)) from None
        channel = await self._open()
        try:
            await channel.publish(WORK_EXCHANGE if message.body else "", self._queue, properties, body)
        except Unroutable:
            if message.body:  # Without a held message there is nothing to cancel.
                raise BusError(
                    f"it is not held: {MOST_HELD} are held already, or no fallback.py runs with SCHEDULE = server"
                ) from None

    async def _open(self) -> ConfirmedChannel:
        """The channel. All callers share it, so that publishes keep their order."""
        await self._lock.acquire()
        try:
            if self._channel is None or not self._channel.is_open:
                self._channel = await ConfirmedChannel.open(_connection(self._bus))
            return self._channel
        finally:
            self._lock.release()


class BrokerSlideStore:
    """A watchdog's store: reads the queue over the connection of the lead."""

    def __init__(self, clock: Any, bus: BrokerBus, queue: str, limits: MessageLimits = DEFAULT_LIMITS) -> None:
        """
        :param clock: Twisted's reactor.
        :param bus: the bus whose connections are used.
        :param queue: name of the queue.
        :param limits: the limits of a message.
        """
        self._clock = clock
        self._bus = bus
        self._name = queue
        self._limits = limits
        self._queue: WorkQueue | None = None

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Read the queue.

        :raises BusError: the broker does not answer, or refuses the queue.
        """
        if self._queue is None:

            def took(kept: WorkItem) -> None:
                take(kept.message, kept.ticket)

            self._queue = WorkQueue(self._clock, self._name, took, forget, self._limits)
        await self._queue.ensure(_connection(self._bus), room=room)

    def done(self, ticket: int) -> None:
        """Let the broker drop a message."""
        if self._queue is not None:
            self._queue.done(ticket)

    async def stop(self) -> None:
        """Stop reading, and leave all messages to the next leader."""
        if self._queue is not None:
            self._queue.close()


def _connection(bus: BrokerBus) -> BrokerConnection:
    if bus.connection is None:
        raise BusError(bus.state().reason)
    return bus.connection.publishing


def _late(_: object, seconds: float) -> None:
    raise BusError(f"the broker did not confirm it within {seconds:g} s")
