"""``version``: print the version of this program."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence

from fanout import __version__
from radiovis.client.command_line import DONE, WRONG, CommandParser


def command() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser("version", "Print the version.", {DONE: "done", WRONG: "wrong usage"})
    parser.add_argument("--json", action="store_true", help="print one JSON object, including Python's version")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command. :raises CommandError: wrong usage."""
    if command().read(words).json:
        print(json.dumps({"radiovis": __version__, "python": platform.python_version()}))
    else:
        print(f"radiovis {__version__}")
    return DONE
