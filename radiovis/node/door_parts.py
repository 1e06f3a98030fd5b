"""Each part of the doors, made as the settings say. ``app.py`` joins them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.web.resource import IResource

from fanout import __version__
from fanout.application.interface import Application
from fanout.application.observer import ClientWarnings
from fanout.http.dispatch import Face
from fanout.http.pending import PendingRequests
from fanout.http.response import ErrorPages, json_page
from fanout.http.server import HttpLimits, HttpSite
from fanout.http.websocket import WebSocketServer
from fanout.hub.history import History
from fanout.hub.outbox import Flusher
from fanout.listeners.certificates import Certificates
from fanout.listeners.limits import ConnectionLimit
from fanout.listeners.tls import ListenerWrapper
from fanout.settings import SettingsError
from fanout.stomp_server.server import StompServer
from fanout.stomp_server.websocket import StompWebSocket
from radiovis.directory.interface import Directory
from radiovis.http.player import Player
from radiovis.http.routes import public_routes
from radiovis.http.wall import Wall
from radiovis.node.sides import Core, Observability
from radiovis.settings import Settings
from radiovis.topic_resolution import TopicResolver


def entrance(reactor: Any, settings: Settings, warn: Callable[..., None]) -> ListenerWrapper:
    """What stands before all doors.

    :raises CertificateError: the certificate cannot be used.
    :raises SettingsError: there is a key, and no certificate.
    """
    certificates = None
    if settings.TLS_KEY and not settings.TLS_CERTIFICATE:
        raise SettingsError("TLS_KEY needs TLS_CERTIFICATE.")
    if settings.TLS_CERTIFICATE:
        certificates = Certificates(settings.TLS_CERTIFICATE, settings.TLS_KEY or settings.TLS_CERTIFICATE, reactor)
        certificates.load()
    return ListenerWrapper(reactor, settings, warn, certificates)


def flusher(reactor: Any, settings: Settings, complaints: ClientWarnings) -> Flusher:
    """What writes, once per turn, all that waits for clients."""
    return Flusher(
        time.monotonic,
        lambda flush: reactor.callLater(0, flush),
        complaints.failed,
        settings,
    )


def stomp(
    settings: Settings, application: Application, core: Core, observability: Observability, log: Any
) -> StompServer:
    """The door of STOMP clients, over whatever wire. The other doors share what it has."""
    monitoring = observability.monitoring
    return StompServer(
        settings,
        f"radiovis/{__version__}",
        application=application,
        hub=core.hub,
        flusher=core.flusher,
        clock=time.monotonic,
        log=log,
        warn=observability.complaints.warn,
        observer=observability.observer,
        delivery_observer=None if monitoring is None else monitoring.delivery_observer,
    )


def http(
    reactor: Any,
    settings: Settings,
    connection_limit: ConnectionLimit,
    stomp: StompServer,
    websockets: WebSocketServer,
    listening: PendingRequests,
    wall: Wall,
) -> HttpSite:
    """The public site, WebSockets among it. :raises SettingsError: SLIDES_DIR is no folder."""
    routes = public_routes(listening, settings, wall, websocket_routes(stomp, websockets))
    face = Face(routes, ErrorPages(default=json_page), listening)
    return HttpSite(reactor, face, connection_limit, http_limits(settings), stomp.warn)


def http_limits(settings: Settings) -> HttpLimits:
    """What one HTTP client may cost."""
    return HttpLimits(
        body=settings.HTTP_BODY_BYTES,
        request_seconds=settings.HTTP_REQUEST_TIMEOUT,
        unread_seconds=settings.WRITE_TIMEOUT,
    )


def listening(
    reactor: Any, settings: Settings, stomp: StompServer, history: History, failed: Callable[[object, Exception], None]
) -> PendingRequests:
    """The door of HTTP clients that listen. They share all they can with those of STOMP."""
    return PendingRequests(
        application=stomp.application,
        hub=stomp.hub,
        history=history,
        flusher=stomp.flusher,
        subscription_limit=stomp.subscription_limit,
        later=reactor.callLater,
        clock=time.monotonic,
        warn=stomp.warn,
        failed=failed,
        settings=settings,
    )


def wall(settings: Settings, door: PendingRequests, directory: Directory, resolver: TopicResolver) -> Wall:
    """The stations people see, and those who watch."""
    return Wall(door, directory, resolver, places=settings.WALL_STATIONS, topic_octets=settings.MAX_DESTINATION_BYTES)


def websockets(
    reactor: Any, settings: Settings, warn: Callable[..., None], failed: Callable[[object, Exception], None]
) -> WebSocketServer:
    """What all WebSockets share, whatever is spoken over them."""
    return WebSocketServer(reactor, settings, time.monotonic, warn, failed)


def websocket_routes(stomp: StompServer, door: WebSocketServer) -> dict[str, IResource]:
    """Path → what is spoken there. It shares all it can with STOMP over TCP."""
    player = Player(
        stomp.application,
        stomp.hub,
        stomp.flusher,
        door,
        stomp.log,
        stomp.subscription_limit,
        stomp.settings,
    )
    return {"/stomp": StompWebSocket(stomp, door), "/topic": player}
