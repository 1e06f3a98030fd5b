"""The two connections of a node to its broker: one hears, the other publishes. They stand and fall together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults

from fanout.bus.config import Broker
from fanout.bus.connection import AmqpConnection
from fanout.bus.hearing_connection import Consumer, ConsumerConnection
from fanout.bus.publishing_connection import Answered, PublisherConnection


class Events(Consumer, Answered, Protocol):
    """Whom the pair tells what happens."""


class Pair:
    """A broker short of memory or disk reads nothing from a connection that publishes; over the other one the node goes
    on hearing, as RabbitMQ's guide to these alarms advises.

    One ends when the other does, so there is one question only: connected or not. If not, what was on its way is sent
    again over the next pair, and what was missed meanwhile is asked for.

    :ivar lost: fires with the reason, in words, when neither is left.
    """

    def __init__(self, reactor: Any, broker: Broker, events: Events) -> None:
        self.hearing = ConsumerConnection(reactor, replace(broker, name=f"{broker.name} hears"), events)
        self.publishing = PublisherConnection(reactor, replace(broker, name=f"{broker.name} publishes"), events)
        self.lost: Deferred[str] = Deferred()
        self._reason = ""
        self._closing = False
        self.hearing.lost.addCallback(self._half_lost, self.publishing)
        self.publishing.lost.addCallback(self._half_lost, self.hearing)
        both = gatherResults([self.hearing.lost, self.publishing.lost])
        both.addCallback(lambda _: self.lost.callback(self._reason))

    async def open(self, endpoint: Any) -> None:
        """Connect both: first the one that hears, so that no publish finds our own queue missing. No limit in time.

        Raises whatever went wrong.
        """
        await self.hearing.open(endpoint)
        await self.publishing.open(endpoint)
        if self.hearing.lost.called:
            raise ConnectionAbortedError(self._reason)

    def close(self) -> None:
        """Say goodbye, then disconnect; :attr:`lost` fires."""
        self._closing = True
        self.publishing.close()
        self.hearing.close()

    def abort(self, error: BaseException) -> Deferred[str]:
        """Disconnect at once. Returns :attr:`lost`, which fires also if there never was a connection.

        :param error: why; unless they are on their way out for another reason already.
        """
        # The one that could not be opened knows best why; the other follows.
        (self.publishing if self.hearing.is_open else self.hearing).abort(error)
        return self.lost

    @property
    def refused(self) -> bool:
        """Whether the broker does not let us in: trying again soon will not help."""
        return self.hearing.refused or self.publishing.refused

    def _half_lost(self, reason: str, other: AmqpConnection) -> None:
        self._reason = self._reason or reason
        if not self._closing:
            other.abort(ConnectionAbortedError(reason))
