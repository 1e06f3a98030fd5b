"""Task 2 of the watchdog: hear the bus, note when each topic was last alive, lead, and keep the log going."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from twisted.internet.defer import Deferred

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Leader
from fanout.hub.message import Message
from radiovis.watchdog.default_messages import is_default
from radiovis.watchdog.log import LogError
from radiovis.watchdog.sources import Keys, Source
from radiovis.watchdog.topic_deadlines import Liveness, Staleness

log = structlog.get_logger(__name__)


class BrokerLiveness:
    """Notes liveness, on standbys too; the one that leads also has the log's source deliver.

    Liveness is taken from what the process's own exclusive queue brings, never from the log's durable queue. So a new
    leader knows at once which topics are alive, and a log that refuses entries makes no living topic look stale.
    """

    def __init__(
        self,
        bus: Bus,
        leader: Leader,
        source: Source,
        staleness: Staleness,
        keys: Keys,
        clock: Callable[[], float],
        promoted: Callable[[], None],
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param promoted: called when this process has become the leader.
        """
        self._bus = bus
        self._leader = leader
        self._source = source
        self._staleness = staleness
        self._keys = keys
        self._clock = clock
        self._promoted = promoted
        self._led = False
        self._deaf = False

    async def check(self) -> None:
        """One round: claim the lead, and begin what should be running and is not.

        :raises BusError: the broker is not there, or does not give us the queue.
        :raises LogError: the log on this machine refuses entries.
        """
        state = self._bus.state()
        if not state.connected or (self._led and not self._leader.leading):
            self._led, self._deaf = False, True  # The lead ends with the connection over which we hear.
        if not self._led:
            self._source.forget()
        if not state.connected:
            raise BusError(state.reason)
        if self._deaf:
            self._deaf = False
            self.heard_again()  # Before we lead: the bus tells us so too, but only when the nodes have caught up.
        if not await self._leader.claim():  # Also while leading: the others hear from a claim that somebody leads.
            return
        if not self._led:
            self._led = True
            self._promoted()
        await self._source.ensure()
        if self._source.trouble:
            raise LogError(f"messages wait in the queue, as the log refuses them: {self._source.trouble}")

    def heard(self, message: Message) -> None:
        """A message came over the bus. The time at which it came counts: publishers' clocks differ."""
        life = Liveness(self._clock(), is_default(message))
        noted = Deferred.fromCoroutine(self._note(message.topic, life))
        noted.addErrback(lambda failure: log.error("liveness.failed", reason=failure.getErrorMessage()))

    async def _note(self, topic: str, life: Liveness) -> None:
        self._staleness.heard(await self._keys.of(topic), life)

    def heard_again(self) -> None:
        """The bus is heard, after a while in which it was not."""
        self._staleness.heard_nothing_until(self._clock())
