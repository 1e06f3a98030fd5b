"""The directory's answers as JSON, for the caches: what is read back is checked, for others may have written it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from radiovis.directory.interface import Channel, Default
from radiovis.directory.prefix import checked_prefix

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One sort of question.

    :ivar name: part of its keys in the caches.
    :ivar shared: whether nodes tell each other through memcached. Not for what decides who may publish: memcached
        has no passwords.
    :ivar settled: whether an answer, once there, changes so rarely that other nodes take it without asking again.
    :ivar to_json: the answer as something JSON can hold.
    :ivar from_json: the other way; raises ValueError or TypeError for anything else.
    """

    name: str
    shared: bool
    settled: bool
    to_json: Callable[[T], Any]
    from_json: Callable[[Any], T]


def _read_channels(answer: Any) -> tuple[str, ...]:
    return tuple(checked_prefix(_text(topic)) for topic in _list(answer))


def _read_gcc(answer: Any) -> str | None:
    if answer is not None and not (isinstance(answer, str) and len(answer) == 3):
        raise ValueError("no GCC")
    return answer


def _write_topics(topics: tuple[Channel, ...]) -> list[Any]:
    return [[channel.topic, channel.id, channel.listed, channel.name] for channel in topics]


def _read_topics(answer: Any) -> tuple[Channel, ...]:
    return tuple(_read_channel(row) for row in _list(answer))


def _read_channel(row: Any) -> Channel:
    match row:
        case [str() as topic, int() as id, bool() as listed, str() as name]:
            return Channel(checked_prefix(topic), id, listed, name)
    raise ValueError("no channel")


def _write_default(default: Default | None) -> list[Any] | None:
    return [default.image, default.text, default.link] if default else None


def _read_default(answer: Any) -> Default | None:
    if answer is None:
        return None
    image, text, link = (part if part is None else _text(part) for part in _list(answer))
    return Default(image, text, link)


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise TypeError("no list")
    return answer


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise TypeError("no text")
    return answer


CHANNELS: Kind[tuple[str, ...]] = Kind("channels", False, False, list, _read_channels)
GCC: Kind[str | None] = Kind("gcc", True, True, lambda gcc: gcc, _read_gcc)
TOPICS: Kind[tuple[Channel, ...]] = Kind("topics", True, False, _write_topics, _read_topics)
DEFAULT: Kind[Default | None] = Kind("default", True, False, _write_default, _read_default)
