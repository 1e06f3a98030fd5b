"""Task 2 of the watchdog: receive from the bus, note when each topic was last alive, claim the lead, and feed the
log.
"""

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
    """Notes when each topic was last alive, on standbys too. The leader also starts the source of log entries.

    Liveness comes from the process's own exclusive queue, never from the durable queue of the log. So a new leader
    knows at once which topics are alive, and a log that refuses entries does not make a living topic look stale.
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
        :param bus: the bus of this process.
        :param leader: the election.
        :param source: the source of log entries.
        :param staleness: gets the liveness of topics.
        :param keys: finds canonical topics.
        :param clock: a clock in seconds.
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
        """One round: claim the lead, and start everything that should be running and is not.

        :raises BusError: there is no connection to the broker, or the broker refuses the queue.
        :raises LogError: the log on this machine refuses entries.
        """
        state = self._bus.state()
        if not state.connected or (self._led and not self._leader.leading):
            self._led, self._deaf = False, True  # The lead ends with the connection.
        if not self._led:
            self._source.forget()
        if not state.connected:
            raise BusError(state.reason)
        if self._deaf:
            self._deaf = False
            self.heard_again()  # Before the claim: the bus calls it later, after catching up.
        if not await self._leader.claim():  # Also while leading: the heart-beat informs standbys.
            return
        if not self._led:
            self._led = True
            self._promoted()
        await self._source.ensure()
        if self._source.trouble:
            raise LogError(f"messages wait in the queue, because the log refuses them: {self._source.trouble}")

    def heard(self, message: Message) -> None:
        """A message was received over the bus. The time of receipt counts, because the clocks of publishers differ."""
        life = Liveness(self._clock(), is_default(message))
        noted = Deferred.fromCoroutine(self._note(message.topic, life))
        noted.addErrback(lambda failure: log.error("liveness.failed", reason=failure.getErrorMessage()))

    async def _note(self, topic: str, life: Liveness) -> None:
        self._staleness.heard(await self._keys.of(topic), life)

    def heard_again(self) -> None:
        """The bus is received again after an interruption."""
        self._staleness.heard_nothing_until(self._clock())
