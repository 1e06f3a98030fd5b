"""The command line of ``python server.py``: finds the command, runs it, and turns errors into lines on stderr.

This is the only module that knows all commands. It imports a command when it is called.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fanout.settings import SettingsError
from radiovis.client.command_line import PROGRAM, CommandError
from radiovis.directory.stations_parser import StationsFileError

_WRONG = 2
EXITS = {
    0: "it ended in order",
    1: "with WORKERS: one of them did not end in order",
    _WRONG: "it cannot start: a setting, a file or a port has to be put right first",
}
"""What the exit codes of ``serve`` mean."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; ``serve`` if none is named.

    :return: the exit code. Unless it is 0, a line on stderr says why.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "serve"
    command = _COMMANDS.get(name) or _HIDDEN.get(name)
    if command is None:
        near = difflib.get_close_matches(name, _COMMANDS, 1)
        return _warn(f"no such command: {name}; " + (f"did you mean {near[0]}?" if near else _commands()))
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
    return int(_node().serve(words, _commands()))


def _worker(words: Sequence[str]) -> int:
    return int(_node().worker(words, _commands()))


def _node() -> Any:
    """The module of ``serve``, imported when a node is started: it has many parts, and most commands need none."""
    return importlib.import_module("radiovis.commands.serve")


def _command(module: str) -> Callable[[Sequence[str]], int]:
    """A command of ``radiovis/commands/``, whose module is imported when it is called."""
    return lambda words: int(importlib.import_module(f"radiovis.commands.{module}").run(words))


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": _serve,
    "station": _command("station"),
    "check-config": _command("check_config"),
    "health": _command("health"),
    "pub": _command("pub"),
    "sub": _command("sub"),
    "topics": _command("topics"),
    "logs": _command("logs"),
    "probe": _command("probe"),
    "conformance": _command("conformance"),
    "bench": _command("bench"),
    "version": _command("version"),
}
# radiovis.node.workers starts it. Its module is not imported here, as every command would load a node.
_HIDDEN: dict[str, Callable[[Sequence[str]], int]] = {"worker": _worker}


def _commands() -> str:
    return "commands: " + ", ".join(_COMMANDS)


def _warn(text: str, code: int = _WRONG) -> int:
    print("\n".join(f"{PROGRAM}: {line}" for line in text.splitlines()), file=sys.stderr)
    return code
