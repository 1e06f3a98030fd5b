"""What may be written to a terminal: colour only where somebody looks, and nobody else's control characters."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "grey": 90}


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in this colour, if the stream is a terminal and nobody objects (https://no-color.org).

    :param colour: red, green, yellow or grey.
    :param stream: where it will be written; None is stdout.
    """
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def progress(text: str) -> None:
    """How far we are, on a line of stderr that the next one takes the place of, if that is a terminal.

    :param text: empty for none any more.
    """
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A text from somewhere else, on one line and without what a terminal would obey."""
    # C0, C1, and the marks that turn the direction of writing: all can make a line look like another one.
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
