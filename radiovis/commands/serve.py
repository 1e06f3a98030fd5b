"""``serve``: run a node in this process, or run several workers under a supervisor."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog
from twisted.internet.error import CannotListenError

from fanout.process.daemon import raise_limit
from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service, use_monotonic_timers
from fanout.settings import SettingsError, parse_flags
from radiovis.client.command_line import PROGRAM, WRONG, CommandError, daemon_parser, given_settings
from radiovis.node.listeners import port_setting
from radiovis.node.node import Node
from radiovis.node.workers import ParentWatch, WorkerSupervisor
from radiovis.settings import Settings

_COMMON = ("STANDALONE", "STATIONS_FILE", "STOMP_PORT", "HTTP_PORT")
"""The settings that ``--help`` shows: those needed for a first start."""

log = structlog.get_logger(__name__)


def serve(words: Sequence[str], commands: Mapping[str, str], worker: int | None = None) -> int:
    """Run until a signal ends the process.

    :param words: the flags.
    :param commands: one sentence for each command, for the help page.
    :param worker: the number of this worker; None if this process is not a worker.
    :return: the exit code.
    :raises SettingsError: a setting is wrong.
    :raises CommandError: the node cannot listen on a port.
    """
    description = "A RadioVIS server: pictures and texts for radios."
    test = "use the fake stations of test suites, and listen at 127.0.0.1:61424"
    parser = daemon_parser(PROGRAM, description, commands, test, _COMMON)
    given = parse_flags(parser, Settings, words)
    settings = _read(given)
    _set_up_logs(settings, worker)
    for warning in settings.warnings():
        log.warning("settings.warning", warning=warning)
    raise_limit(settings.MAX_CONNECTIONS)
    try:
        if settings.WORKERS > 1 and worker is None:
            return _run_workers(settings, words, given)
        return _run(settings, given, worker)
    except CannotListenError as error:
        raise CommandError(_cannot_listen(settings, error), WRONG) from None


def _cannot_listen(settings: Settings, error: CannotListenError) -> str:
    reason = error.socketError.strerror or error.socketError
    where, setting = f"{error.interface}:{error.port}", port_setting(settings, error.port)
    advice = f" {setting} sets the port." if setting else ""
    return f"cannot listen on {where}: {reason}. Is another server.py running?{advice}"


def _read(given: argparse.Namespace) -> Settings:
    """Read the settings, at the start and after each SIGHUP. :raises SettingsError: a setting is wrong."""
    settings = given_settings(given, trust=True)
    if settings.STANDALONE and not settings.STATIONS_FILE and not given.test:
        raise SettingsError("STANDALONE needs STATIONS_FILE, because a stand-alone node does not ask PlugIt.")
    return settings


def _set_up_logs(settings: Settings, worker: int | None) -> None:
    """Set up the logs. Each log line of a worker has its number, because all workers write to the same stream."""
    fields = {} if worker is None else {"worker": worker}
    set_up_logs(settings.LOG_LEVEL, settings.LOG_FORMAT, secrets=_secrets(settings), fields=fields)


def _run(settings: Settings, given: argparse.Namespace, worker: int | None) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (the import installs the reactor, which only a server needs)

    use_monotonic_timers(reactor)
    node = Node(reactor, settings, fake=given.test, worker=worker)
    reload = node.reloading(lambda: _read(given), lambda settings: _set_up_logs(settings, worker))
    notify = Notify(os.environ if worker is None else {})  # The supervisor notifies systemd for its workers.
    service = Service(reactor, notify, stop=node.stop, reload=reload, status=node.status)
    node.start()
    if worker is not None:
        ParentWatch(reactor)
    service.run()
    return 0


def _run_workers(settings: Settings, words: Sequence[str], given: argparse.Namespace) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (as above)

    use_monotonic_timers(reactor)
    supervisor = WorkerSupervisor(reactor, settings, words, fake=given.test)

    def reload() -> None:
        """Apply the settings that the supervisor uses. The workers log which settings are wrong or need a restart."""
        new = None
        with suppress(SettingsError):
            new = _read(given)
            _set_up_logs(new, None)
        supervisor.reload(new)

    service = Service(reactor, Notify(os.environ), stop=supervisor.stop, reload=reload, status=supervisor.status)
    supervisor.start()
    service.run()
    return supervisor.exit_code


def worker(words: Sequence[str], commands: Mapping[str, str]) -> int:
    """Run one worker. The supervisor calls this. :param words: the worker's number, then the flags of :func:`serve`."""
    return serve(words[1:], commands, int(words[0]))


def _secrets(settings: Settings) -> list[str]:
    """The secrets, which are masked in the log."""
    url = settings.RADIODNS_API_URL.get_secret_value()
    passwords = (settings.RABBITMQ_PASSWORD, settings.MONITORING_PASSWORD, settings.ADMIN_TOKEN)
    return [*(password.get_secret_value() for password in passwords), url.rstrip("/").rpartition("/")[2]]
