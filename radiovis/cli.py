"""The commands of ``python server.py``."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fanout import __version__
from fanout.settings import SettingsError
from radiovis.bench.command import bench
from radiovis.bench.target import BenchError
from radiovis.commands.arguments import PROGRAM, CommandError
from radiovis.directory.stations import StationsFileError
from radiovis.workers import COMMAND as WORKER

_WRONG = 2  # exit code for anything the operator has to put right before the program can start
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. ``serve`` needs not be named.

    :return: the exit code: 0, or 2 when something has to be put right first, with a line on stderr that says what.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "serve"
    command = _COMMANDS.get(name) or _HIDDEN.get(name)
    if command is None:
        near = difflib.get_close_matches(name, _COMMANDS, 1)
        return _complain(f"no such command: {name}; " + (f"did you mean {near[0]}?" if near else _commands()))
    try:
        code = command(words)
        sys.stdout.flush()
    except CommandError as error:
        return _complain(str(error), error.code)
    except (SettingsError, StationsFileError, BenchError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # Whoever read our output, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _serve(words: Sequence[str]) -> int:
    return int(_node().serve(words, _commands()))


def _worker(words: Sequence[str]) -> int:
    return int(_node().worker(words, _commands()))


def _node() -> Any:
    """Imported when a node is started: it has many parts, and no other command needs them."""
    return importlib.import_module("radiovis.serve")


def _version(words: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="server.py version", description="Print the version.").parse_args(words)
    print(f"radiovis {__version__}")
    return 0


def _command(module: str) -> Callable[[Sequence[str]], int]:
    """A command of ``radiovis/commands/``, imported when it is called: neither a node nor another command needs it."""
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
    "bench": bench,
    "version": _version,
}
_HIDDEN: dict[str, Callable[[Sequence[str]], int]] = {WORKER: _worker}


def _commands() -> str:
    return "commands: " + ", ".join(_COMMANDS)


def _complain(text: str, code: int = _WRONG) -> int:
    print("\n".join(f"{PROGRAM}: {line}" for line in text.splitlines()), file=sys.stderr)
    return code
