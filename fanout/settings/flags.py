"""Settings as flags of a command line: ``--stomp-port`` for STOMP_PORT, and ``--help-settings`` for all of them.

A help page with a hundred flags is too long, so ``--help`` shows the few that a program selects, and
``--help-settings`` prints all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fanout.settings.field import SettingsGroup
from fanout.settings.loading import CONFIG_FILE, SettingsError, no_such_setting, read_settings
from fanout.settings.reference import Words

S = TypeVar("S", bound=SettingsGroup)

CONFIG_FLAG = "--config"
_HELP_FLAG = "--help-settings"


def program_name(installed: str, otherwise: str) -> str:
    """The name of this program in its usage lines.

    :param installed: the name of the command that pip installs.
    :param otherwise: the name in a clone.
    """
    return installed if Path(sys.argv[0]).stem == installed else otherwise


def load_settings(
    settings_class: type[S], argv: Sequence[str], environ: Mapping[str, str], config_path: str | Path | None = None
) -> S:
    """Read all settings of a program without subcommands.

    :param argv: the arguments after the program's name; ``--help`` and ``--help-settings`` print and exit.
    :param config_path: the file of settings, unless ``--config`` names one; None is ``config.py`` of the working
        folder, which need not exist.
    :raises SettingsError: a setting is unknown or invalid; the text names all of them.
    """
    parser = argparse.ArgumentParser(usage="%(prog)s [--setting VALUE ...]", allow_abbrev=False)
    add_flags(parser, settings_class)
    given = parse_flags(parser, settings_class, argv)
    return read_settings(settings_class, given_flags(given), environ, given.config or config_path)


def add_flags(
    parser: argparse.ArgumentParser,
    settings_class: type[SettingsGroup],
    config_file: Path = CONFIG_FILE,
    common: Collection[str] = (),
) -> None:
    """Add a flag for each setting, ``--config`` and ``--help-settings``.

    :param config_file: as for :func:`read_settings`.
    :param common: the settings that ``--help`` shows.
    """
    words = Words(settings_class)
    parser.add_argument(
        CONFIG_FLAG, metavar="PATH", help=f"the file of settings (default: {config_file}, if it exists)"
    )
    parser.add_argument(_HELP_FLAG, action=_HelpSettings, settings_class=settings_class, help="show every setting")
    for name in (*settings_class.advertised(), *settings_class.hidden()):
        _add_flag(parser, words, name, shown=name in common)
    for name in (name for name in settings_class.all_retired() if not name.endswith("*")):
        parser.add_argument(_flag(name), dest=name, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_flag(parser: Any, words: Words, name: str, *, shown: bool = True) -> None:
    kind: dict[str, Any] = {"nargs": "?", "const": "true"} if words.is_boolean(name) else {}
    text = words.help(name).replace("%", "%%") if shown else argparse.SUPPRESS
    parser.add_argument(
        _flag(name), dest=name, metavar=words.metavar(name), default=argparse.SUPPRESS, help=text, **kind
    )


class _HelpSettings(argparse.Action):
    """Prints every setting as a flag, in its group, and exits."""

    def __init__(self, settings_class: type[SettingsGroup], **options: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **options)
        self._settings_class = settings_class

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        page = argparse.ArgumentParser(prog=parser.prog, usage="%(prog)s [--setting VALUE ...]", add_help=False)
        words = Words(self._settings_class)
        for heading, fields in self._settings_class.groups():
            group = page.add_argument_group(heading)
            for name in fields:
                _add_flag(group, words, name)
        page.print_help()
        parser.exit()


def parse_flags(
    parser: argparse.ArgumentParser, settings_class: type[SettingsGroup], argv: Sequence[str]
) -> argparse.Namespace:
    """Parse arguments with the flags of :func:`add_flags`, and report mistakes in the same way as for other sources.

    :raises SettingsError: a flag is unknown or lacks its value.
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
    """The settings among parsed arguments. Use it together with :func:`add_flags` in programs with subcommands."""
    return {name: value for name, value in vars(given).items() if name.isupper()}


def _flag(name: str) -> str:
    return "--" + name.lower().replace("_", "-")


def _unknown_flags(unknown: Sequence[str], settings_class: type[SettingsGroup]) -> Iterator[str]:
    flags = [CONFIG_FLAG, *map(_flag, settings_class.advertised())]
    for argument in unknown:
        flag = argument.partition("=")[0]  # The value may be a password.
        if flag.startswith("--"):
            yield f"{flag}: {no_such_setting(flag, flags)}"
    if not any(argument.startswith("--") for argument in unknown):
        yield f"{unknown[0]}: unexpected argument"
