"""What a path looks like, and what its parts are called. Sans-IO.

=============== ================================================
``/hello``      these segments and no others
``{name}``      one whole segment, not empty
``{name:path}`` the rest, which may be empty and may have slashes; only at the end
=============== ================================================

A path is taken apart first and decoded then, so an encoded slash never makes a segment into two: only ``{name:path}``
takes one. What could climb out of a folder, or forge a line of a log, is no path at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(r"\{([a-z_][a-z0-9_]*)(:path)?\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class BadPath(ValueError):
    """This is no path; the text says why, for the client."""


def split(path: bytes) -> list[str]:
    """The segments of a path behind its first slash, each decoded.

    :param path: as the client sent it, without the query.
    :raises BadPath: it is not UTF-8, has control characters, or segments ``.`` or ``..``, encoded or not.
    """
    if not path.startswith(b"/"):
        raise BadPath("A path begins with a slash.")
    if _BAD_PERCENT.search(path):
        raise BadPath("Behind each % of a path stand two hexadecimal digits.")
    try:
        segments = [unquote_to_bytes(segment).decode() for segment in path[1:].split(b"/")]
    except UnicodeDecodeError:
        raise BadPath("A path is UTF-8.") from None
    for segment in segments:
        if _CONTROL.search(segment):
            raise BadPath("A path has no control characters.")
        if {".", ".."} & set(re.split(r"[/\\]", segment)):
            raise BadPath("A path has no segments . or .., encoded or not.")
    return segments


class Pattern:
    """A pattern of paths, such as ``/channels/{name:path}``.

    :ivar text: as it was written.
    :ivar names: of its parameters, in their order.
    """

    def __init__(self, text: str) -> None:
        """:raises ValueError: nothing could match it as it is written."""
        if not text.startswith("/"):
            raise ValueError(f"The pattern {text!r} should begin with a slash.")
        *front, last = text[1:].split("/")
        self.text = text
        self._rest = _name(last) if last.endswith(":path}") else None
        self._parts = [_part(part, text) for part in (front if self._rest else [*front, last])]
        self.names = [part for part, is_name in self._parts if is_name] + ([self._rest] if self._rest else [])
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"The pattern {text!r} has two parameters of one name.")

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """The parameters by name; None when this is another path.

        :param segments: of :func:`split`.
        """
        count = len(self._parts)
        if len(segments) <= count if self._rest else len(segments) != count:
            return None
        found: dict[str, str] = {}
        for segment, (part, is_name) in zip(segments, self._parts, strict=False):
            if not is_name:
                if segment != part:
                    return None
            elif not segment or "/" in segment:
                return None
            else:
                found[part] = segment
        if self._rest:
            found[self._rest] = "/".join(segments[count:])
        return found


def _part(part: str, text: str) -> tuple[str, bool]:
    """What one segment has to be, and whether that is a parameter's name."""
    if "{" not in part and "}" not in part:
        return part, False
    if part.endswith(":path}"):
        raise ValueError(f"In the pattern {text!r} only the last segment may be the rest of a path.")
    return _name(part), True


def _name(part: str) -> str:
    found = _PARAMETER.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} should be a whole segment such as {{name}}, or {{name:path}} at the end.")
    return found.group(1)
