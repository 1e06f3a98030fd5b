"""Reads settings: flags win over the environment, the environment over ``config.py``, ``config.py`` over the defaults.

All mistakes are reported at once, one line each. A secret may also stand in a file that the environment names; that
counts as the environment.
"""

from __future__ import annotations

import argparse
import difflib
import re
import runpy
import traceback
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from fanout.settings.field import SettingsGroup
from fanout.settings.reference import Words

# Secrets that stand in files of their own: ``RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password``.
#
# So they come neither into the environment, which ``docker inspect`` and ``/proc`` show, nor into a ``config.py`` that
# is kept with other files. Docker, Kubernetes and systemd (``LoadCredential=``) all give secrets as files.

SUFFIX = "_FILE"
MOST_BYTES = 65_536  # No secret is longer; a path that leads to a device or a log must not fill the memory.


class SecretFileError(Exception):
    """One file cannot serve. The text names its variable, and says why."""


def secret_files(names: list[str], environ: Mapping[str, str]) -> dict[str, Path]:
    """Which of these secrets the environment keeps in files, and where.

    :param names: of the settings that are secrets; no other setting is read from a file.
    :raises SecretFileError: the environment has one both ways.
    """
    found = {name: Path(environ[name + SUFFIX]) for name in names if environ.get(name + SUFFIX)}
    for name in found:
        if name in environ:
            raise SecretFileError(f"{name} and {name}{SUFFIX} are both in the environment: take one of them out")
    return found


def read_secret(name: str, path: Path) -> str:
    """The secret in a file, without the line end that editors and ``echo`` leave behind it.

    :raises SecretFileError: there is none that can be read.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MOST_BYTES + 1)
        secret = octets.decode().rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(f"{name}{SUFFIX}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{name}{SUFFIX}: {path} is not UTF-8 text") from None
    if not secret or len(octets) > MOST_BYTES:
        raise SecretFileError(f"{name}{SUFFIX}: {path} is " + ("too large" if secret else "empty"))
    return secret


S = TypeVar("S", bound=SettingsGroup)

CONFIG_FILE = Path("config.py")
CONFIG_FLAG = "--config"
DEAD = "STATS_"  # Settings the original's file has and nothing reads.
NEAR = 0.86  # FB_QEUUE is near to FB_QUEUE; HTTP_PROXY and RABBITMQ_NODE_PORT are other people's names.


class SettingsError(Exception):
    """Some settings are wrong. The text has one line for each: its name, its value, what is allowed, its source."""


def load_settings(
    settings_class: type[S], argv: Sequence[str], environ: Mapping[str, str], config_path: str | Path | None = None
) -> S:
    """Read all settings of a program without subcommands.

    :param argv: the arguments behind the program's name; ``--help`` prints all flags and exits.
    :param config_path: the file of settings, unless ``--config`` names one; None is ``config.py`` of the working
        folder, which need not exist.
    :raises SettingsError: for anything unknown or wrong, all at once.
    """
    parser = argparse.ArgumentParser(usage="%(prog)s [--setting VALUE ...]", allow_abbrev=False)
    add_flags(parser, settings_class)
    given = parse_flags(parser, settings_class, argv)
    return read_settings(settings_class, given_flags(given), environ, given.config or config_path)


def add_flags(
    parser: argparse.ArgumentParser, settings_class: type[SettingsGroup], config_file: Path = CONFIG_FILE
) -> None:
    """Add ``--stomp-port`` for STOMP_PORT and so on, grouped as the settings are, and ``--config``.

    :param config_file: as for :func:`read_settings`.
    """
    parser.add_argument(CONFIG_FLAG, metavar="PATH", help=f"file of settings (default: {config_file}, if it exists)")
    words = Words(settings_class)
    for heading, fields in settings_class.groups():
        group = parser.add_argument_group(heading)
        for name in fields:
            kind: dict[str, Any] = {"nargs": "?", "const": "true"} if words.is_boolean(name) else {}
            text = words.help(name).replace("%", "%%")
            group.add_argument(
                _flag(name), dest=name, metavar=words.metavar(name), default=argparse.SUPPRESS, help=text, **kind
            )
    for name in settings_class.all_retired():
        parser.add_argument(_flag(name), dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def parse_flags(
    parser: argparse.ArgumentParser, settings_class: type[SettingsGroup], argv: Sequence[str]
) -> argparse.Namespace:
    """Parse arguments with what :func:`add_flags` added, and report mistakes as the other sources of settings do.

    :raises SettingsError: for a flag that is unknown or lacks its value.
    """
    parser.exit_on_error = False
    try:
        given, unknown = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise SettingsError(str(error)) from None
    if unknown:
        raise SettingsError("\n".join(_unknown_flags(unknown, settings_class)))
    return given


def given_flags(given: argparse.Namespace) -> dict[str, str]:
    """The settings among parsed arguments; the counterpart of :func:`add_flags` for programs with subcommands."""
    return {name: value for name, value in vars(given).items() if name.isupper()}


def read_settings(
    settings_class: type[S],
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    config_path: str | Path | None = None,
    config_file: Path = CONFIG_FILE,
) -> S:
    """Join the sources to settings.

    :param flags: by name of the setting, from :func:`given_flags`.
    :param config_path: the file of settings; None for ``config_file``, which need not exist.
    :raises SettingsError: for anything unknown or wrong, all at once.
    """
    names = settings_class.model_fields
    path, config = _config_file(config_path, config_file)
    environment, files = _environment(settings_class, environ)
    retired = settings_class.all_retired()
    dead = [name for name in config if name.startswith(DEAD)]
    unknown = [name for name in config if name not in names and name not in dead and name not in retired]
    sources = {
        **{name: str(path) for name in config},
        **{name: str(files.get(name, "environment")) for name in environment},
        **dict.fromkeys(flags, "flag"),
    }
    values = ChainMap(*({name: each[name] for name in each if name in names} for each in (flags, environment, config)))
    problems = [f"{name} in {path}: {_unknown(name, names)}" for name in unknown]
    try:
        settings = settings_class.model_validate(dict(values))
    except ValidationError as error:
        problems.extend(_bad_values(error, settings_class, values, sources))
    if problems:
        raise SettingsError("\n".join(problems))
    others = environ.keys() - {name + SUFFIX for name in files}
    gone = [name for name in retired if name in config or name in environ or name in flags]
    settings.note(
        sources,
        (
            *_dead_settings(dead, path),
            *_retired_settings(gone, retired),
            *_near_misses(sorted(others - retired.keys()), names),
        ),
    )
    return settings


def _environment(
    settings_class: type[SettingsGroup], environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, Path]]:
    """What the environment says, and which of it stands in files."""
    words = Words(settings_class)
    secrets = [name for name in settings_class.model_fields if words.is_secret(name)]
    try:
        files = secret_files(secrets, environ)
        kept = {name: read_secret(name, path) for name, path in files.items()}
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    return {name: value for name, value in environ.items() if name in settings_class.model_fields} | kept, files


def _config_file(given: str | Path | None, usual: Path) -> tuple[Path, dict[str, Any]]:
    path = Path(given) if given is not None else usual
    if given is None and not path.exists():
        return path, {}
    if path.is_dir():
        raise SettingsError(f"cannot read {path}: it is a folder")
    try:
        found = runpy.run_path(str(path), run_name="config")
    except SyntaxError as error:
        raise SettingsError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's program; anything may happen in it.
        raise SettingsError(_config_fault(path, error)) from None
    return path, {name: value for name, value in found.items() if name.isupper() and not name.startswith("_")}


def _config_fault(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if not lines:  # It did not even begin.
        return f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
    return f"{path}, line {lines[-1]}: {type(error).__name__}: {error}"


def _flag(name: str) -> str:
    return "--" + name.lower().replace("_", "-")


def _unknown_flags(unknown: Sequence[str], settings_class: type[SettingsGroup]) -> Iterator[str]:
    flags = [CONFIG_FLAG, *map(_flag, settings_class.model_fields)]
    for argument in unknown:
        flag = argument.partition("=")[0]  # The value may be a password.
        if flag.startswith("--"):
            yield f"{flag}: {_unknown(flag, flags)}"
    if not any(argument.startswith("--") for argument in unknown):
        yield f"{unknown[0]}: unexpected argument"


def _unknown(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return "no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _bad_values(
    error: ValidationError, settings_class: type[SettingsGroup], values: Mapping[str, Any], sources: Mapping[str, str]
) -> Iterator[str]:
    words = Words(settings_class)
    seen = set()
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if name in seen or problem["type"] == "default_factory_not_called":  # Follows from another one's fault.
            continue
        seen.add(name)
        allowed = (
            problem["msg"].removeprefix("Value error, ") if problem["type"] == "value_error" else words.allowed(name)
        )
        shown = words.shown(name, values.get(name))
        yield f"{name} = {shown} ({sources.get(name, 'default')}): {allowed}{_docker_link(values.get(name))}"


def _docker_link(value: object) -> str:
    """Docker links and Kubernetes services named ``rabbitmq`` set RABBITMQ_PORT to an address of their own."""
    if isinstance(value, str) and re.match(r"tcp://[^/]+:\d+$", value):
        return (
            "; this value comes from a Docker link or a Kubernetes service of that name: rename the service, or in "
            "Kubernetes set enableServiceLinks: false"
        )
    return ""


def _dead_settings(names: Sequence[str], path: Path) -> Iterator[str]:
    if names:
        yield f"{', '.join(names)} in {path}: ignored, nothing has ever read it"


def _retired_settings(names: Sequence[str], reasons: Mapping[str, str]) -> Iterator[str]:
    """One line for all that share a reason."""
    for reason in dict.fromkeys(reasons[name] for name in names):
        same = [name for name in names if reasons[name] == reason]
        yield f"{', '.join(same)}: no effect any more; {reason}"


def _near_misses(variables: Sequence[str], names: Mapping[str, object]) -> Iterator[str]:
    prefixes = {name.partition("_")[0] + "_" for name in names}
    for variable in variables:
        if variable not in names and variable.startswith(tuple(prefixes)):
            near = difflib.get_close_matches(variable, names, 1, NEAR)
            if near:
                yield f"{variable} in the environment is no setting; did you mean {near[0]}?"
