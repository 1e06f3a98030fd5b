"""Reads settings. Flags override the environment, the environment overrides ``config.py``, ``config.py`` the defaults.

All mistakes are reported together, one line each. A secret may be in a file whose path is in the environment; it has
the precedence of the environment.
"""

from __future__ import annotations

import difflib
import os
import re
import runpy
import stat
import traceback
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from fanout.settings.field import SettingsGroup
from fanout.settings.reference import Words

# Secrets may be in files of their own: ``RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password``. Then they are neither
# in the environment, which ``docker inspect`` and ``/proc`` show, nor in a ``config.py`` that is stored with other
# files. Docker, Kubernetes and systemd (``LoadCredential=``) all provide secrets as files.

SUFFIX = "_FILE"
MOST_BYTES = 65_536  # Longer than any secret; reading a device or a log must not fill the memory.


class SecretFileError(Exception):
    """A file cannot be used. The text names its variable, and says why."""


def secret_files(names: list[str], environ: Mapping[str, str]) -> dict[str, Path]:
    """The files of those secrets whose paths are in the environment.

    :param names: names of the settings that are secrets; no other setting is read from a file.
    :raises SecretFileError: the environment contains both a secret and the path of its file.
    """
    found = {name: Path(environ[name + SUFFIX]) for name in names if environ.get(name + SUFFIX)}
    for name in found:
        if name in environ:
            raise SecretFileError(f"{name} and {name}{SUFFIX} are both in the environment: remove one of them")
    return found


def read_secret(name: str, path: Path) -> str:
    """The secret in a file, without the line end that editors and ``echo`` append.

    :raises SecretFileError: the file cannot be read, or is empty or too large.
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
NEAR = 0.86  # FB_QEUUE resembles FB_QUEUE; HTTP_PROXY belongs to other programs.


class SettingsError(Exception):
    """Some settings are wrong. The text has one line for each: its name, its value, the allowed values, and its
    source.
    """


def read_settings(
    settings_class: type[S],
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    config_path: str | Path | None = None,
    config_file: Path = CONFIG_FILE,
) -> S:
    """Read the settings from all sources.

    :param flags: by name of the setting, from :func:`given_flags`.
    :param environ: the process's environment.
    :param config_path: the file of settings; None for ``config_file``, which need not exist.
    :raises SettingsError: a setting is unknown or invalid; the text names all of them.
    """
    path, config, notes = _config_file(settings_class, config_path, config_file)
    environment, files = _environment(settings_class, environ)
    names, retired = settings_class.model_fields, settings_class.all_retired()
    unknown = [name for name in config if name not in names and not _why_retired(name, retired)]
    problems = [f"{name} in {path}: {no_such_setting(name, settings_class.advertised())}" for name in unknown]
    given = [
        _Source(lambda _: "flag", {name: value for name, value in flags.items() if name in names}),
        _Source(lambda name: str(files.get(name, "environment")), environment),
        _Source(lambda _: str(path), {name: value for name, value in config.items() if name in names}),
    ]
    try:
        settings = _validated(settings_class, given, notes)
    except _InvalidError as error:
        problems.extend(error.lines)
    if problems:
        raise SettingsError("\n".join(problems))
    others = environ.keys() - {name + SUFFIX for name in files}
    gone = [name for name in config if _why_retired(name, retired)]
    gone += [name for name in retired if name not in gone and (name in environ or name in flags)]
    notes += _retired_settings(gone, retired)
    notes += _near_misses(sorted(others - retired.keys()), settings_class.advertised())
    settings.note(_sources(given), tuple(notes))
    return settings


@dataclass(frozen=True)
class _Source:
    """One source of settings.

    :ivar name_for: returns the source's name for people, for one setting.
    :ivar values: the settings from this source.
    """

    name_for: Callable[[str], str]
    values: MutableMapping[str, Any]


class _InvalidError(Exception):
    """Some values are not valid.

    :ivar lines: one line for each.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines


def _sources(given: Sequence[_Source]) -> dict[str, tuple[str, ...]]:
    """The sources of each setting, the one with precedence first."""
    found: dict[str, tuple[str, ...]] = {}
    for source in given:
        for name in source.values:
            found[name] = (*found.get(name, ()), source.name_for(name))
    return found


def _validated(settings_class: type[S], given: Sequence[_Source], notes: list[str]) -> S:
    """The settings. An empty value that is not valid counts as missing, with a note.

    The original's files and compose files pass on variables that may be empty: ``RABBITMQ_PORT=${RABBITMQ_PORT}``.

    :raises _InvalidError: any other value is not valid.
    """
    values = ChainMap(*(source.values for source in given))
    try:
        return settings_class.model_validate(dict(values))
    except ValidationError as error:
        empty = sorted({str(fault["loc"][0]) for fault in error.errors() if fault["loc"]})
        empty = [name for name in empty if values.get(name) == ""]
        if not empty:
            raise _InvalidError(list(_bad_values(error, settings_class, values, _sources(given)))) from None
    for name in empty:
        sources = [source for source in given if source.values.get(name) == ""]
        names = ", ".join(source.name_for(name) for source in sources)
        notes.append(f"{name} is empty ({names}) and counts as missing")
        for source in sources:
            del source.values[name]
    return _validated(settings_class, given, notes)


def _environment(
    settings_class: type[SettingsGroup], environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, Path]]:
    """The settings in the environment, and the files of those that are in files."""
    words = Words(settings_class)
    secrets = [name for name in settings_class.model_fields if words.is_secret(name)]
    try:
        files = secret_files(secrets, environ)
        kept = {name: read_secret(name, path) for name, path in files.items()}
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    return {name: value for name, value in environ.items() if name in settings_class.model_fields} | kept, files


def _config_file(
    settings_class: type[SettingsGroup], given: str | Path | None, usual: Path
) -> tuple[Path, dict[str, Any], list[str]]:
    """The path of the file, its settings under their current names, and notes for the log."""
    path = Path(given) if given is not None else usual
    if given is None and not path.exists():
        return path, {}, []
    if path.is_dir():
        raise SettingsError(f"cannot read {path}: it is a folder")
    try:
        found = runpy.run_path(str(path), run_name="config")
    except SyntaxError as error:
        raise SettingsError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the file may contain any program, and raise anything.
        raise SettingsError(_config_fault(path, error)) from None
    config = {name: value for name, value in found.items() if name.isupper() and not name.startswith("_")}
    notes = _take_old_names(settings_class, found, config, path)
    if path.is_file() and (reason := writable_by_others(path)):  # /dev/null means no file.
        notes.append(f"{path}: {reason}, and with it everything that this program may do")
    texts = [name for name, field in settings_class.model_fields.items() if field.annotation is str]
    return path, config | {name: ",".join(config[name]) for name in texts if _is_list_of_texts(config.get(name))}, notes


def _take_old_names(
    settings_class: type[SettingsGroup], found: Mapping[str, Any], config: dict[str, Any], path: Path
) -> list[str]:
    """Rename old names to the current ones. If both are present the current one is used.

    :return: notes for the log.
    """
    notes = []
    old_names = settings_class.all_old_names()
    for dictionary in dict.fromkeys(old.partition(".")[0] for old in old_names if "." in old):
        values = found.get(dictionary, {})
        if not isinstance(values, Mapping):
            raise SettingsError(f"{dictionary} in {path}: should be a dict")
        strange = [f"{dictionary}[{key!r}]" for key in values if f"{dictionary}.{key}" not in old_names]
        notes += [f"{', '.join(strange)} in {path}: ignored, there is no such setting"] if strange else []
    for old, new in old_names.items():
        dictionary, _, key = old.rpartition(".")
        values = found.get(dictionary, {}) if dictionary else found
        if key not in values:
            continue
        config.pop(old, None)
        if new in config:
            notes.append(f"{old} in {path}: ignored, because {new} is set as well")
        else:
            config[new] = values[key]
    return notes


def _is_list_of_texts(value: object) -> bool:
    """Whether a value is a list of texts, such as ``STOMP_IP = "0.0.0.0".split(",")`` in the original's file."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, str) for each in value)


def writable_by_others(path: Path) -> str:
    """Why a user other than the caller and root may have written this file; empty if none can, or if there is no
    file.
    """
    for each in (path.lstat, path.stat):  # The link itself is checked as well: its owner chooses the target.
        try:
            found = each()
        except FileNotFoundError:
            return ""
        if found.st_uid not in (0, os.geteuid()):
            return f"it belongs to user {found.st_uid}"
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"other users may write it (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def _config_fault(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if not lines:  # The file was not even started.
        return f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
    return f"{path}, line {lines[-1]}: {type(error).__name__}: {error}"


def no_such_setting(name: str, known: Iterable[str]) -> str:
    """The text that there is no setting with this name, with a similar known name."""
    near = difflib.get_close_matches(name, list(known), 1)
    return "no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _bad_values(
    error: ValidationError,
    settings_class: type[SettingsGroup],
    values: Mapping[str, Any],
    sources: Mapping[str, tuple[str, ...]],
) -> Iterator[str]:
    words = Words(settings_class)
    seen = set()
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if name in seen or problem["type"] == "default_factory_not_called":  # A consequence of another error.
            continue
        seen.add(name)
        allowed = (
            problem["msg"].removeprefix("Value error, ") if problem["type"] == "value_error" else words.allowed(name)
        )
        shown = words.shown(name, values.get(name))
        yield f"{name} = {shown} ({sources.get(name, ('default',))[0]}): {allowed}{_docker_link(values.get(name))}"


def _docker_link(value: object) -> str:
    """A hint: Docker links and Kubernetes services named ``rabbitmq`` set RABBITMQ_PORT to an address of their own."""
    if isinstance(value, str) and re.match(r"tcp://[^/]+:\d+$", value):
        return (
            "; this value comes from a Docker link or a Kubernetes service of that name: rename the service, or in "
            "Kubernetes set enableServiceLinks: false"
        )
    return ""


def _why_retired(name: str, reasons: Mapping[str, str]) -> str:
    """Why a setting has no effect any more; empty if there never was such a setting, or if it still has an effect."""
    return next((reasons[known] for known in reasons if fnmatchcase(name, known)), "")


def _retired_settings(names: Sequence[str], reasons: Mapping[str, str]) -> Iterator[str]:
    """One line for all settings with the same reason."""
    why = {name: _why_retired(name, reasons) for name in names}
    for reason in dict.fromkeys(why.values()):
        yield f"{', '.join(name for name in names if why[name] == reason)}: no effect; {reason}"


def _near_misses(variables: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    prefixes = {name.partition("_")[0] + "_" for name in names}
    for variable in variables:
        if variable not in names and variable.startswith(tuple(prefixes)):
            near = difflib.get_close_matches(variable, names, 1, NEAR)
            if near:
                yield f"{variable} in the environment is not a setting; did you mean {near[0]}?"
