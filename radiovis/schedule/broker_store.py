"""Held messages of a cluster lie in a durable queue of the broker: whichever machine's watchdog leads finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from twisted.internet import defer
from twisted.internet.defer import Deferred

from fanout.bus.interface import BrokerBus, BrokerConnection, BusError
from fanout.bus.message import to_amqp
from fanout.bus.queues import ENTRANCE, ConfirmedChannel, Unroutable, WorkItem, WorkQueue
from fanout.hub.message import Message
from radiovis.schedule.held_slides import Take

SECONDS = 10.0
"""A broker that has not confirmed after so long is not well, and a publisher waits for it."""

log = structlog.get_logger(__name__)


class BrokerIntake:
    """A node's intake. It keeps nothing: without a broker nothing is held."""

    def __init__(self, clock: Any, bus: BrokerBus, queue: str) -> None:
        """:param clock: Twisted's reactor."""
        self._clock = clock
        self._bus = bus
        self._queue = queue
        self._channel: ConfirmedChannel | None = None
        self._turn = defer.DeferredLock()

    def hold(self, message: Message) -> Deferred[None]:
        """Keep a message; the broker has it on its disk then. A cancellation is taken also where there is no room."""
        held = Deferred.fromCoroutine(self._hold(message))
        return held.addTimeout(SECONDS, self._clock, _late).addErrback(_lost, message)

    async def _hold(self, message: Message) -> None:
        try:
            properties, body = to_amqp(message)
        except ValueError as error:
            raise BusError(str(error)) from None
        channel = await self._open()
        try:
            await channel.publish(ENTRANCE if message.body else "", self._queue, properties, body)
        except Unroutable:
            if message.body:  # Where nothing was ever held there is nothing to cancel.
                raise BusError(
                    "nobody holds it: SCHEDULE_MAX are held already, or no fallback.py runs with SCHEDULE = server"
                ) from None

    async def _open(self) -> ConfirmedChannel:
        """The channel; one, however many ask for it at the same time. Publishes keep their order."""
        await self._turn.acquire()
        try:
            if self._channel is None or not self._channel.is_open:
                self._channel = await ConfirmedChannel.open(_connection(self._bus))
            return self._channel
        finally:
            self._turn.release()


class BrokerSlideStore:
    """A watchdog's store: reads the queue over the connection it leads on."""

    def __init__(self, clock: Any, bus: BrokerBus, queue: str) -> None:
        """:param clock: Twisted's reactor."""
        self._clock = clock
        self._bus = bus
        self._name = queue
        self._queue: WorkQueue | None = None

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Read the queue. :raises BusError: the broker is not there, or does not give us the queue."""
        if self._queue is None:

            def took(kept: WorkItem) -> None:
                take(kept.message, kept.ticket)

            self._queue = WorkQueue(self._clock, self._name, took, forget)
        await self._queue.ensure(_connection(self._bus), room=room)

    def done(self, ticket: int) -> None:
        """The broker may drop it."""
        if self._queue is not None:
            self._queue.done(ticket)

    async def stop(self) -> None:
        """Leave all to the next one."""
        if self._queue is not None:
            self._queue.close()


def _connection(bus: BrokerBus) -> BrokerConnection:
    if bus.connection is None:
        raise BusError(bus.state().reason)
    return bus.connection.publishing


def _late(_: object, seconds: float) -> None:
    raise BusError(f"the broker has not confirmed it within {seconds:g} s")


def _lost(failure: Any, message: Message) -> Any:
    """Its publisher may not have asked for a receipt."""
    log.warning("schedule.not_held", topic=message.topic, reason=failure.getErrorMessage())
    return failure
