"""``check-config``: print every setting with its value and its source, and the problems that prevent a start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from fanout.process.logs import masked
from fanout.settings import SettingsError
from fanout.settings.field import DEFAULT
from fanout.settings.reference import MASK
from radiovis.admin.listener import AdminPorts
from radiovis.client.command_line import DONE, WRONG, CommandError, SettingsParser, given_settings, paint, printable
from radiovis.directory.stations_file import StationsFileError, read_stations
from radiovis.node.workers import check_workers
from radiovis.settings import Settings

MOST_NAMED = 10
"""Logins that one warning names. ``station list`` shows all."""


def certificate_problem(path: Path, *, key: bool = False, now: datetime | None = None) -> str | None:
    """Describe what is wrong with a PEM file. Returns None if nothing is wrong.

    :param key: whether the file must contain a private key instead of certificates.
    :param now: the time to check the dates of certificates against; None for the current time.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    try:
        if key:
            load_pem_private_key(content, None)
            return None
        return _date_problem(path, x509.load_pem_x509_certificates(content), now or datetime.now(UTC))
    except (TypeError, ValueError):
        return f"{path}: is not a {'private key without a password' if key else 'certificate'} in PEM format"


def _date_problem(path: Path, certificates: list[x509.Certificate], now: datetime) -> str | None:
    for certificate in certificates:
        if certificate.not_valid_after_utc < now:
            return f"{path}: expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if certificate.not_valid_before_utc > now:
            return f"{path}: is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return None


_CERTIFICATES = ("_CERTIFICATE", "_CA")
_KEY = "_KEY"


def command() -> SettingsParser:
    """The arguments of the command, without the flags of ``serve``."""
    parser = SettingsParser(
        "check-config",
        "Show every setting with its value and its source, and check the files that settings name. Secrets are masked.",
        {
            DONE: "a node can start with these settings",
            WRONG: "something is wrong; stderr has one line for each problem",
        },
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--changed", action="store_true", help="show only the settings that differ from their defaults")
    parser.add_argument(
        "--test", action="store_true", help="check the settings for serve --test, which needs no stations"
    )
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: something is wrong; the text has one line for each problem."""
    settings, wrong = None, []
    given = None
    try:
        given = command().read(words)
        settings = given_settings(given, trust=True)
        wrong = list(problems(settings, fake=given.test))
    except SettingsError as error:
        wrong = str(error).splitlines()
    if given is not None and given.json:
        print(json.dumps(_report(settings, wrong, changed=given.changed, fake=given.test)))
    elif given is not None and settings is not None:
        _print(settings, changed=given.changed, fake=given.test)
    if wrong:
        raise CommandError("\n".join(wrong), WRONG)
    return DONE


def problems(settings: Settings, *, fake: bool = False) -> Iterator[str]:
    """Problems that prevent a node from starting although each single setting is valid. Each has one line.

    :param fake: whether the node uses the fake stations of ``--test``.
    """
    if settings.STANDALONE and not settings.STATIONS_FILE and not fake:
        yield "STANDALONE needs STATIONS_FILE, because a stand-alone node does not ask PlugIt."
    if settings.STATIONS_FILE and not fake:
        try:
            read_stations(Path(settings.STATIONS_FILE))
        except StationsFileError as error:
            yield f"STATIONS_FILE: {error}"
    try:
        ports = AdminPorts.of(settings, fake=fake)
        if settings.WORKERS > 1:
            check_workers(settings, ports)
        if ports.wanted:
            ports.auth(settings)
    except SettingsError as error:
        yield str(error)
    yield from _file_problems(settings)


def warnings(settings: Settings, *, fake: bool = False) -> Iterator[str]:
    """Warnings for the operator, which do not prevent a start. Each has one line. :param fake: see :func:`problems`."""
    yield from settings.warnings()
    if settings.STATIONS_FILE and not fake:
        try:
            locked = read_stations(Path(settings.STATIONS_FILE)).locked
        except StationsFileError:  # problems() reports it.
            return
        if locked:
            more = f" and {len(locked) - MOST_NAMED} more" if len(locked) > MOST_NAMED else ""
            named = ", ".join(locked[:MOST_NAMED]) + more
            yield f"STATIONS_FILE: these logins have no password; `station passwd` sets one: {named}"


def _file_problems(settings: Settings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if not isinstance(value, str) or not value:
            continue
        if name.endswith((*_CERTIFICATES, _KEY)):
            problem = certificate_problem(Path(value), key=name.endswith(_KEY))
        elif name.endswith("_DIR"):
            problem = None if Path(value).is_dir() else f"{value}: is not a folder"
        else:
            continue
        if problem:
            yield f"{name}: {problem}"


def _report(settings: Settings | None, wrong: list[str], *, changed: bool, fake: bool) -> dict[str, Any]:
    shown = (
        {}
        if settings is None
        else {
            name: {
                "value": _value(settings, name),
                "source": settings.source_of(name),
                "overruled": settings.overruled(name),
                "reload": name in settings.reloadable(),
            }
            for name in _shown(settings)
            if not changed or settings.source_of(name) != DEFAULT
        }
    )
    warned = list(warnings(settings, fake=fake)) if settings else []
    return {"ok": not wrong, "settings": shown, "warnings": warned, "problems": wrong}


def _print(settings: Settings, *, changed: bool, fake: bool) -> None:
    width = max(map(len, type(settings).advertised()))
    for heading, fields in type(settings).groups():
        names = [name for name in fields if not changed or settings.source_of(name) != DEFAULT]
        if names:
            print(f"\n{heading}")
        for name in names:
            source = _source(settings, name)
            value = printable(json.dumps(_value(settings, name), ensure_ascii=False))
            reload = "reload" if name in settings.reloadable() else ""
            shown = paint(f"({source})", "grey" if source == DEFAULT else "green")
            print(f"  {name:<{width}}  {reload:<6}  {value}  {shown}")
    for warning in warnings(settings, fake=fake):
        print(paint(f"\nwarning: {printable(warning)}", "yellow"))


def _shown(settings: Settings) -> list[str]:
    """The settings to show: the documented ones, and hidden ones that were set."""
    given = [name for name in settings.hidden() if settings.source_of(name) != DEFAULT]
    return [*settings.advertised(), *given]


def _source(settings: Settings, name: str) -> str:
    """The source of the value, and the sources that it overrides."""
    others = settings.overruled(name)
    return settings.source_of(name) + (f", wins over {', '.join(others)}" if others else "")


def _value(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    return masked(value) if isinstance(value, dict) else value  # A library's options may contain a password in a URL.
