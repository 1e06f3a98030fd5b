"""The command line of ``python server.py``: finds the command, runs it, and prints errors on stderr.

This is the only module that knows all commands. It imports the module of a command when the command is called.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fanout.settings import SettingsError
from radiovis.client.command_line import PROGRAM, CommandError, command_and_words, no_such_command
from radiovis.directory.stations_parser import StationsFileError

_WRONG = 2
EXITS = {
    0: "it was stopped and has ended cleanly",
    1: "with WORKERS: a worker has not ended cleanly",
    _WRONG: "it cannot start: correct a setting, a file or a port first",
}
"""The meaning of the exit codes of ``serve``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. ``serve`` is the default.

    :return: the exit code. If it is not 0, a line on stderr gives the reason.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, words = command_and_words(words, "serve")
    command = _COMMANDS[name][1] if name in _COMMANDS else _HIDDEN.get(name)
    if command is None:
        return _warn(no_such_command(name, _COMMANDS))
    try:
        code = command(words)
        sys.stdout.flush()
    except CommandError as error:
        return _warn(str(error), error.code)
    except (SettingsError, StationsFileError) as error:
        return _warn(str(error))
    except BrokenPipeError:  # The reader of our output, such as head, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _serve(words: Sequence[str]) -> int:
    return int(_node().serve(words, summaries()))


def _worker(words: Sequence[str]) -> int:
    return int(_node().worker(words, summaries()))


def _node() -> Any:
    """The module of ``serve``. It is imported here because it loads the whole node, which most commands do not need."""
    return importlib.import_module("radiovis.commands.serve")


def _command(module: str) -> Callable[[Sequence[str]], int]:
    """A command of ``radiovis/commands/``. Its module is imported when the command is called."""
    return lambda words: int(importlib.import_module(f"radiovis.commands.{module}").run(words))


_COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "serve": ("Run a node, or several with --workers (the default).", _serve),
    "station": ("Edit the stations file: stations, channels, passwords.", _command("station")),
    "check-config": ("Show every setting and its source, and check the files.", _command("check_config")),
    "health": ("Ask a node whether it is alive, or whether it is ready.", _command("health")),
    "pub": ("Publish a text or a slide.", _command("pub")),
    "sub": ("Subscribe to topics, and print their messages.", _command("sub")),
    "topics": ("List the channels, and the last messages of a node.", _command("topics")),
    "logs": ("Search the journal of a node for published messages.", _command("logs")),
    "probe": ("Check a station as a receiver does, from DNS to the slide.", _command("probe")),
    "conformance": ("Check any RadioVIS server against the rules of STOMP.", _command("conformance")),
    "bench": ("Measure a server with many receivers.", _command("bench")),
    "version": ("Print the version.", _command("version")),
}
# radiovis.node.workers starts this command. A constant imported from there would load a node for every command.
_HIDDEN: dict[str, Callable[[Sequence[str]], int]] = {"worker": _worker}


def summaries() -> dict[str, str]:
    """One sentence for each command."""
    return {name: summary for name, (summary, _) in _COMMANDS.items()}


def _warn(text: str, code: int = _WRONG) -> int:
    print("\n".join(f"{PROGRAM}: {line}" for line in text.splitlines()), file=sys.stderr)
    return code
