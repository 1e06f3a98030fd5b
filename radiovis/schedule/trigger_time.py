"""When a message is to be shown: the header ``trigger-time`` (contract §4). Sans-IO."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from fanout.message import Message

HEADER, NOW = "trigger-time", "NOW"
_LONGEST = 64  # characters of a date and time; what is longer is none
_KEPT = 1_024
"""Texts whose time is remembered: a message is asked for it when it is admitted, published and taken off the shelf;
those of a broadcast all have the same."""


def trigger_time(message: Message) -> float | None:
    """Unix time in seconds; None for NOW, for no such header, and for what is no date and time with a time zone: that
    is passed on as it is, as it always was (contract §1.5).
    """
    text = dict(message.headers).get(HEADER, NOW).strip()
    return None if text == NOW or len(text) > _LONGEST else _unix_time(text)


@lru_cache(_KEPT)
def _unix_time(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def for_now(message: Message, when: int | None = None) -> Message:
    """The same message, to be shown at once.

    :param when: Unix time in seconds at which it goes on air; None leaves that as it is.
    """
    headers = tuple((name, NOW if name == HEADER else value) for name, value in message.headers)
    return message._replace(headers=headers, when=message.when if when is None else when)
