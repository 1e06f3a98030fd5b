"""``health``: ask a process of this machine whether it lives, or is ready; for containers, which have no curl."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any

from radiovis.commands.arguments import DONE, FAILED, WRONG, CommandError
from radiovis.commands.arguments import seconds as span
from radiovis.commands.settings_parser import SettingsParser, given_settings
from radiovis.commands.terminal import printable
from radiovis.settings import Settings

_SECONDS = 3.0
_MOST_BYTES = 65_536  # A report has a line for each condition.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask whoever listens there.


def command() -> SettingsParser:
    """What it takes, besides the flags of serve."""
    parser = SettingsParser(
        "health",
        "Ask the node at ADMIN_PORT, or where none listens the watchdog at FB_ADMIN_PORT, whether it lives.",
        {DONE: "yes", FAILED: "no, and why", WRONG: "wrong usage or settings"},
        "ADMIN_TOKEN, if it is set, is sent to be told why.",
    )
    parser.add_argument("--ready", action="store_true", help="whether clients should be sent to it")
    parser.add_argument(
        "--seconds", type=span, default=_SECONDS, metavar="S", help=f"how long to wait (default: {_SECONDS:g})"
    )
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: it does not live, or is not ready."""
    given = command().read(words)
    path = "/readyz" if given.ready else "/healthz"
    status, report = _ask_first(given_settings(given), path, given.seconds)
    if status != http.client.OK:
        raise CommandError(f"health: {path} answers {status}{_reasons(report)}")
    print("ready" if given.ready else "alive")
    return DONE


def _ask_first(settings: Settings, path: str, seconds: float) -> tuple[int, Any]:
    """What the first process says that listens."""
    host = _EVERYWHERE.get(settings.ADMIN_IP, settings.ADMIN_IP)
    ports = [port for port in (settings.ADMIN_PORT, settings.FB_ADMIN_PORT) if port]
    for port in ports:
        try:
            return _ask(host, port, path, settings.ADMIN_TOKEN.get_secret_value(), seconds)
        except ConnectionRefusedError:
            continue
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CommandError(f"health: no answer from {host}:{port}: {printable(str(error))}") from None
    tried = " or ".join(f"{host}:{port}" for port in ports)
    raise CommandError(f"health: nobody listens at {tried or 'any ADMIN_PORT: it is 0'}")


def _ask(host: str, port: int, path: str, token: str, seconds: float) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read(_MOST_BYTES))
    finally:
        connection.close()


def _reasons(report: Any) -> str:
    """What is not well, as far as the process tells: see :meth:`fanout.health.Health.report`."""
    reasons = report.get("reasons", []) if isinstance(report, dict) else []
    return "".join(f"; {printable(str(reason))}" for reason in reasons)
