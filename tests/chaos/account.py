"""What was published, what each radio heard of it, and what is wrong with that. No sockets and no clock.

The property: every publish that was acknowledged by a RECEIPT reached every radio that stayed connected from before it
was sent to the end, in order per topic; nobody heard anything twice. A radio whose connection was lost has missed
nothing before what it heard last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Publish:
    """:ivar sent: when it was sent, in seconds; ``receipted`` whether the RECEIPT came."""

    sent: float
    receipted: bool = False


@dataclass(slots=True)
class Life:
    """One connection of a radio, from the RECEIPT of its SUBSCRIBE on.

    :ivar began: topic → when its subscription was acknowledged, in seconds.
    :ivar ended: whether the connection was lost.
    :ivar doubled: how often something came that had come before; ``disordered``: something older than the last one.
    """

    radio: int
    began: dict[str, float] = field(default_factory=dict)
    ended: bool = False
    doubled: list[tuple[str, int]] = field(default_factory=list)
    disordered: list[tuple[str, int]] = field(default_factory=list)
    _heard: dict[str, set[int]] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def hear(self, topic: str, number: int) -> None:
        """A message came."""
        heard = self._heard.setdefault(topic, set())
        if number in heard:
            self.doubled.append((topic, number))
        elif number < self._last.get(topic, 0):
            self.disordered.append((topic, number))
        heard.add(number)
        self._last[topic] = number

    def has(self, topic: str, number: int) -> bool:
        """Whether this was heard."""
        return number in self._heard.get(topic, ())

    def last(self, topic: str) -> int:
        """The number heard last; 0 before."""
        return self._last.get(topic, 0)

    @property
    def count(self) -> int:
        """Messages heard."""
        return sum(map(len, self._heard.values())) + len(self.doubled)


class Account:
    """Everything that was published and heard. Publishes of a topic are numbered from 1."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self._publishes: dict[str, dict[int, Publish]] = {}

    def sent(self, topic: str, now: float) -> int:
        """One more publish; its number."""
        publishes = self._publishes.setdefault(topic, {})
        number = len(publishes) + 1
        publishes[number] = Publish(now)
        return number

    def receipted(self, topic: str, number: int) -> None:
        """Its RECEIPT came."""
        self._publishes[topic][number].receipted = True

    def life(self, radio: int) -> Life:
        """A radio has connected."""
        life = Life(radio)
        self.lives.append(life)
        return life

    def newest(self, topic: str) -> int:
        """The number of the last publish; 0 without one."""
        return len(self._publishes.get(topic, ()))

    def newest_receipted(self, topic: str) -> int:
        """The highest number with a RECEIPT; 0 without one."""
        publishes = self._publishes.get(topic, {})
        return next((number for number in reversed(publishes) if publishes[number].receipted), 0)

    # What came of it

    def publishes(self) -> tuple[int, int]:
        """How many there were, and how many of them were acknowledged."""
        everything = [publish for of_topic in self._publishes.values() for publish in of_topic.values()]
        return len(everything), sum(publish.receipted for publish in everything)

    def lost(self) -> Iterator[tuple[int, str, int]]:
        """Radio, topic and number of each acknowledged publish that did not reach a radio which was connected."""
        for life in self.lives:
            for topic, began in life.began.items():
                yield from ((life.radio, topic, number) for number in self._missed(life, topic, began))

    def _missed(self, life: Life, topic: str, began: float) -> Iterator[int]:
        for number, publish in self._publishes.get(topic, {}).items():
            due = not life.ended or number < life.last(topic)
            if due and publish.receipted and publish.sent > began and not life.has(topic, number):
                yield number
