"""The line of each table and key in a TOML text. ``tomllib`` gives lines for syntax errors only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*[.=]")
_QUOTES = ('"""', "'''")


@dataclass(slots=True)
class Section:
    """One ``[table]`` or one ``[[element]]``.

    :ivar name: as in the header, ``station.channel``; empty for the part before the first header.
    :ivar line: of the header, from 1.
    :ivar keys: the line of each key.
    """

    name: str
    line: int
    keys: dict[str, int] = field(default_factory=dict)

    def line_of(self, key: str | None) -> int:
        """The line of a key; of the header if the key is not there."""
        return self.line if key is None else self.keys.get(key, self.line)

    def inline(self, key: str) -> Section:
        """A section for an inline table behind this key: all of it is at the key's line."""
        return Section(key, self.line_of(key))


def read_sections(text: str) -> list[Section]:
    """The sections of a text that ``tomllib`` has accepted, in order.

    The first one has no header: it is the document itself, and its keys include the tables. Inline tables and keys
    (``station = [{login = …}]``) are at the line of the outermost key.
    """
    sections = [Section("", 1)]
    inside: str | None = None  # The quotes of the multi-line string at this line; its content is skipped.
    for number, line in enumerate(text.splitlines(), 1):
        if inside is None:
            _read_line(sections, number, line)
        inside = _quotes_after(line, inside)
    return sections


def _read_line(sections: list[Section], number: int, line: str) -> None:
    if header := _HEADER.fullmatch(line):
        name = re.sub(r"[\s\"']", "", header[1])
        sections[0].keys.setdefault(name.partition(".")[0], number)
        sections.append(Section(name, number))
    elif key := _KEY.match(line):
        sections[-1].keys.setdefault(key[1].strip("\"'"), number)


def _quotes_after(line: str, inside: str | None) -> str | None:
    rest = line
    while True:
        if inside:
            _, closed, rest = rest.partition(inside)
            if not closed:
                return inside
            inside = None
        else:
            opening = min((quotes for quotes in _QUOTES if quotes in rest), key=rest.index, default=None)
            if opening is None or "#" in rest[: rest.index(opening)]:
                return None
            inside, rest = opening, rest.partition(opening)[2]
