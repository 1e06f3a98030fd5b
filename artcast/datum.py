"""Reads datagrams: a value of a key, or facts about a key; and messages of the bus. Sans-IO.

    [key, value]
    [key, {"description": …, "provenance": …, "license": null or {"uri": …, "title": …}}]

Values are states of something: a client that misses one waits for the next. They travel as JSON. Only text for radios
is not JSON (:func:`artcast.forms.as_body`), because a radio would show the quotes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from artcast.forms import is_for_radios
from fanout.listeners.datagrams import MalformedDatagram

_TEXTS = ("description", "provenance")
_LICENSE = ("uri", "title")


@dataclass(frozen=True, slots=True)
class Datum:
    """One value.

    :ivar key: the key.
    :ivar value: JSON in ASCII characters; the value stays in this form.
    """

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Registration:
    """Facts about a key, from a source.

    :ivar key: the key.
    :ivar facts: ``description``, ``provenance`` and ``license``, as far as they are given.
    """

    key: str
    facts: dict[str, Any]


def read_datum(datagram: bytes, key_octets: int) -> Datum:
    """Parse a value. Raises :class:`MalformedDatagram` if the datagram is not one."""
    key, value = _pair(datagram, key_octets)
    return Datum(key, as_json(value))


def read_registration(datagram: bytes, key_octets: int) -> Registration:
    """Parse a registration. Raises :class:`MalformedDatagram` if the datagram is not one."""
    key, said = _pair(datagram, key_octets)
    if not isinstance(said, dict):
        raise MalformedDatagram("the facts about a key should be an object")
    return Registration(key, dict(_facts(said)))


def as_json(value: object) -> bytes:
    """A value as JSON in ASCII characters.

    :raises MalformedDatagram: JSON cannot represent this number.
    """
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError as error:
        raise MalformedDatagram(f"not JSON: {error}") from None


def as_value(topic: str, body: bytes) -> bytes:
    """The value of a message, as JSON of ASCII characters. :raises MalformedDatagram: the body is invalid."""
    if not is_for_radios(topic, body):
        return as_json(parse(body))
    try:
        return as_json(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedDatagram(f"not text in UTF-8: {error}") from None


def parse(text: bytes) -> Any:
    """The value of a JSON text.

    :raises MalformedDatagram: the text is not JSON, or not UTF-8.
    """
    try:
        value = json.loads(text.decode(), parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can represent a lone surrogate, UTF-8 cannot
    except RecursionError:
        raise MalformedDatagram("it is nested too deeply") from None
    except ValueError as error:
        raise MalformedDatagram(f"not JSON in UTF-8: {error}") from None
    return value


def _pair(datagram: bytes, key_octets: int) -> tuple[str, Any]:
    value = parse(datagram)
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        raise MalformedDatagram("should be a list of a key, which is text, and a value")
    if len(value[0].encode()) > key_octets:
        raise MalformedDatagram(f"its key is longer than {key_octets} octets")
    return value[0], value[1]


def _no_constant(name: str) -> Callable[[], object]:
    """Refuse NaN and Infinity: Python parses them, but clients in other languages do not."""
    raise ValueError(f"{name} is not JSON")


def _facts(said: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _TEXTS:
        if name in said:
            yield name, _text(name, said[name])
    if "license" in said:
        yield "license", _license(said["license"])


def _license(said: object) -> dict[str, str] | None:
    if said is None:
        return None
    if not isinstance(said, dict):
        raise MalformedDatagram("license should be null or an object with uri and title")
    return {name: _text(name, said[name]) for name in _LICENSE if name in said}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise MalformedDatagram(f"{name} should be text")
    return value
