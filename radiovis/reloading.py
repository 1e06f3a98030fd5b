"""SIGHUP: the settings are read again, and what can change while a process runs does.

A file with a mistake changes nothing. What cannot change, such as a port, is named in the log and waits for a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from fanout.doors.listening import ListeningDoor
from fanout.doors.stomp import StompDoor
from fanout.doors.websocket import WebSocketDoor
from fanout.drain import Drain
from fanout.settings import SettingsError
from radiovis import door_parts, parts
from radiovis.settings import Settings

Take = Callable[[Settings], None]

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
_WEBSOCKETS = ["WEBSOCKET_MESSAGE_BYTES", "WEBSOCKET_ORIGINS", "WEBSOCKET_PING_SECONDS", "WEBSOCKET_PONG_SECONDS"]

log = structlog.get_logger(__name__)


class Reloading:
    """Reads the settings again, each time it is called."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        takes: Mapping[str, Take],
        files: Iterable[Callable[[], object] | None] = (),
    ) -> None:
        """
        :param settings: those the process was started with.
        :param read: reads them as at the start; raises :class:`SettingsError`.
        :param takes: for each setting that can change now: has the part it is for take it over.
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
        for take in dict.fromkeys(self._takes[name] for name in now):
            take(settings)
        log.info("settings.reloaded", changed=now)
        later = [name for name in changed if name not in self._takes]
        if later:
            log.warning("settings.need_restart", settings=later)


def node_takes(stomp: StompDoor, listening: ListeningDoor, websockets: WebSocketDoor, drain: Drain) -> dict[str, Take]:
    """What can change in a node. Clients that are connected keep the limits they came under."""

    def limits(settings: Settings) -> None:
        stomp.limits = parts.limits(settings)

    def manners(settings: Settings) -> None:
        stomp.manners = parts.manners(settings)

    def outboxes(settings: Settings) -> None:
        stomp.flusher.limit, stomp.flusher.policy = settings.OUTBOX_BYTES, settings.SLOW_CLIENTS
        stomp.flusher.total_limit = settings.OUTBOX_TOTAL_BYTES
        stomp.write_timeout = listening.write_seconds = settings.WRITE_TIMEOUT

    def http(settings: Settings) -> None:
        listening.topics, listening.places = settings.HTTP_MAX_TOPICS, settings.HTTP_MAX_LISTENERS
        listening.poll_seconds, listening.catch_up_seconds = settings.HTTP_POLL_TIMEOUT, settings.HTTP_CATCH_UP_SECONDS
        listening.comment_seconds = settings.HTTP_COMMENT_SECONDS

    def sockets(settings: Settings) -> None:
        websockets.message_bytes, websockets.origins = settings.WEBSOCKET_MESSAGE_BYTES, door_parts.origins(settings)
        websockets.ping_every, websockets.pong_timeout = (
            settings.WEBSOCKET_PING_SECONDS,
            settings.WEBSOCKET_PONG_SECONDS,
        )

    def draining(settings: Settings) -> None:
        drain.seconds = settings.DRAIN_SECONDS

    return {
        **dict.fromkeys(_LIMITS, limits),
        **dict.fromkeys(_MANNERS, manners),
        **dict.fromkeys(_OUTBOXES, outboxes),
        **dict.fromkeys(_HTTP, http),
        **dict.fromkeys(_WEBSOCKETS, sockets),
        "DRAIN_SECONDS": draining,
    }
