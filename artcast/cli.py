"""``python -m artcast``: the options, and the life cycle of the process."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pydantic import SecretStr
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError

from artcast.app import Artcast
from artcast.settings import CONFIG_FILE, Settings, read
from fanout import __version__
from fanout.bus.broker_settings import RetryPolicy
from fanout.bus.interface import Bus
from fanout.bus.loopback import Loopback
from fanout.http.access_log import log_file
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.listeners.tls import CertificateError
from fanout.process.daemon import DaemonError, daemonize, drop_to, pid_file, raise_limit
from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service, use_monotonic_timers
from fanout.settings import SettingsError, add_flags, given_flags, parse_flags, program_name

PROGRAM = "artcast"
_COMMON = ("CLIENT_PORT", "DATA_PORT", "REGISTER_PORT")
"""The options that ``--help`` shows: those for a first start."""
OUTBOX_SECONDS = 2.0
"""Seconds that a value waits for the broker. A value is a state, and useless when it is older than this."""
RESEND_SECONDS = 0.0
"""Confirmed values within this number of seconds before a loss of the connection are sent again: none, because the next
value follows soon."""
_WRONG = 2  # exit code if the operator has to correct something first

log = structlog.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is asked to end.

    :return: the exit code: 0, or 2 if something has to be corrected first, with a line on stderr that says what.
    """
    try:
        settings = _read(sys.argv[1:] if arguments is None else arguments)
        if settings.VERBOSE:
            print("\n".join(sorted(_options(settings))), file=sys.stderr)
        _serve(settings, daemonize() if settings.DAEMONIZE else None)
    except CannotListenError as error:
        reason = error.socketError.strerror or error.socketError
        return _warn(f"cannot listen on {error.interface or '*'}:{error.port}: {reason}")
    except (SettingsError, DaemonError, CertificateError) as error:
        return _warn(str(error))
    return 0


def _read(arguments: Sequence[str]) -> Settings:
    parser = argparse.ArgumentParser(
        prog=program_name(PROGRAM, f"python -m {PROGRAM}"),
        usage="%(prog)s [--option VALUE ...]",
        description="Serve the values that sources send, to clients that ask for the next one.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}", help="print the version")
    add_flags(parser, Settings, CONFIG_FILE, _COMMON)
    given = parse_flags(parser, Settings, arguments)
    return read(Settings, given_flags(given), os.environ, given.config)


def _options(settings: Settings) -> list[str]:
    """Each option as ``name : value``."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    shown = {name: value if not isinstance(value, SecretStr) else "********" for name, value in values.items()}
    return [f"{name.lower().replace('_', '-')} : {'none' if value == '' else value}" for name, value in shown.items()]


def _serve(settings: Settings, ready: Callable[[], None] | None) -> None:
    from twisted.internet import reactor  # noqa: PLC0415  (the import opens it, which must happen after daemonize)

    use_monotonic_timers(reactor)
    errors = _error_log(settings)
    raise_limit(settings.MAX_CONNECTIONS)
    bus = _bus(reactor, settings)
    artcast = Artcast(reactor, settings, Hub(_failed, last_messages=1), bus)

    def stop() -> Deferred[Any]:
        return DeferredList([artcast.stop(), bus.stop()], consumeErrors=True)

    def hear(message: Message) -> None:
        artcast.hear(message)

    def reopen() -> None:
        """Handle a SIGHUP: the log files may have been renamed."""
        artcast.reload()
        errors.close()

    service = Service(reactor, Notify(os.environ), stop=stop, reload=reopen, status=artcast.status)
    addresses = artcast.start()
    drop_to(int(settings.UID) if settings.UID else None)
    with pid_file(settings.PIDFILE):
        bus.start(hear, lambda: None)
        if ready is not None:
            ready()
        reactor.callWhenRunning(log.info, "server.ready", **addresses)
        service.run()


def _error_log(settings: Settings) -> logging.Handler:
    """The log for everything except the answers to clients."""
    handler = log_file(settings.ERROR_LOG, settings.ERROR_LOG_SIZE, settings.ERROR_LOG_COUNT)
    secrets = [settings.RABBITMQ_PASSWORD.get_secret_value()]
    set_up_logs(settings.LOG_LEVEL, settings.LOG_FORMAT, secrets, handler=handler)
    for warning in settings.warnings():
        log.warning("settings.warning", warning=warning)
    return handler


def _failed(part: object, error: Exception) -> None:
    log.error("client.failed", part=type(part).__name__, exc_info=error)


def _bus(reactor: Any, settings: Settings) -> Bus:
    """The bus that connects this server to others, or one within this process."""
    if settings.BUS == "none":
        return Loopback()
    from fanout.bus.rabbitmq import rabbitmq  # noqa: PLC0415  (pika imports the reactor)

    name = f"{PROGRAM} {settings.CLIENT_IP}:{settings.CLIENT_PORT}"
    return rabbitmq(reactor, settings, name, RetryPolicy(max_age=OUTBOX_SECONDS, resend=RESEND_SECONDS))


def _warn(text: str) -> int:
    print("\n".join(f"{PROGRAM}: {line}" for line in text.splitlines()), file=sys.stderr)
    return _WRONG
