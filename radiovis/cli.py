"""The commands of ``python server.py``."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import resource
import sys
from collections.abc import Callable, Sequence

import structlog
from twisted.internet.error import CannotListenError

from fanout import __version__
from fanout.logs import set_up_logs
from fanout.notify import Notify
from fanout.service import Service
from fanout.settings import SettingsError, add_flags, given_flags, parse_flags, read_settings
from radiovis.app import Node
from radiovis.bench.command import bench
from radiovis.bench.target import BenchError
from radiovis.commands.arguments import PROGRAM, CommandError
from radiovis.directory.stations import StationsFileError
from radiovis.parent import Parent
from radiovis.settings import Settings
from radiovis.worker import Birth, Lifeline
from radiovis.workers import COMMAND as WORKER

_WRONG = 2  # exit code for anything the operator has to put right before the program can start
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it: 128 + SIGINT
_RESERVED_FILES = 200  # file descriptors for everything that is no client

_ALONE = Birth()

log = structlog.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. ``serve`` needs not be named.

    :return: the exit code: 0, or 2 when something has to be put right first, with a line on stderr that says what.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "serve"
    command = _COMMANDS.get(name) or _HIDDEN.get(name)
    if command is None:
        near = difflib.get_close_matches(name, _COMMANDS, 1)
        return _complain(f"no such command: {name}; " + (f"did you mean {near[0]}?" if near else _commands()))
    try:
        code = command(words)
        sys.stdout.flush()
    except CommandError as error:
        return _complain(str(error), error.code)
    except (SettingsError, StationsFileError, BenchError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # Whoever read our output, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _serve(words: Sequence[str], birth: Birth = _ALONE) -> int:
    parser = argparse.ArgumentParser(
        prog="server.py",
        usage="server.py [serve] [--test] [--setting VALUE ...]",
        description="Run one front-end, or with --workers several on the same ports.",
        epilog=_commands(),
        allow_abbrev=False,
    )
    parser.add_argument("--test", action="store_true", help="fake stations, 127.0.0.1:61424: for test suites")
    add_flags(parser, Settings)
    given = parse_flags(parser, Settings, words)
    settings = _read(given)
    _set_up_logs(settings, birth)
    for warning in settings.warnings():
        log.warning("settings.warning", warning=warning)
    _raise_file_limit(settings.MAX_CONNECTIONS)
    try:
        if settings.WORKERS > 1 and not birth.number:
            return _run_workers(settings, words, fake=given.test)
        return _run(settings, birth, given)
    except CannotListenError as error:
        reason = error.socketError.strerror or error.socketError
        return _complain(f"cannot listen on {error.interface}:{error.port}: {reason}. Is another server.py running?")


def _read(given: argparse.Namespace) -> Settings:
    """At the start, and with each SIGHUP."""
    settings = read_settings(Settings, given_flags(given), os.environ, given.config)
    if settings.STANDALONE and not settings.STATIONS_FILE and not given.test:
        raise SettingsError("STANDALONE needs STATIONS_FILE: a node by itself asks no PlugIt.")
    return settings


def _set_up_logs(settings: Settings, birth: Birth) -> None:
    set_up_logs(settings.LOG_LEVEL, settings.LOG_FORMAT, secrets=_secrets(settings), fields=birth.fields)


def _run(settings: Settings, birth: Birth, given: argparse.Namespace) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (importing it installs it: only a server wants that)

    node = Node(reactor, settings, fake=given.test, birth=birth)
    reload = node.reloading(lambda: _read(given), lambda settings: _set_up_logs(settings, birth))
    notify = Notify({} if birth.number else os.environ)  # the parent speaks for its workers
    service = Service(reactor, notify, stop=node.stop, reload=reload, status=node.status)
    node.start()
    if birth.number:
        Lifeline(reactor)
    service.run()
    return 0


def _run_workers(settings: Settings, words: Sequence[str], *, fake: bool) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (likewise)

    parent = Parent(reactor, settings, words, fake=fake)
    service = Service(
        reactor, Notify(os.environ), stop=parent.stop, reload=parent.workers.reload, status=parent.workers.status
    )
    parent.start()
    service.run()
    return parent.workers.exit_code


def _worker(words: Sequence[str]) -> int:
    """What a parent starts; not for people."""
    return _serve(words[1:], Birth.read(words[0]))


def _secrets(settings: Settings) -> list[str]:
    """The words that must not stand in any log."""
    url = settings.RADIODNS_API_URL.get_secret_value()
    passwords = (settings.RABBITMQ_PASSWORD, settings.MONITORING_PASSWORD, settings.ADMIN_TOKEN)
    return [*(password.get_secret_value() for password in passwords), url.rstrip("/").rpartition("/")[2]]


def _raise_file_limit(connections: int) -> None:
    """A connection is a file descriptor; many systems allow 1,024 unless asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + _RESERVED_FILES:
        log.warning("files.few", limit=hard, MAX_CONNECTIONS=connections, advice="raise LimitNOFILE, or lower it")


def _version(words: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="server.py version", description="Print the version.").parse_args(words)
    print(f"radiovis {__version__}")
    return 0


def _command(module: str) -> Callable[[Sequence[str]], int]:
    """A command of ``radiovis/commands/``, which is imported when it is called: a server needs none of them."""
    return lambda words: int(importlib.import_module(f"radiovis.commands.{module}").run(words))


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": _serve,
    "station": _command("station"),
    "check-config": _command("check_config"),
    "pub": _command("pub"),
    "sub": _command("sub"),
    "topics": _command("topics"),
    "logs": _command("logs"),
    "probe": _command("probe"),
    "conformance": _command("conformance"),
    "bench": bench,
    "version": _version,
}
_HIDDEN: dict[str, Callable[[Sequence[str]], int]] = {WORKER: _worker}


def _commands() -> str:
    return "commands: " + ", ".join(_COMMANDS)


def _complain(text: str, code: int = _WRONG) -> int:
    print("\n".join(f"{PROGRAM}: {line}" for line in text.splitlines()), file=sys.stderr)
    return code
