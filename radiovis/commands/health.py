"""``health``: ask the processes of this machine whether they are alive or ready. It is for containers without curl."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from radiovis.client.command_line import DONE, FAILED, WRONG, CommandError, SettingsParser, given_settings, printable
from radiovis.client.command_line import seconds as span
from radiovis.settings import Settings

_SECONDS = 3.0
_PORTS = ("ADMIN_PORT", "ADMIN_TLS_PORT", "FB_ADMIN_PORT", "FB_ADMIN_TLS_PORT")
_MOST_BYTES = 65_536  # A report has one line for each condition.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the address to ask if a process listens on all.


def command() -> SettingsParser:
    """The arguments of the command, without the flags of ``serve``."""
    parser = SettingsParser(
        "health",
        "Ask the node at ADMIN_PORT or ADMIN_TLS_PORT whether it is alive. If no node listens there, ask the watchdog"
        " at FB_ADMIN_PORT or FB_ADMIN_TLS_PORT. With WORKERS above 1, every worker must be alive.",
        {DONE: "yes", FAILED: "no; the reason is on stderr", WRONG: "wrong usage or settings"},
        "ADMIN_TOKEN is sent if it is set. A node with a token gives reasons only to requests that send the token.",
    )
    parser.add_argument("--ready", action="store_true", help="ask whether the process is ready for clients")
    parser.add_argument(
        "--seconds",
        type=span,
        default=_SECONDS,
        metavar="S",
        help=f"how long to wait for an answer (default: {_SECONDS:g})",
    )
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: a process does not answer, is not alive, or is not ready."""
    given = command().read(words)
    settings = given_settings(given)
    path = "/readyz" if given.ready else "/healthz"
    for port, status, report in _ask_program(settings, path, given.seconds):
        if status != http.client.OK:
            which = f"worker {port.worker}: " if settings.WORKERS > 1 and not port.watchdog else ""
            raise CommandError(f"health: {which}{path} answers {status}{_reasons(report)}")
    print("ready" if given.ready else "alive")
    return DONE


@dataclass(frozen=True, slots=True)
class _Port:
    """A port where one process listens for operators.

    :ivar worker: the number of the worker, from 0; 0 for a process that is not a worker.
    :ivar secure: whether the port uses TLS.
    :ivar watchdog: whether the process is ``fallback.py``.
    """

    host: str
    number: int
    worker: int
    secure: bool
    watchdog: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.number}"


def _programs(settings: Settings) -> Iterator[list[_Port]]:
    """For each setting of a port, the ports of all processes of the program."""
    host = _EVERYWHERE.get(settings.ADMIN_IP, settings.ADMIN_IP)
    for name in _PORTS:
        first, watchdog = getattr(settings, name), name.startswith("FB_")
        if first:
            workers = range(1 if watchdog else settings.WORKERS)
            yield [_Port(host, first + worker, worker, "TLS" in name, watchdog) for worker in workers]


def _ask_program(settings: Settings, path: str, seconds: float) -> list[tuple[_Port, int, Any]]:
    """The answers of all processes of the first program that listens: port, status and report of each.

    :raises CommandError: no program listens, or a process of the program does not.
    """
    programs = list(_programs(settings))
    token = settings.ADMIN_TOKEN.get_secret_value()
    for ports in programs:
        answers = [(port, *answer) for port in ports if (answer := _ask(port, path, seconds, token))]
        if len(answers) == len(ports):
            return answers
        if answers:
            programs = [[port for port in ports if port not in [answered for answered, *_ in answers]]]
            break
    tried = " or ".join(str(port) for ports in programs for port in ports)
    if not tried:
        raise CommandError("health: there is no port to ask: ADMIN_PORT and FB_ADMIN_PORT are 0")
    raise CommandError(f"health: nothing listens at {tried}")


def _ask(port: _Port, path: str, seconds: float, token: str) -> tuple[int, Any] | None:
    """The status and the report; None if no process listens. :raises CommandError: the process does not answer."""
    try:
        return _answer(_connection(port.host, port.number, seconds, secure=port.secure), path, token)
    except ConnectionRefusedError:
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CommandError(f"health: {port} does not answer: {printable(str(error))}") from None


def _connection(host: str, port: int, seconds: float, *, secure: bool) -> http.client.HTTPConnection:
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=seconds)
    context = ssl.create_default_context()
    context.check_hostname = False  # The certificate has the public name of the machine, not this address.
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)


def _answer(connection: http.client.HTTPConnection, path: str, token: str) -> tuple[int, Any]:
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read(_MOST_BYTES))
    finally:
        connection.close()


def _reasons(report: Any) -> str:
    """The reasons in a report, if it has any: see :meth:`fanout.metrics.health.Health.report`."""
    reasons = report.get("reasons", []) if isinstance(report, dict) else []
    return "".join(f"; {printable(str(reason))}" for reason in reasons)
