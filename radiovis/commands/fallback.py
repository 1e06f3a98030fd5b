"""The commands of ``python fallback.py``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from twisted.internet.error import CannotListenError

from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service, use_monotonic_timers
from fanout.settings import SettingsError, add_flags, parse_flags, program_name
from fanout.settings.field import DEFAULT
from radiovis.client.command_line import (
    CommandError,
    command_and_words,
    daemon_parser,
    exit_code_lines,
    given_settings,
    no_such_command,
)
from radiovis.directory.stations_parser import StationsFileError
from radiovis.node.fallback_daemon import Fallback
from radiovis.settings import Settings
from radiovis.watchdog.status import Report, ask, is_well, running_daemons

_PROGRAM = program_name("radiovis-fallback", "fallback.py")
_COMMON = ("RABBITMQ_HOST", "RADIODNS_API_URL", "FB_FALLBACK_TIME", "FB_STATUS_SOCKET")
"""The settings that ``--help`` shows: those needed for a first start."""
_FAILING, _WRONG = 1, 2
EXITS = {
    "run": {
        0: "it was stopped and has ended cleanly",
        _WRONG: "it cannot start: correct a setting, a file or a port first",
    },
    "status": {
        0: "all is well",
        _FAILING: "something fails or is degraded",
        _WRONG: "no watchdog was found, or wrong usage",
    },
}
"""The meaning of the exit codes of each command."""

log = structlog.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. ``run`` is the default.

    :return: the exit code, as in :data:`EXITS`. If it is 2, a line on stderr says what to correct.
    """
    name, words = command_and_words(list(sys.argv[1:] if arguments is None else arguments), "run")
    if name not in _COMMANDS:
        return _warn(no_such_command(name, _COMMANDS))
    try:
        return _COMMANDS[name][1](words)
    except CommandError as error:
        return _warn(str(error), error.code)
    except (SettingsError, StationsFileError) as error:
        return _warn(str(error))


def _run(words: Sequence[str]) -> int:
    description = "The RadioVIS watchdog: sends default slides to silent topics, and writes the log of messages."
    test = "use the fake stations of test suites, and send log entries as datagrams"
    summaries = {name: summary for name, (summary, _) in _COMMANDS.items()}
    parser = daemon_parser(_PROGRAM, description, summaries, test, _COMMON)
    given = parse_flags(parser, Settings, words)
    settings = _checked(given)
    _set_up_logs(settings)
    for warning in settings.warnings():
        log.warning("settings.warning", warning=warning)

    from twisted.internet import reactor  # noqa: PLC0415  (the import installs the reactor, which only a daemon needs)

    use_monotonic_timers(reactor)
    fallback = Fallback(reactor, settings, fake=given.test)
    reload = fallback.reloading(lambda: _checked(given), _set_up_logs)
    service = Service(reactor, Notify(os.environ), stop=fallback.stop, reload=reload, status=fallback.status)
    try:
        fallback.start()
    except CannotListenError as error:
        reason = error.socketError.strerror or error.socketError
        return _warn(f"cannot listen on {error.interface}:{error.port}: {reason}. Is another fallback.py running?")
    service.run()
    return 0


def _checked(given: argparse.Namespace) -> Settings:
    """Read the settings, at the start and after each SIGHUP. :raises SettingsError: a setting is wrong."""
    settings = given_settings(given, trust=True)
    if settings.STANDALONE or settings.RABBITMQ_LOOPBACK:
        name = "STANDALONE" if settings.STANDALONE else "RABBITMQ_LOOPBACK"
        raise SettingsError(
            f"{name}: fallback.py needs a broker. With server.py --standalone, the node runs the watchdog itself."
        )
    return settings


def _set_up_logs(settings: Settings) -> None:
    set_up_logs(settings.LOG_LEVEL, settings.LOG_FORMAT, secrets=_secrets(settings))


def _status(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"{_PROGRAM} status",
        usage="%(prog)s [--json] [--setting VALUE ...]",
        description="Show the state of the running watchdog: its tasks, the broker and the log.\n\n"
        "The command asks the watchdog at FB_STATUS_SOCKET. If this setting is not set and no\n"
        "watchdog answers in this folder, it searches the processes of this machine for one.",
        epilog=exit_code_lines(EXITS["status"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    add_flags(parser, Settings, common=("FB_STATUS_SOCKET",))
    given = parse_flags(parser, Settings, words)
    report = _asked(given_settings(given, trust=True))
    print(json.dumps(report) if given.json else _table(report))
    return 0 if is_well(report) else _FAILING


def _asked(settings: Settings) -> Report:
    """The report of the watchdog at FB_STATUS_SOCKET.

    If the setting has its default and no watchdog answers there, the report of the one that runs in another folder.

    :raises CommandError: no watchdog answers; the text names the sockets that were tried.
    """
    path = settings.FB_STATUS_SOCKET
    if not path:
        raise CommandError("FB_STATUS_SOCKET is empty, so the watchdog has no socket to ask", _WRONG)
    here = Path(path).absolute()
    report = _answer(Path(path))  # Not the absolute path, which may be too long for a socket.
    if report is not None:
        return report
    if settings.source_of("FB_STATUS_SOCKET") != DEFAULT:
        raise CommandError(f"not running: no answer at {here}", _WRONG)
    there = _elsewhere(here)
    print(f"{_PROGRAM}: no answer at {here}; asking the watchdog at {there}", file=sys.stderr)
    report = _answer(there)
    if report is None:  # The watchdog has ended meanwhile.
        raise CommandError(f"not running: no answer at {here} or {there}", _WRONG)
    return report


def _answer(path: Path) -> Report | None:
    """The report; None if no watchdog listens. :raises CommandError: the socket exists, but the answer is wrong."""
    try:
        return ask(str(path))
    except OSError as error:
        raise CommandError(f"{path.absolute()}: {error.strerror or error}", _FAILING) from None


def _elsewhere(here: Path) -> Path:
    """The socket of the only watchdog that runs in another folder.

    :param here: the socket at which no watchdog answered.
    :raises CommandError: there is no such watchdog, or there are several; the text says what to do.
    """
    found = running_daemons()
    if not found:
        raise CommandError(
            f"not running: no answer at {here}, and this user sees no other watchdog on this machine.\n"
            "If a watchdog runs, ask as its user or as root, or name its socket: --fb-status-socket PATH",
            _WRONG,
        )
    if len(found) > 1:
        sockets = "\n".join(f"  --fb-status-socket {each}" for each in found)
        text = f"no answer at {here}, and several watchdogs run on this machine; name one of them:\n{sockets}"
        raise CommandError(text, _WRONG)
    return Path(found[0])


def _table(report: Report) -> str:
    bus, kept = report["bus"], report["log"]
    lines = [
        f"{'leading' if report['leading'] else 'standing by'}, {report['topics']} topics{_leaderless(report)}",
        f"broker  {'' if bus['connected'] else 'NOT CONNECTED: '}{bus['reason']}",
        f"log     {kept['waiting']} waiting" + (f", FAILING since {_time(kept['since'])}: " if kept["error"] else ""),
        "",
        f"{'task':<16} {'state':<8} {'last success':<20} {'restarts':>8}",
    ]
    lines[2] += kept["error"]
    lines[3:3] = [f"DEGRADED  {each}" for each in report.get("degraded", ())]
    if (schedule := report["schedule"]) is not None:
        first = [f", next at {_time(each['at'])}" for each in schedule["next"][:1]]
        lines.insert(3, f"held    {schedule['held']} of {schedule['most']} messages{''.join(first)}")
    for task in report["tasks"]:
        state = "FAILING" if task["failing"] else "well"
        success = _time(task["last_success"])
        lines.append(f"{task['name']:<16} {state:<8} {success:<20} {task['restarts']:>8}")
        if task["last_error"]:
            lines.append(f"  last error {_time(task['last_error_at'])}: {task['last_error']}")
    return "\n".join(lines)


def _leaderless(report: Report) -> str:
    leaderless = report.get("leaderless", {})  # A daemon of an earlier version does not report it.
    return f", NO WATCHDOG LEADS for {leaderless['seconds']:.0f} s" if leaderless.get("alarm") else ""


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _secrets(settings: Settings) -> list[str]:
    """The secrets, which are masked in the log."""
    url = settings.RADIODNS_API_URL.get_secret_value()
    passwords = (settings.RABBITMQ_PASSWORD, settings.MONITORING_PASSWORD, settings.ADMIN_TOKEN)
    return [*(password.get_secret_value() for password in passwords), url.rstrip("/").rpartition("/")[2]]


def _version(words: Sequence[str]) -> int:
    return int(importlib.import_module("radiovis.commands.version").run(words))


_COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "run": ("Run the watchdog (the default). Additional watchdogs stand by.", _run),
    "status": ("Show the state of the running watchdog: tasks, broker, log.", _status),
    "version": ("Print the version.", _version),
}


def _warn(text: str, code: int = _WRONG) -> int:
    print("\n".join(f"{_PROGRAM}: {line}" for line in text.splitlines()), file=sys.stderr)
    return code
