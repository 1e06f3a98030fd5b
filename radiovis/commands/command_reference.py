"""Generates ``docs/commands.md`` and ``docs/exit-codes.md`` from the commands' own command lines.

``python -m radiovis.commands.command_reference [exit-codes]`` prints them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping

from radiovis.client.command_line import CommandParser
from radiovis.commands import fallback as watchdog_cli
from radiovis.commands import main as cli

MODULES = (
    "station",
    "check_config",
    "health",
    "pub",
    "sub",
    "topics",
    "logs",
    "probe",
    "conformance",
    "bench",
    "version",
)
_HEAD = """# Commands

`python server.py COMMAND …` in a clone, `radiovis COMMAND …` where it was installed by `pip install .`,
`python -m radiovis COMMAND …` in both. This page is generated (`make settings`), and a test keeps it true;
`COMMAND --help` says the same.

Every command ends with an [exit code](exit-codes.md), and says why on stderr, without a traceback, when it is not 0.
Colour is only for terminals, and never with `NO_COLOR`. `--json` prints what scripts want to read.

A server is given as `stomp://[login:passcode@]host[:port]`; `stomps://` is the same over TLS, `ws://` and `wss://` over
a WebSocket (its path is `/stomp` unless given). The ports are 61613, 61614, 80 and 443 unless given. `--ca` names the
authority of a certificate that this machine does not trust by itself. Other users of the machine can read a command
line, so a passcode rather stands in the environment: `RADIOVIS_SERVER=stomp://1.rock:secret@vis.example`.

Besides those below there is `serve`, which needs not be named and takes every [setting](settings.md) as a flag.
The watchdog is a program of its own: `python fallback.py`, and `python fallback.py status`.
"""
_EXIT_CODES = """# Exit codes

Generated (`make settings`) from what the programs say of themselves; a test keeps it true. In every case:

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | it was tried and did not work, or the answer is no |
| 2 | something has to be put right before it can be tried: the command line, a setting, a file |
| 130 | ended by Ctrl-C; a command whose work is to go on until then (`sub`, `logs --follow`) ends with 0 |

"""


def page() -> str:
    """``docs/commands.md``, in Markdown."""
    return _HEAD + "".join("\n" + line for command in _commands() for line in _section(command))


def exit_codes_page() -> str:
    """``docs/exit-codes.md``, in Markdown."""
    rows = {"server.py serve": cli.EXITS}
    rows |= {f"server.py {command.prog.partition(' ')[2]}": command.exits for command in _commands()}
    rows |= {f"fallback.py {name}": exits for name, exits in watchdog_cli.EXITS.items()}
    lines = [
        f"| `{name}` | " + " | ".join(exits.get(code, "") for code in (0, 1, 2)) + " |" for name, exits in rows.items()
    ]
    return _EXIT_CODES + "\n".join(["| command | 0 | 1 | 2 |", "| --- | --- | --- | --- |", *lines, ""])


def _commands() -> Iterator[CommandParser]:
    for module in MODULES:
        yield importlib.import_module(f"radiovis.commands.{module}").command()


def _codes(exits: Mapping[int, str]) -> str:
    return "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in exits.items())


def _section(command: CommandParser) -> Iterator[str]:
    name = command.prog.partition(" ")[2]
    yield f"## {name}\n"
    yield f"{command.description}" + (f" {command.note}" if command.note else "") + "\n"
    yield from _table(name, command)
    yield f"\n{_codes(command.exits)}.\n"


def _table(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]  # noqa: SLF001
    subcommands = [action for action in actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    if not subcommands:
        yield f"| `{name}` takes | |"
        yield "| --- | --- |"
        yield from (_row(action) for action in actions)
    for subcommand in subcommands:
        helps = {choice.dest: choice.help for choice in subcommand._choices_actions}  # noqa: SLF001
        for word, own in subcommand.choices.items():
            yield f"| `{name} {word}` | {helps[word]} |"
            yield "| --- | --- |"
            rows = [_row(action) for action in own._actions if not isinstance(action, argparse._HelpAction)]  # noqa: SLF001
            yield "\n".join(rows) + ("\n" if rows else "")


def _row(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    shown = ", ".join(action.option_strings) + value if action.option_strings else str(action.metavar or action.dest)
    text = (action.help or "").replace("|", "\\|").replace("%%", "%")
    return f"| `{shown}` | {text} |"


if __name__ == "__main__":
    print(exit_codes_page() if sys.argv[1:] == ["exit-codes"] else page(), end="")
