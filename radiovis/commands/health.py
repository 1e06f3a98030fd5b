"""``health``: ask a process of this machine whether it lives, or is ready; for containers, which have no curl."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Sequence
from typing import Any

from radiovis.client.arguments import DONE, FAILED, WRONG, CommandError, SettingsParser, given_settings, printable
from radiovis.client.arguments import seconds as span
from radiovis.settings import Settings

_SECONDS = 3.0
_PORTS = ("ADMIN_PORT", "ADMIN_TLS_PORT", "FB_ADMIN_PORT", "FB_ADMIN_TLS_PORT")
_MOST_BYTES = 65_536  # A report has a line for each condition.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask whoever listens there.


def command() -> SettingsParser:
    """What it takes, besides the flags of serve."""
    parser = SettingsParser(
        "health",
        "Ask the node at ADMIN_PORT or ADMIN_TLS_PORT, or where none listens the watchdog at FB_ADMIN_PORT or"
        " FB_ADMIN_TLS_PORT, whether it lives.",
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
    ports = [getattr(settings, name) for name in _PORTS if getattr(settings, name)]
    secure = {settings.ADMIN_TLS_PORT, settings.FB_ADMIN_TLS_PORT}
    for port in ports:
        try:
            connection = _connection(host, port, seconds, secure=port in secure)
            return _ask(connection, path, settings.ADMIN_TOKEN.get_secret_value())
        except ConnectionRefusedError:
            continue
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CommandError(f"health: no answer from {host}:{port}: {printable(str(error))}") from None
    tried = " or ".join(f"{host}:{port}" for port in ports)
    raise CommandError(f"health: nobody listens at {tried or 'any ADMIN_PORT: it is 0'}")


def _connection(host: str, port: int, seconds: float, *, secure: bool) -> http.client.HTTPConnection:
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=seconds)
    context = ssl.create_default_context()
    context.check_hostname = False  # Its certificate is for the name others know it by, and we ask this machine.
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)


def _ask(connection: http.client.HTTPConnection, path: str, token: str) -> tuple[int, Any]:
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read(_MOST_BYTES))
    finally:
        connection.close()


def _reasons(report: Any) -> str:
    """What is not well, as far as the process tells: see :meth:`fanout.metrics.health.Health.report`."""
    reasons = report.get("reasons", []) if isinstance(report, dict) else []
    return "".join(f"; {printable(str(reason))}" for reason in reasons)
