"""``serve``: one front-end as a process, or several behind one parent."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress

import structlog
from twisted.internet.error import CannotListenError

from fanout.process.daemon import raise_limit
from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service, use_monotonic_timers
from fanout.settings import SettingsError, add_flags, given_flags, parse_flags, read_settings
from radiovis.client.arguments import WRONG, CommandError
from radiovis.node.node import Node
from radiovis.node.parent import Parent
from radiovis.node.places import port_setting
from radiovis.node.worker import ParentWatch, WorkerInfo
from radiovis.settings import Settings

_ALONE = WorkerInfo()

log = structlog.get_logger(__name__)


def serve(words: Sequence[str], epilog: str, birth: WorkerInfo = _ALONE) -> int:
    """Run until a signal ends it.

    :param words: the flags.
    :param epilog: what stands at the end of the help page.
    :return: the exit code.
    :raises SettingsError: something has to be put right first; so does :class:`CommandError`.
    """
    parser = argparse.ArgumentParser(
        prog="server.py",
        usage="server.py [serve] [--test] [--setting VALUE ...]",
        description="Run one front-end, or with --workers several on the same ports.",
        epilog=epilog,
        allow_abbrev=False,
    )
    parser.add_argument("--test", action="store_true", help="fake stations, 127.0.0.1:61424: for test suites")
    add_flags(parser, Settings)
    given = parse_flags(parser, Settings, words)
    settings = _read(given)
    _set_up_logs(settings, birth)
    for warning in settings.warnings():
        log.warning("settings.warning", warning=warning)
    raise_limit(settings.MAX_CONNECTIONS)
    try:
        if settings.WORKERS > 1 and not birth.number:
            return _run_workers(settings, words, birth, given)
        return _run(settings, birth, given)
    except CannotListenError as error:
        reason = error.socketError.strerror or error.socketError
        where, setting = f"{error.interface}:{error.port}", port_setting(settings, error.port)
        advice = f" {setting} sets the port." if setting else ""
        raise CommandError(
            f"cannot listen on {where}: {reason}. Is another server.py running?{advice}", WRONG
        ) from None


def _read(given: argparse.Namespace) -> Settings:
    """At the start, and with each SIGHUP."""
    settings = read_settings(Settings, given_flags(given), os.environ, given.config)
    if settings.STANDALONE and not settings.STATIONS_FILE and not given.test:
        raise SettingsError("STANDALONE needs STATIONS_FILE: a node by itself asks no PlugIt.")
    return settings


def _set_up_logs(settings: Settings, birth: WorkerInfo) -> None:
    set_up_logs(settings.LOG_LEVEL, settings.LOG_FORMAT, secrets=_secrets(settings), fields=birth.fields)


def _run(settings: Settings, birth: WorkerInfo, given: argparse.Namespace) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (importing it installs it: only a server wants that)

    use_monotonic_timers(reactor)
    node = Node(reactor, settings, fake=given.test, birth=birth)
    reload = node.reloading(lambda: _read(given), lambda settings: _set_up_logs(settings, birth))
    notify = Notify({} if birth.number else os.environ)  # the parent speaks for its workers
    service = Service(reactor, notify, stop=node.stop, reload=reload, status=node.status)
    node.start()
    if birth.number:
        ParentWatch(reactor)
    service.run()
    return 0


def _run_workers(settings: Settings, words: Sequence[str], birth: WorkerInfo, given: argparse.Namespace) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (likewise)

    use_monotonic_timers(reactor)
    parent = Parent(reactor, settings, words, fake=given.test)

    def reload() -> None:
        """The parent has its logs and a certificate; what is wrong, or waits for a restart, each worker says."""
        with suppress(SettingsError):
            _set_up_logs(_read(given), birth)
        parent.reload()

    service = Service(reactor, Notify(os.environ), stop=parent.stop, reload=reload, status=parent.workers.status)
    parent.start()
    service.run()
    return parent.workers.exit_code


def worker(words: Sequence[str], epilog: str) -> int:
    """What a parent starts; not for people. :param words: how it was born, and the flags of :func:`serve`."""
    return serve(words[1:], epilog, WorkerInfo.read(words[0]))


def _secrets(settings: Settings) -> list[str]:
    """The words that must not stand in any log."""
    url = settings.RADIODNS_API_URL.get_secret_value()
    passwords = (settings.RABBITMQ_PASSWORD, settings.MONITORING_PASSWORD, settings.ADMIN_TOKEN)
    return [*(password.get_secret_value() for password in passwords), url.rstrip("/").rpartition("/")[2]]
