"""A node's three sides, and who looks on: the parts that belong together, passed as one. ``app.py`` joins them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanout.application.guests import Guest
from fanout.application.interface import Application
from fanout.application.login_throttle import LoginThrottle
from fanout.application.observer import ClientCounters, ClientWarnings, Observer
from fanout.bus.interface import Bus
from fanout.cache.memcached import Memcached
from fanout.http.pending import PendingRequests
from fanout.http.server import HttpSite
from fanout.http.websocket import WebSocketServer
from fanout.hub.history import History
from fanout.hub.hub import Hub
from fanout.hub.outbox import Flusher
from fanout.listeners.limits import ConnectionLimit
from fanout.listeners.tls import ListenerWrapper
from fanout.stomp_server.server import StompServer
from radiovis.directory.interface import Directory
from radiovis.directory.stations_file import StationsFile
from radiovis.events import MonitoringEvents
from radiovis.http.routes import PublicSite
from radiovis.http.wall import Wall
from radiovis.last_slides import LastSlides
from radiovis.node.drain import Drain
from radiovis.preflight.message_check import Preflight
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Observability:
    """Who is told what clients do, and what went wrong.

    :ivar monitoring: tells the outside; None when nobody asked for it.
    :ivar observer: the tally, and the monitoring if there is one.
    """

    tally: ClientCounters
    complaints: ClientWarnings
    monitoring: MonitoringEvents | None
    observer: Observer


@dataclass(frozen=True, slots=True)
class Core:
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
    resolver: TopicResolver
    throttle: LoginThrottle
    application: Application
    preflight: Preflight | None
    watchdog: Watchdog | None


@dataclass(frozen=True, slots=True)
class Servers:
    """Who hears it: how clients come in, what they are served by, and how they are let go.

    :ivar entrance: what stands before all doors.
    :ivar connection_limit: how many come in, by whichever door.
    :ivar public: the handlers of the public site.
    """

    entrance: ListenerWrapper
    connection_limit: ConnectionLimit
    stomp: StompServer
    websockets: WebSocketServer
    listening: PendingRequests
    wall: Wall
    public: PublicSite
    site: HttpSite
    drain: Drain
