"""What is held, and until when. Sans-IO, and without a clock.

A message is known by its topic, as its publisher spells it, and its message-id: the next one with both replaces it,
whether that is held or on air, and one with an empty body cancels it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import takewhile

from fanout.hub.message import Message

HEARD = 10_000
"""Messages on air that are remembered: what was sent shortly before a leader died must not be sent again."""

Name = tuple[str, str]
"""Topic and message-id."""


@dataclass(frozen=True, slots=True)
class Held:
    """One message that waits.

    :ivar at: Unix time in seconds at which it is due.
    :ivar number: rises by order of arrival.
    :ivar ticket: by which its shelf knows it.
    """

    message: Message
    at: float
    number: int
    ticket: int

    @property
    def name(self) -> Name:
        return name_of(self.message)


def name_of(message: Message) -> Name:
    """How a message is known."""
    return message.topic, message.message_id


def _place(held: Held) -> tuple[float, int]:
    """By time, and then by arrival; no two have the same."""
    return held.at, held.number


class Timetable:
    """The messages that wait, by the time they are due."""

    def __init__(self) -> None:
        self._held: dict[Name, Held] = {}
        self._in_order: list[Held] = []  # the same ones, by their places
        self._heard: OrderedDict[Name, int] = OrderedDict()
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, message: Message, at: float, ticket: int) -> Held | None:
        """Add a message; gives the one it replaces. One that was on air later than it was published is what it replaces
        itself: it is not added.
        """
        self._arrived += 1
        held = Held(message, at, self._arrived, ticket)
        if self._heard.get(held.name, message.when) > message.when:
            return held
        before = self.cancel(held.name)
        self._held[held.name] = held
        insort(self._in_order, held, key=_place)
        return before

    def cancel(self, name: Name) -> Held | None:
        """Take a message off; gives it, or None if there was none."""
        held = self._held.pop(name, None)
        if held is not None:
            del self._in_order[bisect_left(self._in_order, _place(held), key=_place)]
        return held

    def heard(self, message: Message) -> Held | None:
        """A message is on air; gives what is held under its name and was published before it, which it replaces."""
        name = name_of(message)
        self._heard[name] = message.when
        self._heard.move_to_end(name)
        if len(self._heard) > HEARD:
            self._heard.popitem(last=False)
        held = self._held.get(name)
        return self.cancel(name) if held is not None and held.message.when <= message.when else None

    def remove(self, held: Held) -> bool:
        """Take off just this one; whether it was still there."""
        if self._held.get(held.name) is not held:
            return False
        self.cancel(held.name)
        return True

    def forget(self) -> None:
        """Drop all that is held; what was heard stays known."""
        self._held.clear()
        self._in_order.clear()

    def next_at(self) -> float | None:
        """When the next one is due; None if nothing is held."""
        return self._in_order[0].at if self._in_order else None

    def due(self, now: float, limit: int) -> list[Held]:
        """Those whose time has come, in the order of their times; each stays until it is removed.

        :param now: Unix time in seconds. Clocks may jump: whatever it says is right.
        :param limit: how many at most.
        """
        return list(takewhile(lambda held: held.at <= now, self.upcoming(limit)))

    def upcoming(self, limit: int) -> list[Held]:
        """The next ones, in the order of their times."""
        return self._in_order[:limit]


# When a message is to be shown: the header ``trigger-time`` (contract §4). Sans-IO.

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
