"""Leader election: of all processes with one task in a cluster, one leads and the others stand by.

The lock is an exclusive queue on the broker. AMQP lets one connection declare it, answers all others with
RESOURCE_LOCKED, and deletes it when that connection ends. This gives what a lock for *publishing* needs:

- **Mutual exclusion is the broker's.** There is no lease to renew and no clock to compare. A lock in memcached, the
  obvious other way, expires by time: a leader that was stopped for a while (a virtual machine that moves, a swapping
  host) would go on acting beside its successor.
- **A process that lost the lock cannot publish.** The lock belongs to the connection over which the bus publishes. A
  leader that does not know yet that it was replaced has no connection to publish over.
- **It is free as soon as the broker knows of the holder's end**: at once when its socket closes, after two to three
  heart-beats when the holder is frozen or the network is gone.

States of a :class:`BrokerLeader`:

- *not leading*: before the first :meth:`~BrokerLeader.claim`, while another process has the lock, and from the moment
  the connection is lost, without any event: :attr:`~BrokerLeader.leading` compares the connection of the lock with the
  bus's current one.
- *leading*: the last claim succeeded, and its connection is still the bus's.

:meth:`~BrokerLeader.claim` is called before anything that must not happen twice, and periodically while standing by. It
always asks the broker, also while leading, so a process that was stopped for a while learns that it was replaced. It
costs one channel and two round trips. There is no vote: whichever process claims first after the lock is free has it.

During a partition of the broker's own cluster there can be two locks, as with everything on that broker.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from fanout.bus.amqp_connection import RESOURCE_LOCKED, AmqpChannel, Refusal
from fanout.bus.interface import BrokerBus, BrokerConnection, BrokerConnections, BusError

log = structlog.get_logger(__name__)


async def take_lock(connection: BrokerConnection, name: str) -> bool:
    """Take a lock, or make sure that this connection still has it. Returns whether it has.

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


class Leader(Protocol):
    """Knows whether this process is the one that acts."""

    @property
    def leading(self) -> bool:
        """Whether it was the leader when last asked, and has not lost its connection since then."""

    async def claim(self) -> bool:
        """Become the leader if there is none, and find out for certain whether this process is the leader.

        :raises BusError: it is unknown now.
        """


class Alone:
    """A :class:`Leader` for a process without others beside it."""

    leading = True

    async def claim(self) -> bool:
        """Always True."""
        return True


class BrokerLeader:
    """A :class:`Leader` by a lock on the broker. See the head of this file."""

    def __init__(self, bus: BrokerBus, name: str) -> None:
        """:param name: of the lock; all processes that compete for it use the same."""
        self._bus = bus
        self._name = name
        self._leads_on: BrokerConnections | None = None
        self._standing_by = False

    @property
    def leading(self) -> bool:
        """Whether the lock is ours, as far as we know without asking."""
        return self._leads_on is not None and self._leads_on is self._bus.connection

    async def claim(self) -> bool:
        """Ask the broker for the lock. Changes are logged.

        :raises BusError: there is no connection, the broker has stopped reading, or the connection ended meanwhile.
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
