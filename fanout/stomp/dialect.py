"""What differs between the versions of STOMP, in one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

VERSIONS = ("1.0", "1.1", "1.2")


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """How frames of one version are read and written. There is one object per version, compared by identity.

    :ivar version: ``1.0``, ``1.1`` or ``1.2``.
    :ivar unescape: escape sequence → octets it stands for (stomp.md F8); empty: no escaping in either direction.
    :ivar escape_value: for ``str.translate``: what a header value is written as (stomp.md F9).
    :ivar escape_name: the same for a header name.
    :ivar lenient: a header without a colon has the value ``''``, an ERROR leaves the connection open, and the
        other habits of the original (stomp.md §7).
    :ivar drop_cr: every CR in the header block is deleted, as the original did; otherwise only the one before LF.
    :ivar refuse_cr: a CR inside a header line is an error (1.2 has an escape for it).
    :ivar end: what is written after the body: NUL, and LF for clients that wait for it (stomp.md F12a).
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
        """This dialect under the setting ``TRAILING_LF`` (``auto``, ``on`` or ``off``)."""
        if trailing_lf == "auto":
            return self
        return replace(self, end=b"\0\n" if trailing_lf == "on" else b"\0")


# All that any version writes as something else. Most headers hold none of it, and to look costs a third of translating.
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
    """The highest version both sides speak, from an ``accept-version`` header (stomp.md N3).

    :param accept_version: comma separated, in any order, blanks ignored.
    :return: one of :data:`VERSIONS`, or None when none is common.
    """
    offered = {part.strip() for part in accept_version.split(",")}
    return max(offered.intersection(VERSIONS), default=None)


# The specification's own MUST NOT: a client may write anything behind a backslash, so the lone one is matched too.
ESCAPE = re.compile(r"\\.?", re.DOTALL)
