"""The messages that are held, in the order in which they are due. Sans-IO, and without a clock.

The name of a message is its topic, as its publisher spells it, and its message-id. The next message of the same name
replaces it, whether that message is held or sent at once. A message with an empty body cancels it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import takewhile

from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.message import Message

HEARD = 10_000
"""Sent messages that are remembered: one that was sent just before a leader died must not be sent again."""

Name = tuple[str, str]
"""Topic and message-id."""


@dataclass(frozen=True, slots=True)
class Held:
    """One message that is held.

    :ivar at: Unix time in seconds at which it is due.
    :ivar number: rises with the order of arrival.
    :ivar ticket: by which its store knows it.
    """

    message: Message
    at: float
    number: int
    ticket: int

    @property
    def name(self) -> Name:
        """The name of the message."""
        return name_of(self.message)


def name_of(message: Message) -> Name:
    """The name of a message."""
    return message.topic, message.message_id


def _order(held: Held) -> tuple[float, int]:
    """By time, and then by arrival; no two are equal."""
    return held.at, held.number


class Timetable:
    """The messages that are held, by the time they are due."""

    def __init__(self) -> None:
        self._held: dict[Name, Held] = {}
        self._in_order: list[Held] = []  # the same messages, sorted
        self._heard: BoundedDict[Name, int] = BoundedDict(HEARD)
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, message: Message, at: float, ticket: int) -> Held | None:
        """Add a message; gives the one it replaces.

        If a message of this name was sent after this one was published, this one is not added, but given itself.
        """
        self._arrived += 1
        held = Held(message, at, self._arrived, ticket)
        if self._heard.get(held.name, message.when) > message.when:
            return held
        before = self.cancel(held.name)
        self._held[held.name] = held
        insort(self._in_order, held, key=_order)
        return before

    def cancel(self, name: Name) -> Held | None:
        """Remove a message; gives it, or None if there was none."""
        held = self._held.pop(name, None)
        if held is not None:
            del self._in_order[bisect_left(self._in_order, _order(held), key=_order)]
        return held

    def heard(self, message: Message) -> Held | None:
        """A message was sent; removes and gives the held message of its name that was published before it."""
        name = name_of(message)
        self._heard[name] = message.when
        held = self._held.get(name)
        return self.cancel(name) if held is not None and held.message.when <= message.when else None

    def remove(self, held: Held) -> bool:
        """Remove just this one; whether it was still there."""
        if self._held.get(held.name) is not held:
            return False
        self.cancel(held.name)
        return True

    def forget(self) -> None:
        """Drop all held messages; the names of sent messages stay known."""
        self._held.clear()
        self._in_order.clear()

    def next_at(self) -> float | None:
        """When the next message is due; None if nothing is held."""
        return self._in_order[0].at if self._in_order else None

    def due(self, now: float, limit: int) -> list[Held]:
        """The messages whose time has come, in the order of their times; each stays until it is removed.

        :param now: Unix time in seconds. It may jump.
        :param limit: how many at most.
        """
        return list(takewhile(lambda held: held.at <= now, self.upcoming(limit)))

    def upcoming(self, limit: int) -> list[Held]:
        """The next messages, in the order of their times."""
        return self._in_order[:limit]
