"""SIGHUP: the settings are read again, and what can change while a process runs does.

A file with a mistake changes nothing. What cannot change, such as a port, is named in the log and waits for a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from fanout.application.login_throttle import LoginThrottle
from fanout.http.drain import Drain
from fanout.http.pending import PendingRequests
from fanout.http.server import HttpSite
from fanout.http.websocket import WebSocketServer
from fanout.hub.history import History
from fanout.listeners.limits import ConnectionLimit, SubscriptionLimit
from fanout.process.daemon import raise_limit
from fanout.settings import SettingsError
from fanout.stomp_server.server import StompServer
from radiovis.http.routes import PublicSite
from radiovis.node import door_parts, parts
from radiovis.node.sides import Servers
from radiovis.settings import Settings

Take = Callable[[Settings], None]
Takes = Mapping[str, Sequence[Take]]

_LIMITS = [
    "CONNECT_BYTES",
    "CONNECT_TIMEOUT",
    "FRAME_TIMEOUT",
    "MAX_DESTINATION_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_HEADERS",
    "MAX_HEADER_BYTES",
    "MAX_PENDING_RECEIPTS",
    "MAX_SUBSCRIPTIONS",
    "MAX_TRANSACTIONS",
    "MAX_TRANSACTION_ACTIONS",
    "MAX_TRANSACTION_BYTES",
    "MAX_UNACKED",
]
_MANNERS = ["HEARTBEAT_MS", "IDLE_LF_SECONDS", "STOMP_HOSTS", "TRAILING_LF"]
_OUTBOXES = ["OUTBOX_BYTES", "OUTBOX_TOTAL_BYTES", "SLOW_CLIENTS", "WRITE_TIMEOUT"]
_HTTP = ["HTTP_CATCH_UP_SECONDS", "HTTP_COMMENT_SECONDS", "HTTP_MAX_LISTENERS", "HTTP_MAX_TOPICS", "HTTP_POLL_TIMEOUT"]
_GATE = ["CONNECT_BURST", "CONNECT_RATE", "MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"]
_QUOTA = ["MAX_SUBSCRIPTIONS_PER_ADDRESS", "MAX_SUBSCRIPTIONS_TOTAL"]
_HISTORY = ["HISTORY_BYTES", "HISTORY_MESSAGES", "HISTORY_SECONDS"]
_LOGINS = [
    "LOGIN_FAILURES",
    "LOGIN_FAILURES_PER_NAME",
    "LOGIN_FORGET_SECONDS",
    "LOGIN_PAUSE_SECONDS",
    "LOGIN_QUEUE_SECONDS",
    "LOGIN_STRANGER_SECONDS",
]
_REQUESTS = ["HTTP_BODY_BYTES", "HTTP_MAX_TOPICS", "HTTP_REQUEST_TIMEOUT", "MAX_DESTINATION_BYTES", "WRITE_TIMEOUT"]
_WEBSOCKETS = ["WEBSOCKET_MESSAGE_BYTES", "WEBSOCKET_ORIGINS", "WEBSOCKET_PING_SECONDS", "WEBSOCKET_PONG_SECONDS"]

log = structlog.get_logger(__name__)


class Reloading:
    """Reads the settings again, each time it is called."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        takes: Takes,
        files: Iterable[Callable[[], object] | None] = (),
    ) -> None:
        """
        :param settings: those the process was started with.
        :param read: reads them as at the start; raises :class:`SettingsError`.
        :param takes: for each setting that can change now: have the parts it is for take it over.
        :param files: what reads other files again, and keeps what it has when it cannot; None for what there is not.
        """
        self._settings = settings
        self._read = read
        self._takes = takes
        self._files = [each for each in files if each is not None]

    def __call__(self) -> None:
        """Read all again. What is wrong is logged, a line for each."""
        try:
            settings = self._read()
        except SettingsError as error:
            for problem in str(error).splitlines():
                log.error("settings.refused", problem=problem)
            log.warning("settings.kept", advice="correct the settings and send SIGHUP again")
        else:
            self._take(settings)
        for read_again in self._files:
            read_again()

    def _take(self, settings: Settings) -> None:
        changed = [name for name in Settings.model_fields if getattr(settings, name) != getattr(self._settings, name)]
        now = [name for name in changed if name in self._takes]
        self._settings = self._settings.model_copy(update={name: getattr(settings, name) for name in now})
        for take in dict.fromkeys(take for name in now for take in self._takes[name]):
            take(self._settings)  # without what needs a restart
        log.info("settings.reloaded", changed=now)
        later = [name for name in changed if name not in self._takes]
        if later:
            log.warning("settings.need_restart", settings=later)


def node_takes(doors: Servers, throttle: LoginThrottle, history: History) -> dict[str, list[Take]]:
    """What can change in a node. Clients that are connected keep the limits they came under."""
    groups: list[tuple[list[str], Take]] = [
        (_LIMITS, partial(_limits, doors.stomp)),
        (_MANNERS, partial(_manners, doors.stomp)),
        (_OUTBOXES, partial(_outboxes, doors.stomp, doors.listening)),
        (_HTTP, partial(_http, doors.listening)),
        (_WEBSOCKETS, partial(_websockets, doors.websockets)),
        (_GATE, partial(_connection_limit, doors.connection_limit)),
        (_QUOTA, partial(_subscription_limit, doors.stomp.subscription_limit)),
        (_LOGINS, partial(_logins, throttle)),
        (_HISTORY, partial(_history, history)),
        (_REQUESTS, partial(_requests, doors.site, doors.public)),
        (["DRAIN_SECONDS"], partial(_draining, doors.drain)),
    ]
    takes: dict[str, list[Take]] = {}
    for names, take in groups:
        for name in names:
            takes.setdefault(name, []).append(take)
    return takes


def _limits(stomp: StompServer, settings: Settings) -> None:
    stomp.limits = parts.limits(settings)


def _manners(stomp: StompServer, settings: Settings) -> None:
    stomp.session_options = parts.session_options(settings)


def _outboxes(stomp: StompServer, listening: PendingRequests, settings: Settings) -> None:
    stomp.flusher.limit, stomp.flusher.policy = settings.OUTBOX_BYTES, settings.SLOW_CLIENTS
    stomp.flusher.total_limit = settings.OUTBOX_TOTAL_BYTES
    stomp.write_timeout = listening.write_seconds = settings.WRITE_TIMEOUT


def _http(listening: PendingRequests, settings: Settings) -> None:
    listening.topics, listening.places = settings.HTTP_MAX_TOPICS, settings.HTTP_MAX_LISTENERS
    listening.poll_seconds, listening.catch_up_seconds = settings.HTTP_POLL_TIMEOUT, settings.HTTP_CATCH_UP_SECONDS
    listening.comment_seconds = settings.HTTP_COMMENT_SECONDS


def _websockets(door: WebSocketServer, settings: Settings) -> None:
    door.message_bytes, door.origins = settings.WEBSOCKET_MESSAGE_BYTES, door_parts.origins(settings)
    door.ping_every, door.pong_timeout = settings.WEBSOCKET_PING_SECONDS, settings.WEBSOCKET_PONG_SECONDS


def _connection_limit(connection_limit: ConnectionLimit, settings: Settings) -> None:
    """Who is in stays; how fast each came is forgotten."""
    new = door_parts.connection_limit(settings)
    connection_limit.connections, connection_limit.per_address, connection_limit.bucket = (
        new.connections,
        new.per_address,
        new.bucket,
    )
    raise_limit(connection_limit.connections)


def _subscription_limit(subscription_limit: SubscriptionLimit, settings: Settings) -> None:
    subscription_limit.most, subscription_limit.per_address = (
        settings.MAX_SUBSCRIPTIONS_TOTAL,
        settings.MAX_SUBSCRIPTIONS_PER_ADDRESS,
    )


def _logins(throttle: LoginThrottle, settings: Settings) -> None:
    throttle.failures, throttle.name_failures = settings.LOGIN_FAILURES, settings.LOGIN_FAILURES_PER_NAME
    throttle.pause, throttle.stranger_pause = settings.LOGIN_PAUSE_SECONDS, settings.LOGIN_STRANGER_SECONDS
    throttle.queue = settings.LOGIN_QUEUE_SECONDS
    throttle.forget_after(settings.LOGIN_FORGET_SECONDS)


def _history(history: History, settings: Settings) -> None:
    """It is cut to its new size with the next message, a topic to its new number with the next one there."""
    history.messages, history.seconds = settings.HISTORY_MESSAGES, settings.HISTORY_SECONDS
    history.octets = settings.HISTORY_BYTES


def _requests(site: HttpSite, public: PublicSite, settings: Settings) -> None:
    site.settings = settings
    public.settings = settings


def _draining(drain: Drain, settings: Settings) -> None:
    drain.seconds = settings.DRAIN_SECONDS
