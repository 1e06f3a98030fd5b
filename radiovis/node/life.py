"""A node's life: in which order its parts start and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall

from radiovis.admin.listener import Admin
from radiovis.events import MonitoringEvents
from radiovis.node.consumer import BusConsumer
from radiovis.node.listeners import Listeners
from radiovis.node.sides import Core, Servers, Stations


@dataclass(frozen=True, slots=True)
class Life:
    """What there is to start and to stop; None for what this node does without.

    :ivar loops: functions to be called, each with the seconds in between.
    """

    reactor: Any
    log: Any
    core: Core
    stations: Stations
    doors: Servers
    monitoring: MonitoringEvents | None
    consumer: BusConsumer
    listeners: Listeners
    admin: Admin | None
    loops: Sequence[tuple[Callable[[], None], float]]
    running: list[LoopingCall] = field(default_factory=list)

    def start(self) -> None:
        """Listen, and begin to hear the bus.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        self._listen()
        if self.monitoring is not None:
            self.monitoring.start()
        self.consumer.start(self.core.bus)
        if self.stations.watchdog is not None:
            self.stations.watchdog.start()
        if self.stations.file is not None:
            self.stations.file.start()
        self.doors.entrance.start()
        for function, interval in self.loops:
            loop = LoopingCall(function)
            loop.clock = self.reactor
            loop.start(interval)
            self.running.append(loop)

    def _listen(self) -> None:
        addresses = self.listeners.open()
        for guest in self.core.guests:
            addresses |= guest.start()
        if self.admin is not None:
            addresses |= self.admin.start()
        # Not before the reactor runs: a SIGTERM that came in between would find no handler.
        self.reactor.callWhenRunning(self.log.info, "server.ready", **addresses)

    async def stop(self) -> None:
        """Take no more clients, let those here go, have the bus take what is on its way; returns when all is done."""
        if self.admin is not None:
            self.admin.drain()
        closing = [*self.listeners.close(), *(guest.stop() for guest in self.core.guests)]
        await self.doors.drain.leave()
        if self.stations.file is not None:
            self.stations.file.stop()
        self.doors.entrance.stop()
        if self.stations.watchdog is not None:
            closing.append(Deferred.fromCoroutine(self.stations.watchdog.stop()))
        await DeferredList([*closing, self.core.bus.stop()], consumeErrors=True)
        await self.doors.drain.gone()
        for loop in self.running:
            loop.stop()
        await self.core.last_slides.write()
        for part in (self.core.memcached, self.monitoring, self.admin):
            if part is not None:
                stopped: Awaitable[Any] = part.stop()
                await stopped
        self.log.info("server.stopped")
