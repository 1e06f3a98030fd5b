"""Who acts: of all watchdogs of one cluster, one leads and the others stand by."""

from __future__ import annotations

from typing import Protocol

import structlog

from fanout.bus.amqp_channel import AmqpChannel, Refusal
from fanout.bus.connection import AmqpConnection
from fanout.bus.interface import BusError
from fanout.bus.pair import Pair
from fanout.bus.rabbitmq import RabbitMQ

# A lock on the broker: an exclusive queue, which one connection can have and which goes when that connection goes.

RESOURCE_LOCKED = 405  # AMQP 0-9-1, 1.2 "reply-code".


async def take_lock(connection: AmqpConnection, name: str) -> bool:
    """Take a lock, or make sure that it is still ours: whether this connection has it.

    The answer is the broker's and not a memory of ours, so it also tells a process that was stopped for a while that
    somebody else has taken over. A dead holder's lock is free as soon as the broker has noticed: at once when its
    socket closes, after two to three heart-beats when it is frozen or the network is gone.

    :param name: the lock's name; the broker lists it as a queue.
    :raises BusError: the broker refuses, or the connection is lost.
    """
    channel = await AmqpChannel.open(connection)
    try:
        await channel.ask("queue_declare", queue=name, exclusive=True)
    except Refusal as refusal:
        if refusal.code != RESOURCE_LOCKED:
            raise
        return False
    channel.close()
    return True


log = structlog.get_logger(__name__)


class Leader(Protocol):
    """Knows whether this process is the one that acts."""

    @property
    def leading(self) -> bool:
        """Whether it was when last asked, and has lost its connection since then not."""

    async def claim(self) -> bool:
        """Become the leader if there is none, and find out for certain whether we are it.

        :raises BusError: nobody can tell now.
        """


class Alone:
    """A :class:`Leader` with nobody beside it."""

    leading = True

    async def claim(self) -> bool:
        """Always."""
        return True


class BrokerLeader:
    """A :class:`Leader` by a lock on the broker, which ends with the connection everything else goes over, too."""

    def __init__(self, bus: RabbitMQ, name: str) -> None:
        """:param name: of the lock; all watchdogs of one cluster use the same."""
        self._bus = bus
        self._name = name
        self._leads_on: Pair | None = None
        self._standing_by = False

    @property
    def leading(self) -> bool:
        """Whether the lock is ours, as far as we know without asking."""
        return self._leads_on is not None and self._leads_on is self._bus.connection

    async def claim(self) -> bool:
        """Ask the broker for the lock. What changes is logged.

        The lock is that of the connection that publishes: whoever has lost it can no longer publish either.

        :raises BusError: there is no connection, the broker reads nothing for now, or the connection ended meanwhile.
        """
        connection, state = self._bus.connection, self._bus.state()
        if connection is None or not state.connected:
            raise BusError(state.reason)
        taken = await take_lock(connection.publishing, self._name)
        if taken and not self.leading:
            log.info("leader.leading", lock=self._name)
        if not taken and not self._standing_by:
            log.info("leader.standing_by", lock=self._name, reason="another fallback.py leads")
        self._standing_by = not taken
        self._leads_on = connection if taken else None
        return self.leading
