"""The composition root: the only file that knows every part and joins them to a node."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from twisted.internet.defer import Deferred

from fanout.complaints import Complaints
from fanout.doors.counted_application import CountedApplication
from fanout.doors.observer import Observer, Observers
from fanout.doors.stomp_tcp import StompFactory
from fanout.doors.tally import Tally
from fanout.throttle import Throttle
from radiovis import door_parts, parts, slide_parts
from radiovis.admin_parts import node_admin
from radiovis.application import RadioVIS
from radiovis.hearing import Hearing
from radiovis.life import Life
from radiovis.listeners import Listeners
from radiovis.places import places
from radiovis.publishing import Publishing
from radiovis.receiving import Receiving
from radiovis.refreshing import Refreshing, retune
from radiovis.reloading import Reloading, Take, node_takes
from radiovis.settings import Settings
from radiovis.tuning import Tuning
from radiovis.watchdog.app import standing_alone
from radiovis.worker import Birth

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
        self._settings = settings
        where = places(settings, fake=fake)
        tally = Tally()
        complaints = Complaints(tally, Throttle(time.monotonic), log)
        monitoring = parts.monitoring(reactor, settings)
        observer: Observer = Observers(tally, monitoring) if monitoring else tally
        self._entrance = door_parts.entrance(reactor, settings, complaints.complain)

        # What is on air
        memcached = parts.memcached(reactor, settings)
        bus = self._bus = parts.bus(reactor, settings)
        history = door_parts.history(settings)
        asked_for = any(place.door == "http" for place in where.values())
        flusher = door_parts.flusher(reactor, settings, complaints)
        hub = parts.hub(settings, complaints.failed, history if asked_for else None, flusher)
        guests = self._guests = parts.guests(reactor, settings, hub, bus)
        last_slides = parts.last_slides(reactor, settings, memcached)

        # Who says it
        self._stations = None if fake else parts.stations_file(reactor, settings, lambda: self._refreshing.refresh())  # noqa: PLW0108  (made below)
        directory = parts.fake_directory(settings) if fake else self._stations
        directory = directory or parts.plugit(reactor, settings, memcached)
        tuning = Tuning(directory, lambda: retune(hub, tuning, log))
        publishing = Publishing(directory, tuning, reactor.seconds, lambda: str(uuid.uuid4()))
        throttle = door_parts.login_throttle(reactor, settings)
        entrance = slide_parts.entrance(reactor, settings, bus, fake=fake)
        preflight = slide_parts.preflight(reactor, settings)
        bare = RadioVIS(directory, tuning, publishing, last_slides, bus, throttle, log)
        application = slide_parts.extended(bare, settings, entrance, preflight)
        watchdog = None
        if settings.STANDALONE:
            watchdog = standing_alone(
                reactor, settings, bus, directory, tuning, fake=fake, entrance=entrance, preflight=preflight
            )

        # Who hears it
        gate = door_parts.gate(settings)
        counted = CountedApplication(application, tally)
        self._door = door_parts.stomp(settings, counted, hub, flusher, complaints, observer, monitoring, log)
        self._websockets = door_parts.websockets(reactor, settings, complaints.complain, complaints.failed)
        self._listening = door_parts.listening(reactor, settings, self._door, history, complaints.failed)
        self._drain = door_parts.drain(reactor, settings, self._door, self._listening, self._websockets)
        wall = door_parts.wall(settings, self._listening, directory, tuning)
        self._refreshing = Refreshing(tuning, wall, complaints.report)
        receiving = Receiving(tuning, hub, last_slides, log, observer)
        site = door_parts.http(reactor, settings, gate, self._door, self._websockets, self._listening, wall)
        doors = {
            "stomp": StompFactory(reactor, self._door, gate, linger=settings.LINGER_SECONDS),
            "http": site,
        }
        admin = node_admin(
            reactor,
            settings,
            door=self._door,
            listening=self._listening,
            websockets=self._websockets,
            gate=gate,
            entrance=self._entrance,
            tally=tally,
            bus=bus,
            memcached=memcached,
            directory=directory,
            tuning=tuning,
            watchdog=watchdog,
            preflight=preflight,
            fake=fake,
        )
        self._takes = node_takes(
            stomp=self._door,
            listening=self._listening,
            websockets=self._websockets,
            drain=self._drain,
            gate=gate,
            throttle=throttle,
            history=history,
            site=site,
        )
        self._life = Life(
            reactor=reactor,
            log=log,
            bus=bus,
            hearing=Hearing(reactor, receiving, watchdog, complaints.report, guests),
            listeners=Listeners(reactor, settings, self._entrance, where, doors, birth.sockets),
            entrance=self._entrance,
            drain=self._drain,
            last_slides=last_slides,
            memcached=memcached,
            monitoring=monitoring,
            stations=self._stations,
            watchdog=watchdog,
            admin=admin,
            inherited=birth.sockets.get("admin"),
            guests=guests,
            loops=(
                *((door.look, door.wheel.tick) for door in (self._door, self._listening, self._websockets)),
                (self._refreshing.refresh, settings.FB_CHANNEL_CACHE),
            ),
        )

    def start(self) -> None:
        """See :meth:`radiovis.life.Life.start`."""
        self._life.start()

    def stop(self) -> Deferred[None]:
        """See :meth:`radiovis.life.Life.stop`."""
        return Deferred.fromCoroutine(self._life.stop())

    def reloading(self, read: Callable[[], Settings], take_logs: Take) -> Reloading:
        """What a SIGHUP calls.

        :param read: reads the settings as at the start.
        :param take_logs: sets up the logs anew.
        """
        takes = self._takes | {"LOG_LEVEL": [take_logs], "LOG_FORMAT": [take_logs]}
        parts_of_files = (self._stations, self._entrance.certificates, *self._guests)
        files = [part.reload for part in parts_of_files if part is not None]
        return Reloading(self._settings, read, takes, files)

    def status(self) -> str:
        """How it is doing, in one line for people."""
        return f"{self._drain.clients} clients; bus: {self._bus.state().reason}"
