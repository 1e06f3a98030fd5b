"""The pages that the engine makes itself: errors, lists of files, lists of topics.

A page contains its style sheet, because no path of a site is reserved for one. :data:`HEADERS` allow a browser to use
this style, and nothing else. Applications serve the same sheet, :data:`SHEET`, for their own pages.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from pathlib import Path

SHEET = Path(__file__).parent / "static" / "base.css"
_STYLE = " ".join(re.sub(r"/\*.*?\*/", "", SHEET.read_text(), flags=re.DOTALL).split())
_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = (("content-security-policy", _POLICY), ("referrer-policy", "no-referrer"))
"""Headers of each of these pages. ``form-action`` is for the form of an upload folder."""

_BEGIN = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
"""
_END = "</body>\n</html>\n"
_HOME = '<header class="bar"><p class="home"><a href="/">Start page</a></p></header>\n'


def message(title: str, words: str) -> str:
    """A page with one message.

    :param title: the title, without markup.
    :param words: the message, without markup.
    """
    main = f'<main id="main">\n<h1>{escape(title)}</h1>\n<p class="note">{escape(words)}</p>\n</main>\n'
    return f"{_BEGIN}<title>{escape(title)}</title>\n</head>\n<body>\n{_HOME}{main}{_END}"


def listing(title: str, columns: Iterable[str], rows: Iterable[str], *, below: str = "", nothing: str) -> Iterator[str]:
    """A page with a table, in pieces, because there may be many rows.

    :param title: the title, without markup.
    :param columns: the names of the columns.
    :param rows: the rows, each from :func:`row`.
    :param below: markup that follows the table.
    :param nothing: the message that is shown instead of a table without rows.
    """
    yield f"{_BEGIN}<title>{escape(title)}</title>\n</head>\n"
    yield f'<body class="list">\n<header class="bar"><h1>{escape(title)}</h1></header>\n<main id="main">\n'
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in columns)
    empty = True
    for each in rows:
        if empty:
            yield f'<table class="rows">\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        empty = False
        yield each
    yield f'<p class="note">{escape(nothing)}</p>\n' if empty else "</tbody>\n</table>\n"
    yield f"{below}</main>\n{_END}"


def row(address: str, name: str, *cells: str) -> str:
    """A row of a table.

    :param address: the target of the link on the name, percent-encoded.
    :param name: the text of the first cell, without markup.
    :param cells: the cells after the name, each from :func:`text`, :func:`size` or :func:`time`.
    """
    return f'<tr><th scope="row"><a href="{escape(address)}">{escape(name)}</a></th>{"".join(cells)}</tr>\n'


def text(words: str = "") -> str:
    """A cell with text. :param words: the text, without markup."""
    return f"<td>{escape(words)}</td>"


def time(when: float) -> str:
    """A cell with a time, in a form for people and one for programs. :param when: Unix time in seconds."""
    at = datetime.fromtimestamp(when, UTC)
    return f'<td><time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at:%Y-%m-%d %H:%M}</time></td>'


def size(octets: int) -> str:
    """A cell with a rounded size; its title is the exact number of octets."""
    value, unit = float(octets), 0
    while value >= _NEXT_UNIT and unit < len(_UNITS) - 1:
        value, unit = value / 1_000, unit + 1
    shown = f"{value:.1f}" if unit else str(octets)
    return f'<td class="size" title="{octets:,} octets">{shown} {_UNITS[unit]}</td>'


_UNITS = ("B", "kB", "MB", "GB", "TB")
_NEXT_UNIT = 999.95  # rounded, this would be written as 1000.0
