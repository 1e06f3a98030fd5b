"""What is held, and until when. Sans-IO, and without a clock.

A message is known by its topic, as its publisher spells it, and its message-id: the next one with both replaces it,
whether that is held or on air, and one with an empty body cancels it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from heapq import nsmallest

from fanout.message import Message

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


class Timetable:
    """The messages that wait, by the time they are due."""

    def __init__(self) -> None:
        self._held: dict[Name, Held] = {}
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
        before = self._held.get(held.name)
        self._held[held.name] = held
        return before

    def cancel(self, name: Name) -> Held | None:
        """Take a message off; gives it, or None if there was none."""
        return self._held.pop(name, None)

    def heard(self, message: Message) -> Held | None:
        """A message is on air; gives what is held under its name and was published before it, which it replaces."""
        name = name_of(message)
        self._heard[name] = message.when
        self._heard.move_to_end(name)
        if len(self._heard) > HEARD:
            self._heard.popitem(last=False)
        held = self._held.get(name)
        return self._held.pop(name) if held is not None and held.message.when <= message.when else None

    def remove(self, held: Held) -> bool:
        """Take off just this one; whether it was still there."""
        if self._held.get(held.name) is not held:
            return False
        del self._held[held.name]
        return True

    def forget(self) -> None:
        """Drop all that is held; what was heard stays known."""
        self._held.clear()

    def next_at(self) -> float | None:
        """When the next one is due; None if nothing is held."""
        return min((held.at for held in self._held.values()), default=None)

    def due(self, now: float, limit: int) -> list[Held]:
        """Those whose time has come, in the order of their times; each stays until it is removed.

        :param now: Unix time in seconds. Clocks may jump: whatever it says is right.
        :param limit: how many at most.
        """
        return [held for held in self.upcoming(limit) if held.at <= now]

    def upcoming(self, limit: int) -> list[Held]:
        """The next ones, in the order of their times."""
        return nsmallest(limit, self._held.values(), key=lambda held: (held.at, held.number))
