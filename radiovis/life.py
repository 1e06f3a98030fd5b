"""A node's life: in which order its parts start and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall

from fanout.bus.interface import Bus
from fanout.cache.memcached import Memcached
from fanout.doors.entrance import Entrance
from fanout.drain import Drain
from fanout.guests import Guest
from radiovis.admin import Admin
from radiovis.directory.stations_file import StationsFile
from radiovis.hearing import Hearing
from radiovis.last_slides import LastSlides
from radiovis.listeners import Listeners
from radiovis.monitoring import Monitoring
from radiovis.watchdog.app import Watchdog


@dataclass(frozen=True, slots=True)
class Life:
    """What there is to start and to stop; None for what this node does without.

    :ivar inherited: the descriptor of a socket the operators' listener takes; None to open one.
    :ivar loops: functions to be called, each with the seconds in between.
    """

    reactor: Any
    log: Any
    bus: Bus
    hearing: Hearing
    listeners: Listeners
    entrance: Entrance
    drain: Drain
    last_slides: LastSlides
    memcached: Memcached | None
    monitoring: Monitoring | None
    stations: StationsFile | None
    watchdog: Watchdog | None
    admin: Admin | None
    inherited: int | None
    guests: Sequence[Guest]
    loops: Sequence[tuple[Callable[[], None], float]]
    running: list[LoopingCall] = field(default_factory=list)

    def start(self) -> None:
        """Listen, and begin to hear the bus.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        self._listen()
        if self.monitoring is not None:
            self.monitoring.start()
        self.hearing.start(self.bus)
        if self.watchdog is not None:
            self.watchdog.start()
        if self.stations is not None:
            self.stations.start()
        self.entrance.start()
        for function, interval in self.loops:
            loop = LoopingCall(function)
            loop.clock = self.reactor
            loop.start(interval)
            self.running.append(loop)

    def _listen(self) -> None:
        addresses = self.listeners.open()
        for guest in self.guests:
            addresses |= guest.start()
        if self.admin is not None and (address := self.admin.start(self.inherited)):
            addresses["admin"] = address
        # Not before the reactor runs: a SIGTERM that came in between would find no handler.
        self.reactor.callWhenRunning(self.log.info, "server.ready", **addresses)

    async def stop(self) -> None:
        """Take no more clients, let those here go, have the bus take what is on its way; returns when all is done."""
        if self.admin is not None:
            self.admin.drain()
        closing = [*self.listeners.close(), *(guest.stop() for guest in self.guests)]
        await self.drain.leave()
        if self.stations is not None:
            self.stations.stop()
        self.entrance.stop()
        if self.watchdog is not None:
            closing.append(Deferred.fromCoroutine(self.watchdog.stop()))
        await DeferredList([*closing, self.bus.stop()], consumeErrors=True)
        await self.drain.gone()
        for loop in self.running:
            loop.stop()
        await self.last_slides.write()
        for part in (self.memcached, self.monitoring, self.admin):
            if part is not None:
                stopped: Awaitable[Any] = part.stop()
                await stopped
        self.log.info("server.stopped")
