"""Which of several forms a client wants: the Accept header (RFC 9110, 12.5.1). Sans-IO."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fanout.http.response import HttpError

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's token
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?")
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header, or a media type.

    :ivar parameters: besides the weight, names in lower case.
    :ivar weight: 0 for "not this" to 1.
    """

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]] = frozenset()
    weight: float = 1.0

    def covers(self, offered: MediaRange) -> bool:
        """Whether this type is one of those meant."""
        return (
            self.type in ("*", offered.type)
            and self.subtype in ("*", offered.subtype)
            and self.parameters <= offered.parameters
        )

    @property
    def precision(self) -> tuple[bool, bool, int]:
        """Of all ranges that cover a type the most precise one counts."""
        return self.type != "*", self.subtype != "*", len(self.parameters)


def parse(accept: str) -> list[MediaRange]:
    """The ranges of an Accept header. What is none is passed over, as its neighbours may still be understood."""
    return list(_ranges(accept))


def _ranges(accept: str) -> Iterator[MediaRange]:
    for element in _ELEMENT.findall(accept):
        found = _range(element.strip(" \t"))
        if found is not None:
            yield found


def _range(element: str) -> MediaRange | None:
    found = _RANGE.match(element)
    if found is None:
        return None
    kind, subtype = found.group(1).lower(), found.group(2).lower()
    if kind == "*" and subtype != "*":
        return None
    parameters = _parameters(element[found.end() :])
    if parameters is None:
        return None
    weight = parameters.pop("q", "1")
    if not _WEIGHT.fullmatch(weight):
        return None
    return MediaRange(kind, subtype, frozenset(parameters.items()), float(weight))


def _parameters(text: str) -> dict[str, str] | None:
    """By name, in lower case; None when this is none. Behind the weight others are of no meaning any more."""
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        one = _PARAMETER.match(text, place)
        if one is None:
            return None
        if one.group(1) and "q" not in found:
            found[one.group(1).lower()] = _unquote(one.group(2))
        place = one.end()
    return found


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.lower()


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The type to answer with: the one with the highest weight, and of equals the server's first.

    :param accept: the header; None or empty for a client that takes anything.
    :param offered: media types, the server's favourite first, such as ``text/plain; charset=utf-8``.
    :raises HttpError: 406, none of them is wanted.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = parse(accept)
    weights = [_weight(_offer(each), ranges) for each in offered]
    best = max(weights)
    if best <= 0:
        raise HttpError(406, f"There is {', '.join(offered)}; Accept names none of them.", Vary="Accept")
    return offered[weights.index(best)]


def is_type(text: str) -> bool:
    """Whether this is a media type, as a Content-Type has to be."""
    return _range(text) is not None


def _weight(offer: MediaRange, ranges: Sequence[MediaRange]) -> float:
    covering = [each for each in ranges if each.covers(offer)]
    return max(covering, key=lambda each: each.precision).weight if covering else 0.0


def _offer(text: str) -> MediaRange:
    found = _range(text)
    if found is None:
        raise ValueError(f"{text!r} is no media type.")
    return found
