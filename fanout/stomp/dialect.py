"""The differences between the versions of STOMP, in one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

VERSIONS = ("1.0", "1.1", "1.2")


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """How frames of one version are decoded and encoded. There is one object per version, compared by identity.

    :ivar version: ``1.0``, ``1.1`` or ``1.2``.
    :ivar unescape: escape sequence → the character it means (stomp.md F8); empty for a version without escapes.
    :ivar escape_value: the table for ``str.translate`` that escapes a header value (stomp.md F9).
    :ivar escape_name: the table for ``str.translate`` that escapes a header name.
    :ivar lenient: whether the dialect behaves like the original (stomp.md §7): for example, a header without a
        colon has the value ``''``, and an ERROR leaves the connection open.
    :ivar drop_cr: whether every CR in the header block is deleted, as the original did; otherwise only a CR before
        a LF.
    :ivar refuse_cr: whether a CR inside a header line is an error (1.2 has an escape for it).
    :ivar end: the octets after the body: NUL, and a LF for clients that wait for it (stomp.md F12a).
    """

    version: str
    unescape: Mapping[str, str]
    escape_value: Mapping[int, str]
    escape_name: Mapping[int, str]
    lenient: bool = False
    drop_cr: bool = False
    refuse_cr: bool = False
    end: bytes = b"\0\n"

    def with_trailing_lf(self, trailing_lf: str) -> Dialect:
        """This dialect, changed according to the setting ``TRAILING_LF``.

        :param trailing_lf: ``auto``, ``on`` or ``off``.
        """
        if trailing_lf == "auto":
            return self
        return replace(self, end=b"\0\n" if trailing_lf == "on" else b"\0")


# All characters that any version escapes. Most headers have none; this search takes a third of the time of translate().
SPECIAL = re.compile(r"[\0\r\n:\\]")
_BLANK = " "
# NUL ends a frame in every version and has no escape, so it can never be written inside a header.
_STOMP_10 = {ord("\0"): _BLANK, ord("\n"): _BLANK, ord("\r"): _BLANK}
_STOMP_11 = {ord("\0"): _BLANK, ord("\r"): _BLANK, ord("\n"): "\\n", ord(":"): "\\c", ord("\\"): "\\\\"}
_STOMP_12 = _STOMP_11 | {ord("\r"): "\\r"}

DIALECTS: Mapping[str, Dialect] = {
    "1.0": Dialect(
        "1.0",
        unescape={},
        escape_value=_STOMP_10,
        escape_name=_STOMP_10 | {ord(":"): _BLANK},
        lenient=True,
        drop_cr=True,
        end=b"\0",
    ),
    "1.1": Dialect("1.1", {"\\n": "\n", "\\c": ":", "\\\\": "\\"}, _STOMP_11, _STOMP_11),
    "1.2": Dialect("1.2", {"\\n": "\n", "\\c": ":", "\\\\": "\\", "\\r": "\r"}, _STOMP_12, _STOMP_12, refuse_cr=True),
}


def choose(accept_version: str) -> str | None:
    """The highest version that both sides speak, from an ``accept-version`` header (stomp.md N3).

    :param accept_version: versions separated by commas, in any order; blanks are ignored.
    :return: one of :data:`VERSIONS`; None if the client offers none of them.
    """
    offered = {part.strip() for part in accept_version.split(",")}
    return max(offered.intersection(VERSIONS), default=None)


# A backslash at the end of the text is matched, too: it must be refused like any other undefined escape sequence.
ESCAPE = re.compile(r"\\.?", re.DOTALL)
