"""SIGHUP: the settings are read again, and those that can change in a running process take effect.

A file with a mistake changes nothing. The log names settings that cannot change, such as a port; they need a restart.
Each setting declares whether it can change: ``setting(…, reload=True)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from fanout.application.login_throttle import LoginThrottle
from fanout.bus.amqp_message import MessageLimits
from fanout.bus.interface import Bus, PasswordBus
from fanout.hub.history import History
from fanout.process.daemon import raise_limit
from fanout.process.logs import LogSettings
from fanout.settings import SettingsError
from radiovis.admin.listener import Admin
from radiovis.node.servers import Servers
from radiovis.settings import Settings

Take = Callable[[Settings], None]
Takes = Mapping[str, Sequence[Take]]

_LOGS = LogSettings.reloadable()

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
        :param settings: the settings at the start of the process.
        :param read: reads them as at the start; raises :class:`SettingsError`.
        :param takes: the functions that pass new settings to the parts, for each setting that can change.
        :param files: functions that read other files again, and do not change anything if they cannot; None for missing
            parts.
        """
        self._settings = settings
        self._read = read
        self._takes = takes
        self._files = [each for each in files if each is not None]

    def __call__(self) -> None:
        """Read everything again. Mistakes are logged, one line each."""
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
            take(self._settings)
        log.info("settings.reloaded", changed=now)
        later = [name for name in changed if name not in self._takes]
        if later:
            log.warning("settings.need_restart", settings=later)


def node_takes(
    servers: Servers, throttle: LoginThrottle, history: History, limits: MessageLimits
) -> dict[str, list[Take]]:
    """The settings that can change in a node, except those of its logs. Connected clients keep their previous
    limits.
    """
    stomp = servers.stomp
    parts = (
        stomp,
        stomp.flusher,
        stomp.subscription_limit,
        servers.pending_requests,
        servers.websockets,
        servers.connection_limit,
        servers.site,
        servers.public,
        servers.drain,
        throttle,
        history,
        limits,
    )

    def take(settings: Settings) -> None:
        for part in parts:
            part.settings = settings
        raise_limit(settings.MAX_CONNECTIONS)

    return {name: [take] for name in Settings.reloadable() if name not in _LOGS}


def watchdog_takes(limits: MessageLimits) -> dict[str, list[Take]]:
    """The settings that can change in a separate watchdog, except those of its logs: nodes may send longer messages
    then.
    """

    def take(settings: Settings) -> None:
        limits.settings = settings

    return {"MAX_FRAME_BYTES": [take]}


def secret_takes(take_logs: Take, admin: Admin | None, bus: Bus) -> dict[str, list[Take]]:
    """The secrets that can change in every process. The logs are configured first, so that they mask the new secret.

    :param take_logs: configures the logs again.
    :param admin: the operators' listener; None if there is none.
    :param bus: the bus, which may log in with a password.
    """

    def take_token(settings: Settings) -> None:
        if admin is not None:
            admin.take_token(settings)

    def take_password(settings: Settings) -> None:
        if isinstance(bus, PasswordBus):
            bus.use_password(settings.RABBITMQ_PASSWORD.get_secret_value())

    return {"ADMIN_TOKEN": [take_logs, take_token], "RABBITMQ_PASSWORD": [take_logs, take_password]}


def log_takes(take: Take) -> dict[str, list[Take]]:
    """The settings that can change in the logs of every process.

    :param take: configures the logs again.
    """
    return {name: [take] for name in _LOGS}
