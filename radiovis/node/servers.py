"""Makes the servers of a node from the settings, and disconnects their clients at the end (:class:`Drain`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from twisted.internet.task import deferLater

from fanout import __version__
from fanout.application.interface import Application
from fanout.application.observer import ClientWarnings
from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import HttpSite
from fanout.http.pending_requests import PendingRequests
from fanout.http.routing import Handler
from fanout.http.websocket import WebSocketServer
from fanout.hub.history import History
from fanout.hub.outbox import Flusher
from fanout.listeners.client_limits import LINGER_SECONDS, ConnectionLimit
from fanout.listeners.tls import Certificates, ListenerWrapper
from fanout.settings import SettingsError
from fanout.stomp_server.stomp_server import StompServer
from fanout.stomp_server.transports import StompWebSocket
from radiovis.http.player import Player
from radiovis.http.routes import PublicSite
from radiovis.http.wall import Wall
from radiovis.node.build import Core, Observability
from radiovis.settings import NodeSettings, Settings


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers, their listeners, and the drain of their clients.

    :ivar listener_wrapper: TLS and the PROXY protocol, for all listeners.
    :ivar connection_limit: the limit of open connections, for all listeners.
    :ivar public: the handlers of the public site.
    """

    listener_wrapper: ListenerWrapper
    connection_limit: ConnectionLimit
    stomp: StompServer
    websockets: WebSocketServer
    pending_requests: PendingRequests
    wall: Wall
    public: PublicSite
    site: HttpSite
    drain: Drain


def make_listener_wrapper(reactor: Any, settings: Settings, warn: Callable[..., None]) -> ListenerWrapper:
    """TLS and the PROXY protocol, for all listeners.

    :raises CertificateError: the certificate cannot be used.
    :raises SettingsError: there is a key without a certificate.
    """
    certificates = None
    if settings.TLS_KEY and not settings.TLS_CERTIFICATE:
        raise SettingsError("TLS_KEY needs TLS_CERTIFICATE.")
    if settings.TLS_CERTIFICATE:
        certificates = Certificates(settings.TLS_CERTIFICATE, settings.TLS_KEY or settings.TLS_CERTIFICATE, reactor)
        certificates.load()
    return ListenerWrapper(reactor, settings, warn, certificates)


def make_flusher(reactor: Any, settings: Settings, client_warnings: ClientWarnings) -> Flusher:
    """Writes the waiting octets of clients, once per turn of the reactor."""
    return Flusher(
        time.monotonic,
        partial(reactor.callLater, 0),
        client_warnings.failed,
        settings,
    )


def make_stomp_server(
    settings: Settings, application: Application, core: Core, observability: Observability, log: Any
) -> StompServer:
    """The shared parts of all STOMP connections, over any transport. The other servers use its application, hub and
    limits.
    """
    monitoring = observability.monitoring
    return StompServer(
        settings,
        _product(settings),
        application=application,
        hub=core.hub,
        flusher=core.flusher,
        clock=time.monotonic,
        log=log,
        warn=observability.client_warnings.warn,
        observer=observability.observer,
        delivery_observer=None if monitoring is None else monitoring.delivery_observer,
    )


def _product(settings: Settings) -> str:
    """The ``server`` header of CONNECTED. Its comment says what confirms a publish; ``pub`` shows it."""
    carrier = "own bus" if settings.STANDALONE or settings.RABBITMQ_LOOPBACK else "RabbitMQ"
    return f"radiovis/{__version__} ({carrier})"


def make_public_site(
    settings: Settings, stomp: StompServer, websockets: WebSocketServer, pending_requests: PendingRequests, wall: Wall
) -> PublicSite:
    """The handlers of the public site.

    :raises SettingsError: SLIDES_DIR is not a folder.
    """
    player = Player(
        stomp.application,
        stomp.hub,
        stomp.flusher,
        websockets,
        stomp.log,
        stomp.subscription_limit,
    )
    handlers: dict[str, Handler] = {"/stomp": StompWebSocket(stomp, websockets).open, "/topic": player.open}
    return PublicSite(pending_requests, settings, wall, handlers)


def make_http_site(
    reactor: Any,
    settings: Settings,
    connection_limit: ConnectionLimit,
    stomp: StompServer,
    pending_requests: PendingRequests,
    public: PublicSite,
) -> HttpSite:
    """The listener of the public site, including WebSockets."""
    dispatcher = Dispatcher(public.routes, pending_requests)
    return HttpSite(
        reactor,
        dispatcher,
        connection_limit,
        settings,
        stomp.warn,
        name="radiovis",
        check=dispatcher.check,
        input_memory=stomp.input_memory,
    )


def make_pending_requests(
    reactor: Any, settings: Settings, stomp: StompServer, history: History, failed: Callable[[object, Exception], None]
) -> PendingRequests:
    """The shared parts of long polls and event streams. They use the hub, the application and the limits of STOMP."""
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


def make_websocket_server(
    reactor: Any, settings: Settings, stomp: StompServer, failed: Callable[[object, Exception], None]
) -> WebSocketServer:
    """The shared parts of all WebSockets, whatever protocol they carry. They use the limits of STOMP over TCP."""
    return WebSocketServer(
        reactor,
        settings,
        time.monotonic,
        stomp.warn,
        failed,
        input_memory=stomp.input_memory,
        shared_turns=stomp.turns,
    )


SUMMARY = "Server shutting down"
_UNNOTICED = 200
"""Clients per second whose move other nodes do not notice. Fewer clients need no time."""
_TICK = 0.05
_LOG_SECONDS = 1.0
_SLACK = 0.5
"""Seconds after LINGER_SECONDS for sending the last octets and noticing the ends of connections."""

log = structlog.get_logger(__name__)


class Drain:
    """Disconnects the clients of all servers before a node ends. Each client is informed, and they are spread over some
    time.

    Receivers reconnect at once, each to another node of the cluster. If all were disconnected at the same moment, all
    their logins and subscriptions would reach those nodes at the same moment.

    :ivar settings: ``DRAIN_SECONDS`` is read when the drain begins.
    """

    def __init__(
        self,
        reactor: Any,
        settings: NodeSettings,
        stomp: StompServer,
        pending: PendingRequests,
        websockets: WebSocketServer,
    ) -> None:
        self._reactor = reactor
        self.settings = settings
        self._stomp = stomp
        self._pending = pending
        self._websockets = websockets

    @property
    def clients(self) -> int:
        """How many clients are still connected. A client of HTTP counts only while its request is held."""
        return len(self._farewells())

    async def leave(self) -> None:
        """Close all connections. A client that waits for a RECEIPT gets it first, when the bus has answered."""
        farewells = self._farewells()
        seconds = min(self.settings.DRAIN_SECONDS, len(farewells) / _UNNOTICED)
        log.info("server.draining", clients=len(farewells), seconds=round(seconds, 1))
        self._websockets.go_away()
        began = logged = self._stomp.clock()
        done = 0
        while done < len(farewells):
            now = self._stomp.clock()
            passed = now - began + _TICK
            due = len(farewells) if passed >= seconds else int(len(farewells) * passed / seconds)
            self._say(farewells[done:due])
            done = due
            if now - logged >= _LOG_SECONDS:
                logged = now
                log.info("server.draining", clients=self.clients)
            await deferLater(self._reactor, _TICK)

    async def gone(self) -> None:
        """Wait for a limited time until all clients have disconnected, including those that arrived meanwhile over open
        connections.
        """
        self._say(self._farewells())
        deadline = self._stomp.clock() + LINGER_SECONDS + _SLACK
        await deferLater(self._reactor, _TICK)
        while self.clients and self._stomp.clock() < deadline:
            await deferLater(self._reactor, _TICK)

    def _farewells(self) -> list[Callable[[], None]]:
        connections = self._stomp.connections
        with_session: Collection[object] = connections
        return [
            *(partial(each.close, SUMMARY) for each in connections),
            *(each.close for each in self._pending.pending),
            *(each.finish for each in self._websockets.sockets if each.listener not in with_session),
        ]

    def _say(self, farewells: Sequence[Callable[[], None]]) -> None:
        for farewell in farewells:
            try:
                farewell()
            except Exception:
                log.exception("client.failed")  # the other clients must still be informed
