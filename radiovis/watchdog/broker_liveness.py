"""Task 2 of the watchdog: hear everything, note when each topic was last alive, and log it."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from twisted.internet.defer import Deferred

from fanout.bus.interface import Bus, BusError
from fanout.bus.leader import Leader
from fanout.hub.message import Message
from radiovis.watchdog.defaults import is_default
from radiovis.watchdog.log import LogError
from radiovis.watchdog.sources import Keys, Source
from radiovis.watchdog.staleness import Liveness, Staleness

log = structlog.get_logger(__name__)


class BrokerLiveness:
    """Hears the bus, and keeps its log.

    Life is noted from what the node's own queue brings, on standbys too: so a new leader knows at once who was alive,
    and a log that is full, which stops the durable queue, makes no live topic look silent.
    """

    def __init__(
        self,
        bus: Bus,
        leader: Leader,
        source: Source,
        silence: Staleness,
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
        self._silence = silence
        self._keys = keys
        self._clock = clock
        self._promoted = promoted
        self._led = False
        self._deaf = False

    async def check(self) -> None:
        """One round: is everything that should be going on going on? What is not is begun.

        :raises BusError: the broker is not there, or does not give us the queue.
        :raises LogError: the log refuses entries.
        """
        state = self._bus.state()
        if not state.connected or (self._led and not self._leader.leading):
            self._led, self._deaf = False, True  # The lead ends with the connection over which we hear.
        if not state.connected:
            raise BusError(state.reason)
        if self._deaf:
            self._deaf = False
            self.heard_again()  # Before we lead: the bus tells us so too, but only when the nodes have caught up.
        if not self._leader.leading and not await self._leader.claim():
            return
        if not self._led:
            self._led = True
            self._promoted()
        await self._source.ensure()
        if self._source.trouble:
            raise LogError(f"messages wait in the queue, as the log refuses them: {self._source.trouble}")

    def heard(self, message: Message) -> None:
        """A message came over the bus. What counts is when it came, not what its publisher says: clocks differ."""
        life = Liveness(self._clock(), is_default(message))
        noted = Deferred.fromCoroutine(self._note(message.topic, life))
        noted.addErrback(lambda failure: log.error("liveness.failed", reason=failure.getErrorMessage()))

    async def _note(self, topic: str, life: Liveness) -> None:
        self._silence.heard(await self._keys.of(topic), life)

    def heard_again(self) -> None:
        """The bus is heard, after a while in which it was not."""
        self._silence.heard_nothing_until(self._clock())
