"""A node's three sides, and who looks on: the parts that belong together, passed as one. ``app.py`` joins them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanout.bus.interface import Bus
from fanout.cache.memcached import Memcached
from fanout.complaints import Complaints
from fanout.doors.application import Application
from fanout.doors.entrance import Entrance
from fanout.doors.gate import Gate
from fanout.doors.http import HttpSite
from fanout.doors.listening import ListeningDoor
from fanout.doors.login_throttle import LoginThrottle
from fanout.doors.observer import Observer
from fanout.doors.stomp import StompDoor
from fanout.doors.tally import Tally
from fanout.doors.websocket import WebSocketDoor
from fanout.drain import Drain
from fanout.guests import Guest
from fanout.history import History
from fanout.hub import Hub
from fanout.outbox import Flusher
from radiovis.directory.interface import Directory
from radiovis.directory.stations_file import StationsFile
from radiovis.last_slides import LastSlides
from radiovis.monitoring import Monitoring
from radiovis.pages.wall import Wall
from radiovis.preflight.preflight import Preflight
from radiovis.tuning import Tuning
from radiovis.watchdog.app import Watchdog


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who is told what clients do, and what went wrong.

    :ivar monitoring: tells the outside; None when nobody asked for it.
    :ivar observer: the tally, and the monitoring if there is one.
    """

    tally: Tally
    complaints: Complaints
    monitoring: Monitoring | None
    observer: Observer


@dataclass(frozen=True, slots=True)
class OnAir:
    """What is on air: what comes over the bus, and what was said last.

    :ivar memcached: what the nodes share besides the bus; None for a node by itself.
    :ivar flusher: writes, once per turn, what the hub has decided.
    :ivar guests: further applications that share the hub and the bus.
    """

    memcached: Memcached | None
    bus: Bus
    history: History
    flusher: Flusher
    hub: Hub
    guests: Sequence[Guest]
    last_slides: LastSlides


@dataclass(frozen=True, slots=True)
class Stations:
    """Who says it: the stations, what they may, and what is said for those that are silent.

    :ivar file: the directory, where it is a file that people edit; None for another.
    :ivar application: RadioVIS as the doors see it.
    :ivar preflight: looks at slides; None when nobody asked for it.
    :ivar watchdog: of a node by itself; a cluster's is a process of its own.
    """

    file: StationsFile | None
    directory: Directory
    tuning: Tuning
    throttle: LoginThrottle
    application: Application
    preflight: Preflight | None
    watchdog: Watchdog | None


@dataclass(frozen=True, slots=True)
class Doors:
    """Who hears it: how clients come in, what they are served by, and how they are let go.

    :ivar entrance: what stands before all doors.
    :ivar gate: how many come in, by whichever door.
    """

    entrance: Entrance
    gate: Gate
    stomp: StompDoor
    websockets: WebSocketDoor
    listening: ListeningDoor
    wall: Wall
    site: HttpSite
    drain: Drain
