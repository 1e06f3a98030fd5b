"""Output for a terminal: colours, a line of progress, and text from elsewhere made harmless."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "grey": 90}


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """A text in a colour, if the stream is a terminal and colours are not turned off (https://no-color.org).

    :param colour: red, green, yellow or grey.
    :param stream: where it will be written; None is stdout.
    """
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def progress(text: str) -> None:
    """Show progress on a line of stderr that the next call overwrites. Does nothing if stderr is no terminal.

    :param text: empty to remove the line.
    """
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A text from elsewhere on one line, with the characters escaped that a terminal would obey."""
    # C0, C1, and the marks that turn the direction of writing: all can make a line look like another one.
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
