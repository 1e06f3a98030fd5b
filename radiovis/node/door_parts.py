"""Each part of the doors, made as the settings say. ``app.py`` joins them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fanout.application.interface import Application
from fanout.application.login_throttle import LoginThrottle
from fanout.application.observer import ClientWarnings
from fanout.http.dispatch import Dispatcher
from fanout.http.drain import Drain
from fanout.http.pending import PendingRequests
from fanout.http.routing import Handler
from fanout.http.server import HttpSite
from fanout.http.websocket import WebSocketServer
from fanout.hub.history import History
from fanout.hub.outbox import Flusher
from fanout.hub.wheel import Wheel
from fanout.listeners.address import Networks
from fanout.listeners.certificates import Certificates
from fanout.listeners.limits import ConnectionLimit, SubscriptionLimit, TokenBucket
from fanout.listeners.tls import ListenerWrapper
from fanout.settings import SettingsError
from fanout.stomp_server.connection import Connection
from fanout.stomp_server.server import StompServer
from fanout.stomp_server.websocket import StompWebSocket
from radiovis.http.player import Player
from radiovis.http.routes import PublicSite
from radiovis.http.wall import Wall
from radiovis.node import parts
from radiovis.node.sides import Core, Observability
from radiovis.settings import Settings


def connection_limit(settings: Settings) -> ConnectionLimit:
    """How many connections the node takes, of all protocols, and how fast."""
    bucket = TokenBucket(time.monotonic, settings.CONNECT_BURST, settings.CONNECT_RATE)
    return ConnectionLimit(settings.MAX_CONNECTIONS, settings.MAX_CONNECTIONS_PER_ADDRESS, bucket)


def subscription_limit(settings: Settings) -> SubscriptionLimit:
    """How many subscriptions it holds."""
    return SubscriptionLimit(settings.MAX_SUBSCRIPTIONS_TOTAL, settings.MAX_SUBSCRIPTIONS_PER_ADDRESS)


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
    return ListenerWrapper(
        reactor,
        warn,
        certificates=certificates,
        proxies=Networks.parse(settings.PROXY_FROM),
        header_seconds=settings.PROXY_HEADER_SECONDS,
    )


def history(settings: Settings) -> History:
    """What HTTP clients ask for that come back."""
    return History(
        time.monotonic,
        messages=settings.HISTORY_MESSAGES,
        seconds=settings.HISTORY_SECONDS,
        octets=settings.HISTORY_BYTES,
    )


def login_throttle(reactor: Any, settings: Settings) -> LoginThrottle:
    """Slows down who guesses passwords."""
    return LoginThrottle(
        reactor,
        time.monotonic,
        failures=settings.LOGIN_FAILURES,
        pause=settings.LOGIN_PAUSE_SECONDS,
        queue=settings.LOGIN_QUEUE_SECONDS,
        forget=settings.LOGIN_FORGET_SECONDS,
        name_failures=settings.LOGIN_FAILURES_PER_NAME,
        stranger_pause=settings.LOGIN_STRANGER_SECONDS,
    )


def flusher(reactor: Any, settings: Settings, complaints: ClientWarnings) -> Flusher:
    """What writes, once per turn, all that waits for clients."""
    return Flusher(
        time.monotonic,
        lambda flush: reactor.callLater(0, flush),
        complaints.failed,
        limit=settings.OUTBOX_BYTES,
        total_limit=settings.OUTBOX_TOTAL_BYTES,
        policy=settings.SLOW_CLIENTS,
    )


def stomp(
    settings: Settings, application: Application, core: Core, observability: Observability, log: Any
) -> StompServer:
    """The door of STOMP clients, over whatever wire. The other doors share what it has."""
    wheel: Wheel[Connection] = Wheel()
    monitoring = observability.monitoring
    return StompServer(
        application=application,
        hub=core.hub,
        flusher=core.flusher,
        wheel=wheel,
        limits=parts.limits(settings),
        session_options=parts.session_options(settings),
        clock=time.monotonic,
        log=log,
        warn=observability.complaints.warn,
        write_timeout=settings.WRITE_TIMEOUT,
        subscription_limit=subscription_limit(settings),
        observer=observability.observer,
        delivery_observer=None if monitoring is None else monitoring.delivery_observer,
    )


def public_site(
    settings: Settings, stomp: StompServer, websockets: WebSocketServer, listening: PendingRequests, wall: Wall
) -> PublicSite:
    """The handlers of the public site. :raises SettingsError: SLIDES_DIR is no folder."""
    player = Player(
        stomp.application,
        stomp.hub,
        stomp.flusher,
        websockets,
        stomp.log,
        stomp.subscription_limit,
        destination_bytes=stomp.limits.destination_bytes,
    )
    handlers: dict[str, Handler] = {"/stomp": StompWebSocket(stomp, websockets).open, "/topic": player.open}
    return PublicSite(listening, settings, wall, handlers)


def http(
    reactor: Any,
    settings: Settings,
    connection_limit: ConnectionLimit,
    stomp: StompServer,
    listening: PendingRequests,
    public: PublicSite,
) -> HttpSite:
    """The listener of the public site, WebSockets among it."""
    dispatcher = Dispatcher(public.routes, listening)
    return HttpSite(reactor, dispatcher, connection_limit, settings, stomp.warn, name="radiovis")


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
        topics=settings.HTTP_MAX_TOPICS,
        places=settings.HTTP_MAX_LISTENERS,
        poll_seconds=settings.HTTP_POLL_TIMEOUT,
        catch_up_seconds=settings.HTTP_CATCH_UP_SECONDS,
        comment_seconds=settings.HTTP_COMMENT_SECONDS,
        write_seconds=settings.WRITE_TIMEOUT,
    )


def websockets(
    reactor: Any, settings: Settings, warn: Callable[..., None], failed: Callable[[object, Exception], None]
) -> WebSocketServer:
    """What all WebSockets share, whatever is spoken over them."""
    return WebSocketServer(
        reactor,
        time.monotonic,
        warn,
        failed,
        message_bytes=settings.WEBSOCKET_MESSAGE_BYTES,
        ping_every=settings.WEBSOCKET_PING_SECONDS,
        pong_timeout=settings.WEBSOCKET_PONG_SECONDS,
        linger=settings.LINGER_SECONDS,
        origins=origins(settings),
    )


def origins(settings: Settings) -> frozenset[str]:
    """Web pages whose scripts may connect; empty for all."""
    return frozenset(each.strip() for each in settings.WEBSOCKET_ORIGINS.split(",") if each.strip())


def drain(
    reactor: Any, settings: Settings, stomp: StompServer, listening: PendingRequests, websockets: WebSocketServer
) -> Drain:
    """How clients are let go at the end."""
    seconds, linger = settings.DRAIN_SECONDS, settings.LINGER_SECONDS
    return Drain(reactor, stomp, listening, websockets, seconds=seconds, linger=linger)
