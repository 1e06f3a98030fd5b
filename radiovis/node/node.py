"""The composition root: the only file that knows every part and joins them to a node."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from twisted.internet.defer import Deferred

from fanout.application.observer import Complaints, CountedApplication, Observers, Tally
from fanout.hub.message import new_id
from fanout.listeners.tls import Entrance
from fanout.process.steady_time import unix_time
from fanout.process.throttle import Throttle
from fanout.stomp_server.tcp import StompFactory
from radiovis.admin.build import node_admin
from radiovis.admin.listener import AdminPorts
from radiovis.application import RadioVIS
from radiovis.node import door_parts, parts, slide_parts
from radiovis.node.hearing import Hearing
from radiovis.node.life import Life
from radiovis.node.listeners import Listeners
from radiovis.node.places import Place, places
from radiovis.node.receiving import Receiving
from radiovis.node.refreshing import Refreshing, retune
from radiovis.node.reload import Reloading, Take, node_takes
from radiovis.node.sides import Doors, OnAir, Stations, Witnesses
from radiovis.node.worker import Birth
from radiovis.publish_rights import Publishing
from radiovis.settings import Settings
from radiovis.topic_resolution import Tuning
from radiovis.watchdog.watchdog import standing_alone

_ALONE = Birth()

log = structlog.get_logger(__name__)


class Node:
    """One front-end: everything between the sockets of its clients and the bus."""

    def __init__(self, reactor: Any, settings: Settings, *, fake: bool = False, birth: Birth = _ALONE) -> None:
        """
        :param fake: ``--test`` mode: the fake directory, and the port of contract §1.12.
        :param birth: for one of several workers: which it is, and the sockets it shares.
        :raises StationsFileError: the stations file cannot be used.
        :raises SettingsError: the operators' pages would be open to others, or SLIDES_DIR is no folder.
        :raises CertificateError: a certificate cannot be used.
        """
        where = places(settings, fake=fake)
        ports = AdminPorts.of(settings, fake=fake, worker=birth.number > 0)
        witnesses = _witnesses(reactor, settings)
        report = witnesses.complaints.report
        entrance = door_parts.entrance(reactor, settings, witnesses.complaints.complain)

        asked_for = any(place.door == "http" for place in where.values())
        air = _on_air(reactor, settings, witnesses, asked_for=asked_for)
        stations = _stations(reactor, settings, air, lambda: refreshing.refresh(), fake=fake)  # noqa: PLW0108  (made below)
        doors = _doors(reactor, settings, entrance, air, stations, witnesses)

        refreshing = Refreshing(stations.tuning, doors.wall, report)
        receiving = Receiving(stations.tuning, air.hub, air.last_slides, log, witnesses.observer)
        self._settings, self._air, self._stations, self._doors = settings, air, stations, doors
        self._life = Life(
            reactor=reactor,
            log=log,
            air=air,
            stations=stations,
            doors=doors,
            monitoring=witnesses.monitoring,
            hearing=Hearing(reactor, receiving, stations.watchdog, report, air.guests),
            listeners=_listeners(reactor, settings, doors, where, birth),
            admin=node_admin(reactor, settings, ports, air, stations, doors, witnesses.tally),
            inherited=birth.sockets.get("admin"),
            loops=(
                *((door.look, door.wheel.tick) for door in (doors.stomp, doors.listening, doors.websockets)),
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
        takes = node_takes(self._doors, self._stations.throttle, self._air.history)
        takes |= {"LOG_LEVEL": [take_logs], "LOG_FORMAT": [take_logs]}
        parts_of_files = (self._stations.file, self._doors.entrance, *self._air.guests)
        files = [part.reload for part in parts_of_files if part is not None]
        return Reloading(self._settings, read, takes, files)

    def status(self) -> str:
        """How it is doing, in one line for people."""
        return f"{self._doors.drain.clients} clients; bus: {self._air.bus.state().reason}"


def _witnesses(reactor: Any, settings: Settings) -> Witnesses:
    tally = Tally()
    monitoring = parts.monitoring(reactor, settings)
    return Witnesses(
        tally=tally,
        complaints=Complaints(tally, Throttle(time.monotonic), log),
        monitoring=monitoring,
        observer=Observers(tally, monitoring) if monitoring else tally,
    )


def _on_air(reactor: Any, settings: Settings, witnesses: Witnesses, *, asked_for: bool) -> OnAir:
    """:param asked_for: whether anybody may ask for the history."""
    memcached = parts.memcached(reactor, settings)
    bus = parts.bus(reactor, settings)
    history = door_parts.history(settings)
    flusher = door_parts.flusher(reactor, settings, witnesses.complaints)
    hub = parts.hub(settings, witnesses.complaints.failed, history if asked_for else None, flusher)
    return OnAir(
        memcached=memcached,
        bus=bus,
        history=history,
        flusher=flusher,
        hub=hub,
        guests=parts.guests(reactor, settings, hub, bus),
        last_slides=parts.last_slides(reactor, settings, memcached),
    )


def _stations(reactor: Any, settings: Settings, air: OnAir, changed: Callable[[], None], *, fake: bool) -> Stations:
    """:param changed: called when the stations file was."""
    file = None if fake else parts.stations_file(reactor, settings, changed)
    directory = parts.fake_directory(settings) if fake else file
    directory = directory or parts.plugit(reactor, settings, air.memcached)
    tuning = Tuning(directory, lambda: retune(air.hub, tuning, log))
    publishing = Publishing(directory, tuning, unix_time(reactor), new_id)
    throttle = door_parts.login_throttle(reactor, settings)
    shelf = slide_parts.entrance(reactor, settings, air.bus, fake=fake)
    preflight = slide_parts.preflight(reactor, settings)
    bare = RadioVIS(directory, tuning, publishing, air.last_slides, air.bus, throttle, log)
    watchdog = None
    if settings.STANDALONE:
        watchdog = standing_alone(
            reactor, settings, air.bus, directory, tuning, fake=fake, entrance=shelf, preflight=preflight
        )
    return Stations(
        file=file,
        directory=directory,
        tuning=tuning,
        throttle=throttle,
        application=slide_parts.extended(bare, settings, shelf, preflight),
        preflight=preflight,
        watchdog=watchdog,
    )


def _doors(
    reactor: Any, settings: Settings, entrance: Entrance, air: OnAir, stations: Stations, witnesses: Witnesses
) -> Doors:
    complaints = witnesses.complaints
    gate = door_parts.gate(settings)
    counted = CountedApplication(stations.application, witnesses.tally)
    stomp = door_parts.stomp(settings, counted, air, witnesses, log)
    websockets = door_parts.websockets(reactor, settings, complaints.complain, complaints.failed)
    listening = door_parts.listening(reactor, settings, stomp, air.history, complaints.failed)
    wall = door_parts.wall(settings, listening, stations.directory, stations.tuning)
    return Doors(
        entrance=entrance,
        gate=gate,
        stomp=stomp,
        websockets=websockets,
        listening=listening,
        wall=wall,
        site=door_parts.http(reactor, settings, gate, stomp, websockets, listening, wall),
        drain=door_parts.drain(reactor, settings, stomp, listening, websockets),
    )


def _listeners(reactor: Any, settings: Settings, doors: Doors, where: Mapping[str, Place], birth: Birth) -> Listeners:
    behind = {
        "stomp": StompFactory(reactor, doors.stomp, doors.gate, linger=settings.LINGER_SECONDS),
        "http": doors.site,
    }
    return Listeners(reactor, settings, doors.entrance, where, behind, birth.sockets)
