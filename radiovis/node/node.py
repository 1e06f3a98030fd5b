"""The composition root: the only file that knows every part and joins them to a node."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from twisted.internet.defer import Deferred

from fanout.application.login_throttle import LoginThrottle
from fanout.application.observer import ClientCounters, ClientWarnings, CountedApplication, Observers
from fanout.hub.history import History
from fanout.hub.message import new_id
from fanout.listeners.limits import ConnectionLimit
from fanout.listeners.tls import ListenerWrapper
from fanout.process.throttle import Throttle
from fanout.stomp_server.tcp import StompFactory
from radiovis.admin.build import node_admin
from radiovis.admin.listener import AdminPorts
from radiovis.application import RadioVIS
from radiovis.node import door_parts, parts, slide_parts
from radiovis.node.consumer import BusConsumer, StationsRefresh, TopicReceiver, move_subscriptions
from radiovis.node.drain import Drain
from radiovis.node.life import Life
from radiovis.node.listeners import Listeners
from radiovis.node.places import ListenAddress, places
from radiovis.node.reload import Reloading, Take, node_takes
from radiovis.node.sides import Core, Observability, Servers, Stations
from radiovis.node.worker import WorkerInfo
from radiovis.publish_rights import PublishRights
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import standing_alone

_ALONE = WorkerInfo()

log = structlog.get_logger(__name__)


class Node:
    """One front-end: everything between the sockets of its clients and the bus."""

    def __init__(self, reactor: Any, settings: Settings, *, fake: bool = False, birth: WorkerInfo = _ALONE) -> None:
        """
        :param fake: ``--test`` mode: the fake directory, and the port of contract §1.12.
        :param birth: for one of several workers: which it is, and the sockets it shares.
        :raises StationsFileError: the stations file cannot be used.
        :raises SettingsError: the operators' pages would be open to others, or SLIDES_DIR is no folder.
        :raises CertificateError: a certificate cannot be used.
        """
        where = places(settings, fake=fake)
        ports = AdminPorts.of(settings, fake=fake, worker=birth.number > 0)
        observability = _observability(reactor, settings)
        report = observability.complaints.report
        entrance = door_parts.entrance(reactor, settings, observability.complaints.warn)

        asked_for = any(place.door == "http" for place in where.values())
        core = _make_core(reactor, settings, observability, asked_for=asked_for)
        stations = _stations(reactor, settings, core, lambda: refreshing.refresh(), fake=fake)  # noqa: PLW0108  (made below)
        doors = _doors(reactor, settings, entrance, core, stations, observability)

        refreshing = StationsRefresh(stations.resolver, doors.wall, report)
        receiver = TopicReceiver(stations.resolver, core.hub, core.last_slides, log, observability.observer)
        self._settings, self._core, self._stations, self._doors = settings, core, stations, doors
        self._life = Life(
            reactor=reactor,
            log=log,
            core=core,
            stations=stations,
            doors=doors,
            monitoring=observability.monitoring,
            consumer=BusConsumer(reactor, receiver, stations.watchdog, report, core.guests),
            listeners=_listeners(reactor, settings, doors, where, birth),
            admin=node_admin(reactor, settings, ports, core, stations, doors, observability.tally),
            inherited=birth.sockets.get("admin"),
            loops=(
                *((door.tick, door.wheel.tick) for door in (doors.stomp, doors.listening, doors.websockets)),
                (refreshing.refresh, settings.FB_CHANNEL_CACHE),
            ),
        )

    def start(self) -> None:
        """See :meth:`radiovis.node.life.Life.start`."""
        self._life.start()

    def stop(self) -> Deferred[None]:
        """See :meth:`radiovis.node.life.Life.stop`."""
        return Deferred.fromCoroutine(self._life.stop())

    def reloading(self, read: Callable[[], Settings], take_logs: Take) -> Reloading:
        """What a SIGHUP calls.

        :param read: reads the settings as at the start.
        :param take_logs: sets up the logs anew.
        """
        takes = node_takes(self._doors, self._stations.throttle, self._core.history)
        takes |= {"LOG_LEVEL": [take_logs], "LOG_FORMAT": [take_logs]}
        parts_of_files = (self._stations.file, self._doors.entrance, *self._core.guests)
        files = [part.reload for part in parts_of_files if part is not None]
        return Reloading(self._settings, read, takes, files)

    def status(self) -> str:
        """How it is doing, in one line for people."""
        return f"{self._doors.drain.clients} clients; bus: {self._core.bus.state().reason}"


def _observability(reactor: Any, settings: Settings) -> Observability:
    tally = ClientCounters()
    monitoring = parts.monitoring(reactor, settings)
    return Observability(
        tally=tally,
        complaints=ClientWarnings(tally, Throttle(time.monotonic), log),
        monitoring=monitoring,
        observer=Observers(tally, monitoring) if monitoring else tally,
    )


def _make_core(reactor: Any, settings: Settings, observability: Observability, *, asked_for: bool) -> Core:
    """:param asked_for: whether anybody may ask for the history."""
    memcached = parts.memcached(reactor, settings)
    bus = parts.bus(reactor, settings)
    history = History(time.monotonic, settings)
    flusher = door_parts.flusher(reactor, settings, observability.complaints)
    hub = parts.hub(settings, observability.complaints.failed, history if asked_for else None, flusher)
    return Core(
        memcached=memcached,
        bus=bus,
        history=history,
        flusher=flusher,
        hub=hub,
        guests=parts.guests(reactor, settings, hub, bus),
        last_slides=parts.last_slides(reactor, settings, memcached),
    )


def _stations(reactor: Any, settings: Settings, core: Core, changed: Callable[[], None], *, fake: bool) -> Stations:
    """:param changed: called when the stations file was."""
    file = None if fake else parts.stations_file(reactor, settings, changed)
    directory = parts.fake_directory(settings) if fake else file
    directory = directory or parts.plugit(reactor, settings, core.memcached)
    resolver = TopicResolver(directory, lambda: move_subscriptions(core.hub, resolver, log))
    publishing = PublishRights(directory, resolver, time.time, new_id)
    throttle = LoginThrottle(reactor, settings, time.monotonic)
    shelf = slide_parts.entrance(reactor, settings, core.bus, fake=fake)
    preflight = slide_parts.preflight(reactor, settings)
    bare = RadioVIS(directory, resolver, publishing, core.last_slides, core.bus, throttle, log)
    watchdog = None
    if settings.STANDALONE:
        watchdog = standing_alone(
            reactor, settings, core.bus, directory, resolver, fake=fake, entrance=shelf, preflight=preflight
        )
    return Stations(
        file=file,
        directory=directory,
        resolver=resolver,
        throttle=throttle,
        application=slide_parts.extended(bare, settings, shelf, preflight),
        preflight=preflight,
        watchdog=watchdog,
    )


def _doors(
    reactor: Any,
    settings: Settings,
    entrance: ListenerWrapper,
    core: Core,
    stations: Stations,
    observability: Observability,
) -> Servers:
    complaints = observability.complaints
    connection_limit = ConnectionLimit(settings)
    counted = CountedApplication(stations.application, observability.tally)
    stomp = door_parts.stomp(settings, counted, core, observability, log)
    websockets = door_parts.websockets(reactor, settings, complaints.warn, complaints.failed)
    listening = door_parts.listening(reactor, settings, stomp, core.history, complaints.failed)
    wall = door_parts.wall(settings, listening, stations.directory, stations.resolver)
    return Servers(
        entrance=entrance,
        connection_limit=connection_limit,
        stomp=stomp,
        websockets=websockets,
        listening=listening,
        wall=wall,
        site=door_parts.http(reactor, settings, connection_limit, stomp, websockets, listening, wall),
        drain=Drain(reactor, stomp, listening, websockets),
    )


def _listeners(
    reactor: Any, settings: Settings, doors: Servers, where: Mapping[str, ListenAddress], birth: WorkerInfo
) -> Listeners:
    behind = {
        "stomp": StompFactory(reactor, doors.stomp, doors.connection_limit),
        "http": doors.site,
    }
    return Listeners(reactor, settings, doors.entrance, where, behind, birth.sockets)
