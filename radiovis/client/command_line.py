"""The command line of a command: its arguments, its exit codes, one line for each error, and output for a terminal.

:func:`paint` and :func:`progress` write colours and a line of progress; :func:`printable` makes foreign text harmless
for the terminal.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn, TextIO

from fanout import __version__
from fanout.settings import add_flags, given_flags, parse_flags, program_name, read_settings
from fanout.settings.loading import CONFIG_FILE, writable_by_others
from radiovis.settings import Settings

DONE, FAILED, WRONG = 0, 1, 2
"""The exit codes: done; failed, or the answer is no; something has to be corrected first."""

PROGRAM = program_name("radiovis", "server.py")
"""The name of the program in its usage lines: as installed by pip, or in a clone."""


class CommandError(Exception):
    """A command failed. The text is a line for stderr.

    :ivar code: the exit code.
    """

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def command_and_words(words: Sequence[str], default: str) -> tuple[str, list[str]]:
    """The command of a command line, and the words after it.

    :param default: the command that need not be named. ``--version`` and ``help [COMMAND]`` are understood as well.
    """
    first = words[0] if words else ""
    if first == "--version":
        return "version", list(words[1:])
    if first == "help":
        return (words[1] if len(words) > 1 else default), ["--help"]
    if not first or first.startswith("-"):
        return default, list(words)
    return first, list(words[1:])


def no_such_command(name: str, known: Iterable[str]) -> str:
    """An error text: there is no command of this name, and which known command is similar."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"no such command: {name}; " + (f"did you mean {near[0]}?" if near else f"commands: {', '.join(known)}")


def daemon_parser(
    program: str, description: str, commands: Mapping[str, str], test: str, common: Collection[str]
) -> argparse.ArgumentParser:
    """The arguments of a program that runs until a signal ends it. Its help page shows all its commands.

    :param program: name of the program.
    :param description: what the program does.
    :param commands: one sentence for each command, by name.
    :param test: the help text of ``--test``.
    :param common: the settings that the help page shows.
    """
    width = max(map(len, commands)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in commands.items()]
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [COMMAND] [--test] [--config PATH] [--setting VALUE ...]",
        description="\n".join([description, "", "commands:", *lines]),
        epilog=(
            "Every setting can be a flag, an environment variable or a line of config.py.\n"
            f"{program} help COMMAND explains a command."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"radiovis {__version__}", help="print the version")
    parser.add_argument("--test", action="store_true", help=test)
    add_flags(parser, Settings, common=common)
    return parser


def exit_code_lines(exits: Mapping[int, str]) -> str:
    """The end of a help page: a line for each exit code, and more where the terminal is narrow."""
    width = shutil.get_terminal_size().columns - 2  # As argparse has it.
    lines = [
        textwrap.fill(f"{code}  {meaning}", width, initial_indent="  ", subsequent_indent="     ")
        for code, meaning in exits.items()
    ]
    return "\n".join(["exit codes:", *lines, ""])


class CommandParser(argparse.ArgumentParser):
    """The arguments of one command.

    :ivar exits: the meaning of each exit code of this command.
    :ivar note: a text before the exit codes in the help page.
    """

    def __init__(self, name: str, description: str, exits: Mapping[int, str], note: str = "") -> None:
        self.exits, self.note = dict(exits), note
        super().__init__(prog=f"{PROGRAM} {name}", description=description, epilog=note, allow_abbrev=False)

    def format_help(self) -> str:
        """The help page; its last lines are the exit codes."""
        return f"{super().format_help()}\n{exit_code_lines(self.exits)}"

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words after the command's name.

        :raises CommandError: with exit code 2.
        """
        given, unknown = self.parse_known_args(list(words))
        if unknown:
            self.error(self._unknown(unknown[0]))
        return given

    def error(self, message: str) -> NoReturn:
        # argparse itself would print the complete usage before the message, and exit.
        choice = re.fullmatch(r"argument \S+: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            known = [word.strip("' ") for word in choice[2].split(",")]
            near = difflib.get_close_matches(choice[1], known, 1)
            message = f"unknown word: {choice[1]}; " + (
                f"did you mean {near[0]}?" if near else f"choose from {choice[2]}"
            )
        raise CommandError(f"{self.prog.partition(' ')[2]}: {message}; see {self.prog} --help", WRONG)

    def _unknown(self, word: str) -> str:
        flag = word.partition("=")[0]  # The value may be a password.
        if not flag.startswith("-"):
            return f"unexpected argument {word!r}"
        near = difflib.get_close_matches(flag, self._option_string_actions, 1)
        return f"no such flag: {flag}" + (f"; did you mean {near[0]}?" if near else "")


def positive(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A time span: ``2.5`` or ``2.5s``, ``10m``, ``3h``, ``7d``. Returns seconds."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhd]?)", text)
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} should be a time such as 2.5 (seconds), 10m, 3h or 7d")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]]


class SettingsParser(CommandParser):
    """The arguments of a command that uses a node's settings: it accepts every flag of ``serve`` in addition to its
    own.

    The flags of ``serve`` are added when arguments are parsed. The command's help page, and
    :mod:`radiovis.commands.command_reference`, only mention that they exist.
    """

    def __init__(self, name: str, description: str, exits: Mapping[int, str], note: str = "") -> None:
        super().__init__(name, description, exits, f"Takes every flag of serve. {note}".strip())

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words after the command's name. Can be called once.

        :raises SettingsError: a flag is unknown.
        """
        self.usage = " ".join(self.format_usage().split()[1:]) + " [--setting VALUE ...]"
        add_flags(self, Settings)
        return parse_flags(self, Settings, words)


def given_settings(given: argparse.Namespace, *, trust: bool = False) -> Settings:
    """The settings from flags, environment and ``config.py``.

    A ``config.py`` is a program, and a command may be run in any folder, such as ``/tmp``. So it is read only if
    ``--config`` names it, or if no user but the caller and root can have written it.

    :param trust: whether to read the ``config.py`` of the working folder in any case, as ``serve`` does.
    :raises SettingsError: a setting is unknown or invalid.
    """
    path = given.config
    if path is None and not trust and (reason := writable_by_others(CONFIG_FILE)):
        print(f"{PROGRAM}: {CONFIG_FILE} is not read: {reason}. --config {CONFIG_FILE} reads it.", file=sys.stderr)
        path = os.devnull
    return read_settings(Settings, given_flags(given), os.environ, path)


def found_settings() -> Settings:
    """The settings from environment and ``config.py``, for commands without flags for settings."""
    return given_settings(argparse.Namespace(config=None))


_COLOURS = {"red": 31, "green": 32, "yellow": 33, "grey": 90}


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """A text in a colour, if the stream is a terminal and colours are not turned off (https://no-color.org).

    :param colour: red, green, yellow or grey.
    :param stream: where the text will be written; None means stdout.
    """
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def progress(text: str) -> None:
    """Show progress on a line of stderr that the next call overwrites. Does nothing if stderr is not a terminal.

    :param text: empty to remove the line. It is cut to the width of the terminal: a second line would stay.
    """
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Foreign text on one line, with escaped control characters for the terminal."""
    # C0, C1, and the characters that change the direction of text: all of them can make a line look like another one.
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
