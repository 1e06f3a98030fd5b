"""One front-end: builds its parts, joins them, and starts and stops them in order.

This is the composition root. ``build.py`` and ``servers.py`` make single parts from the settings; this file joins them.
The parts are in four groups, each made from those before it:

==================  ======================================================================================
observability       counters, the log of clients' faults, events for the monitoring broker
core                bus, hub, outboxes, history, retained slides: transports and stores messages
application parts   directory, topic resolution, publish rights, preflight, schedule, watchdog
servers             STOMP, HTTP, WebSocket, long polls and event streams, and the drain of their clients
==================  ======================================================================================

At the start the listeners are opened first, so that a port that is taken ends the start before any other part is
started. At the end the order is reversed: accept no new clients, disconnect the clients, let the bus send the waiting
messages, then stop the rest.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall

from fanout.application.login_throttle import LoginThrottle
from fanout.application.observer import ClientCounters, ClientWarnings, Observers, Report
from fanout.bus.amqp_message import MessageLimits
from fanout.hub.history import History
from fanout.listeners.client_limits import ConnectionLimit
from fanout.listeners.tls import ListenerWrapper
from fanout.stomp_server.transports import StompFactory
from radiovis.admin.listener import Admin, AdminPorts
from radiovis.application import CountedApplication, RadioVIS
from radiovis.directory.stations_file import StationsFile
from radiovis.events import MonitoringEvents
from radiovis.http.wall import Wall
from radiovis.last_slides import LastSlides
from radiovis.node import build
from radiovis.node.admin_parts import node_admin
from radiovis.node.build import ApplicationParts, Core, Observability
from radiovis.node.consumer import (
    BusConsumer,
    StationsRefresh,
    TopicReceiver,
    move_subscriptions,
)
from radiovis.node.listeners import ListenAddress, Listeners, listen_addresses
from radiovis.node.reload import Reloading, Take, log_takes, node_takes, secret_takes
from radiovis.node.restore import JournalReading, Restore
from radiovis.node.servers import (
    Drain,
    Servers,
    make_flusher,
    make_http_site,
    make_listener_wrapper,
    make_pending_requests,
    make_public_site,
    make_stomp_server,
    make_websocket_server,
)
from radiovis.publish_rights import PublishRights
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import standing_alone


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Starts and stops the parts of a node in order. A part that this node does not have is None.

    :ivar loops: functions that are called regularly, each with the interval in seconds.
    """

    reactor: Any
    log: Any
    core: Core
    parts: ApplicationParts
    servers: Servers
    monitoring: MonitoringEvents | None
    consumer: BusConsumer
    listeners: Listeners
    admin: Admin | None
    report: Report
    loops: Sequence[tuple[Callable[[], None], float]]
    running: list[LoopingCall] = field(default_factory=list)

    def start(self) -> None:
        """Open the listeners, and start to receive from the bus.

        :raises twisted.internet.error.CannotListenError: a port is taken.
        """
        self._listen()
        if self.monitoring is not None:
            self.monitoring.start()
        self.parts.restore.start()
        self.consumer.start(self.core.bus)
        if self.parts.journal_reading is not None:
            self.parts.journal_reading.start(self.report)
        if self.parts.watchdog is not None:
            self.parts.watchdog.start()
        if self.parts.file is not None:
            self.parts.file.start()
        self.servers.listener_wrapper.start()
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
        # Logged only when the reactor runs: a SIGTERM before that would not find a handler.
        self.reactor.callWhenRunning(self.log.info, "server.ready", **addresses)

    async def stop(self) -> None:
        """Accept no more clients, disconnect the others, and send the waiting messages to the bus. Returns when all is
        done.
        """
        if self.admin is not None:
            self.admin.drain()
        closing = [*self.listeners.close(), *(guest.stop() for guest in self.core.guests)]
        self.parts.restore.end()
        await self.servers.drain.leave()
        if self.parts.file is not None:
            self.parts.file.stop()
        self.servers.listener_wrapper.stop()
        if self.parts.watchdog is not None:
            closing.append(Deferred.fromCoroutine(self.parts.watchdog.stop()))
        await DeferredList([*closing, self.core.bus.stop()], consumeErrors=True)
        await self.servers.drain.gone()
        for loop in self.running:
            loop.stop()
        await self.core.last_slides.write()
        for part in (self.core.memcached, self.monitoring, self.admin):
            if part is not None:
                stopped: Awaitable[Any] = part.stop()
                await stopped
        self.log.info("server.stopped")


log = structlog.get_logger(__name__)


class Node:
    """One front-end: everything between the sockets of its clients and the bus."""

    def __init__(self, reactor: Any, settings: Settings, *, fake: bool = False, worker: int | None = None) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: the settings of the process.
        :param fake: whether it runs with ``--test``: the fake directory, and the port of contract §1.12.
        :param worker: the number of this worker, from 0; None if there are no workers.
        :raises StationsFileError: the stations file cannot be used.
        :raises SettingsError: the operators' pages would be open to others, or SLIDES_DIR is not a folder.
        :raises CertificateError: a certificate cannot be used.
        """
        where = listen_addresses(settings, fake=fake)
        ports = AdminPorts.of(settings, fake=fake, worker=worker)
        observability = _observability(reactor, settings)
        report = observability.client_warnings.report
        listener_wrapper = make_listener_wrapper(reactor, settings, observability.client_warnings.warn)

        asked_for = any(address.server == "http" for address in where.values())
        core = _make_core(reactor, settings, observability, asked_for=asked_for)
        parts = _parts(reactor, settings, core, lambda: self._stations_changed(), fake=fake)  # noqa: PLW0108  (see below)
        _ask_for_certificates(listener_wrapper, parts.file)
        servers = _servers(reactor, settings, listener_wrapper, core, parts, observability)

        refreshing = self._refreshing = StationsRefresh(parts.resolver, servers.wall, report)
        receiver = TopicReceiver(parts.resolver, core.hub, core.last_slides, log, observability.monitoring)
        self._settings, self._core, self._parts, self._servers = settings, core, parts, servers
        self._lifecycle = Lifecycle(
            reactor=reactor,
            log=log,
            core=core,
            parts=parts,
            servers=servers,
            monitoring=observability.monitoring,
            consumer=BusConsumer(reactor, receiver, parts.restore, parts.watchdog, report, core.guests),
            listeners=_listeners(reactor, settings, servers, where, worker),
            admin=node_admin(reactor, settings, ports, core, parts, servers, observability),
            report=report,
            loops=(
                *(
                    (each.tick, each.wheel.tick)
                    for each in (servers.stomp, servers.pending_requests, servers.websockets)
                ),
                (refreshing.refresh, settings.FB_CHANNEL_CACHE),
            ),
        )

    def _stations_changed(self) -> None:
        self._refreshing.refresh()
        if self._parts.file is not None:
            self._servers.stomp.end_logins(self._parts.file.withdrawn)

    def start(self) -> None:
        """See :meth:`Lifecycle.start`."""
        self._lifecycle.start()

    def stop(self) -> Deferred[None]:
        """See :meth:`Lifecycle.stop`."""
        return Deferred.fromCoroutine(self._lifecycle.stop())

    def reloading(self, read: Callable[[], Settings], take_logs: Take) -> Reloading:
        """The function that a SIGHUP calls.

        :param read: reads the settings as at the start.
        :param take_logs: configures the logs again.
        """
        takes = node_takes(self._servers, self._parts.throttle, self._core.history, self._core.limits)
        takes |= log_takes(take_logs) | secret_takes(take_logs, self._lifecycle.admin, self._core.bus)
        parts_of_files = (self._parts.file, self._servers.listener_wrapper, *self._core.guests)
        files = [part.reload for part in parts_of_files if part is not None]
        return Reloading(self._settings, read, takes, files)

    def status(self) -> str:
        """The state in one line, for systemd."""
        return f"{self._servers.drain.clients} clients; bus: {self._core.bus.state().reason}"


def _observability(reactor: Any, settings: Settings) -> Observability:
    client_counters = ClientCounters()
    monitoring = build.monitoring_events(reactor, settings)
    return Observability(
        client_counters=client_counters,
        client_warnings=ClientWarnings(client_counters, log),
        monitoring=monitoring,
        observer=Observers(client_counters, monitoring) if monitoring else client_counters,
    )


def _make_core(reactor: Any, settings: Settings, observability: Observability, *, asked_for: bool) -> Core:
    """:param asked_for: whether any client can ask for the history."""
    memcached = build.memcached(reactor, settings)
    limits = MessageLimits(settings)
    bus = build.bus(reactor, settings, limits)
    history = History(time.monotonic, settings)
    flusher = make_flusher(reactor, settings, observability.client_warnings)
    hub = build.hub(settings, observability.client_warnings.failed, history if asked_for else None, flusher)
    return Core(
        memcached=memcached,
        limits=limits,
        bus=bus,
        history=history,
        flusher=flusher,
        hub=hub,
        guests=build.guests(reactor, settings, hub, bus, limits),
        last_slides=LastSlides(reactor, memcached),
    )


def _parts(
    reactor: Any, settings: Settings, core: Core, changed: Callable[[], None], *, fake: bool
) -> ApplicationParts:
    """:param changed: called when the stations file has changed."""
    throttle = LoginThrottle(reactor, settings, time.monotonic)
    login_queue = build.login_queue(settings, throttle)
    file = None if fake else build.stations_file(reactor, settings, changed, login_queue)
    directory = build.fake_directory(settings) if fake else file
    directory = directory or build.plugit(reactor, settings, core.memcached, login_queue)
    resolver = TopicResolver(directory, lambda: move_subscriptions(core.hub, resolver, log))
    publishing = PublishRights(directory, resolver, time.time)
    slide_intake = build.slide_intake(reactor, settings, core.bus, core.limits, fake=fake)
    preflight = build.preflight(reactor, settings)
    restore = Restore(reactor, core.hub, core.last_slides)
    watchdog = journal_reading = None
    if settings.STANDALONE:
        watchdog = standing_alone(
            reactor,
            settings,
            core.bus,
            directory,
            resolver,
            fake=fake,
            slide_intake=slide_intake,
            preflight=preflight,
        )
        journal_reading = JournalReading(reactor, settings, core.hub, resolver, core.guests, watchdog, restore)
    bare = RadioVIS(directory, resolver, publishing, restore.recall, core.bus, throttle, log)
    return ApplicationParts(
        file=file,
        directory=directory,
        resolver=resolver,
        throttle=throttle,
        login_queue=login_queue,
        publishing=publishing,
        application=build.extended(bare, slide_intake, preflight),
        preflight=preflight,
        watchdog=watchdog,
        restore=restore,
        journal_reading=journal_reading,
    )


def _ask_for_certificates(listener_wrapper: ListenerWrapper, file: StationsFile | None) -> None:
    """Ask clients for a certificate, but only while a station has one in the stations file."""
    if file is not None and listener_wrapper.certificates is not None:
        listener_wrapper.certificates.asks_clients = lambda: file.has_certificates


def _servers(
    reactor: Any,
    settings: Settings,
    listener_wrapper: ListenerWrapper,
    core: Core,
    parts: ApplicationParts,
    observability: Observability,
) -> Servers:
    client_warnings = observability.client_warnings
    connection_limit = ConnectionLimit(settings)
    counted = CountedApplication(parts.application, observability.client_counters, client_warnings)
    stomp = make_stomp_server(settings, counted, core, observability, log)
    websockets = make_websocket_server(reactor, settings, stomp, client_warnings.failed)
    pending_requests = make_pending_requests(reactor, settings, stomp, core.history, client_warnings.failed)
    wall = Wall(pending_requests, parts.directory, parts.resolver, settings)
    public = make_public_site(settings, stomp, websockets, pending_requests, wall)
    return Servers(
        listener_wrapper=listener_wrapper,
        connection_limit=connection_limit,
        stomp=stomp,
        websockets=websockets,
        pending_requests=pending_requests,
        wall=wall,
        public=public,
        site=make_http_site(reactor, settings, connection_limit, stomp, pending_requests, public),
        drain=Drain(reactor, settings, stomp, pending_requests, websockets),
    )


def _listeners(
    reactor: Any, settings: Settings, servers: Servers, where: Mapping[str, ListenAddress], worker: int | None
) -> Listeners:
    behind = {
        "stomp": StompFactory(reactor, servers.stomp, servers.connection_limit),
        "http": servers.site,
    }
    return Listeners(reactor, settings, servers.listener_wrapper, where, behind, reuse_port=worker is not None)
