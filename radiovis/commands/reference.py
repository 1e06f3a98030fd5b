"""``docs/commands.md``, made from what the commands say of themselves: ``python -m radiovis.commands.reference``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

from radiovis.commands.arguments import CommandParser

MODULES = ("station", "check_config", "health", "pub", "sub", "topics", "logs", "probe", "conformance")
_HEAD = """# Commands

`python server.py COMMAND …` in a clone, `radiovis COMMAND …` where it was installed by `pip install .`,
`python -m radiovis COMMAND …` in both. This page is generated (`make settings`), and a test keeps it true;
`COMMAND --help` says the same.

Every command ends with one of these exit codes, and with one line on stderr when it is not 0:

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | it was tried and did not work, or the answer is no |
| 2 | something has to be put right before it can be tried: the command line, a setting, a file |
| 130 | ended by Ctrl-C |

Colour is only for terminals, and never with `NO_COLOR`. `--json` prints what scripts want to read. A server is given as
`stomp://[login:passcode@]host[:port]`, `stomps://` for TLS; better than on the command line, where other users of
the machine can read it, a passcode stands in the environment: `RADIOVIS_SERVER=stomp://1.rock:secret@vis.example`.

Besides those below there are `serve`, which needs not be named and takes every [setting](settings.md) as a flag,
`bench`, which measures fan-out (`bench --help`), and `version`.
"""


def page() -> str:
    """The page, in Markdown."""
    commands = (importlib.import_module(f"radiovis.commands.{module}").command() for module in MODULES)
    return _HEAD + "".join("\n" + line for command in commands for line in _section(command))


def _section(command: CommandParser) -> Iterator[str]:
    name = command.prog.partition(" ")[2]
    yield f"## {name}\n"
    yield f"{command.description}" + (f" {command.note}" if command.note else "") + "\n"
    yield from _table(name, command)
    yield "\nExit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in command.exits.items()) + ".\n"


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
    print(page(), end="")
