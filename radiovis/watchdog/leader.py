"""Who acts: of all watchdogs of one cluster, one leads and the others stand by."""

from __future__ import annotations

from typing import Protocol

import structlog

from fanout.bus.amqp_connection import AmqpConnection
from fanout.bus.interface import BusError
from fanout.bus.lock import take_lock
from fanout.bus.rabbitmq import RabbitMQ

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
        self._leads_on: AmqpConnection | None = None
        self._standing_by = False

    @property
    def leading(self) -> bool:
        """Whether the lock is ours, as far as we know without asking."""
        return self._leads_on is not None and self._leads_on is self._bus.connection

    async def claim(self) -> bool:
        """Ask the broker for the lock. What changes is logged.

        :raises BusError: there is no connection, or it ended meanwhile.
        """
        connection = self._bus.connection
        if connection is None:
            raise BusError(self._bus.state().reason)
        taken = await take_lock(connection, self._name)
        if taken and not self.leading:
            log.info("leader.leading", lock=self._name)
        if not taken and not self._standing_by:
            log.info("leader.standing_by", lock=self._name, reason="another fallback.py leads")
        self._standing_by = not taken
        self._leads_on = connection if taken else None
        return self.leading
