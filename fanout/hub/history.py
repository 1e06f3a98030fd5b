"""The messages of the last minutes: a client that names the last message it saw gets those that followed.

Bounded by number per topic, by age, and by octets in all: beyond these the owner of most octets loses its oldest
message. Sans-IO; the order and the times are those of this node.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import ClassVar

from fanout.cache.bounded_dict import OwnerWeights
from fanout.hub.message import Message
from fanout.settings.field import SettingsGroup, constant, setting

_OVERHEAD = 512
"""Octets of memory of an entry besides its message: its share of the indices."""


HISTORY_MESSAGES = 1_000
"""Most messages of one topic kept for polls and event streams that come back. HISTORY_SECONDS and HISTORY_BYTES end
most histories earlier; this one keeps a topic with many messages from displacing all others."""


class HistorySettings(SettingsGroup):
    """History."""

    retired: ClassVar[Mapping[str, str]] = {"HISTORY_MESSAGES": constant(HISTORY_MESSAGES, "messages")}

    HISTORY_SECONDS: float = setting(
        600,
        "How long a node keeps a message for polls and event streams that come back.",
        "s",
        why="Raise it if clients come back after longer interruptions and have to get what they missed.",
        ge=1,
        reload=True,
    )
    HISTORY_BYTES: int = setting(
        33_554_432,
        "Most memory that the history of all topics may take.",
        "octets",
        why="Raise it if many stations publish often, so that the history ends before HISTORY_SECONDS.",
        ge=65_536,
        reload=True,
    )


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, and its position among those that this node received.

    :ivar position: counts up, over all topics.
    :ivar at: when, on the history's clock.
    """

    position: int
    topic: str
    message: Message
    at: float

    @property
    def owner(self) -> Hashable:
        """The account that its memory counts for. Without a known publisher each topic has a share of its own."""
        return self.topic if self.message.origin is None else self.message.origin.owner


class History:
    """The last messages, by topic and in order.

    :ivar displaced: how many were dropped since the start because their owner had most of the memory.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        settings: HistorySettings | None = None,
        *,
        messages_per_topic: int = HISTORY_MESSAGES,
    ) -> None:
        """
        :param clock: seconds, monotonic.
        :param messages_per_topic: how many messages of one topic are kept.
        """
        self._clock = clock
        self._most_messages = messages_per_topic
        self.settings = settings or HistorySettings()
        self._octets = self.displaced = 0
        self._position = 0
        self._all: OrderedDict[int, Heard] = OrderedDict()
        self._owned: dict[Hashable, OrderedDict[int, Heard]] = {}
        self._weights = OwnerWeights()
        self._topics: dict[str, list[Heard]] = {}

    @property
    def settings(self) -> HistorySettings:
        """How long messages are kept, and how much memory all may take.

        Smaller limits take effect with the next message.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._most_seconds = settings.HISTORY_SECONDS  # read for each message
        self._most_octets = settings.HISTORY_BYTES

    def __len__(self) -> int:
        """How many messages are kept."""
        return len(self._all)

    @property
    def octets(self) -> int:
        """The memory they take."""
        return self._octets

    def add(self, topic: str, message: Message) -> None:
        """Keep a message as the newest of its topic."""
        self._position += 1
        heard = Heard(self._position, topic, message, self._clock())
        owner, weight = heard.owner, _weight(message)
        owned = self._owned.get(owner)
        if owned is None:
            owned = self._owned[owner] = OrderedDict()
        self._all[heard.position] = owned[heard.position] = heard
        self._octets += weight
        self._weights.change(owner, weight)
        kept = self._topics.setdefault(topic, [])
        kept.append(heard)
        if len(kept) > self._most_messages:
            self._drop(kept[0])
        self._forget()

    def forget(self, topic: str) -> None:
        """Drop the messages of a topic."""
        while topic in self._topics:
            self._drop(self._topics[topic][0])

    def _forget(self) -> None:
        too_old = self._clock() - self._most_seconds
        while self._all:
            oldest = next(iter(self._all.values()))
            if oldest.at >= too_old:
                break
            self._drop(oldest)
        while self._octets > self._most_octets:
            self.displaced += 1
            self._drop(next(iter(self._owned[self._weights.heaviest()].values())))

    def _drop(self, dropped: Heard) -> None:
        """Drop a message: mostly the oldest of its topic, but a topic may have messages of several owners."""
        owner, position, weight = dropped.owner, dropped.position, _weight(dropped.message)
        owned = self._owned[owner]
        del self._all[position], owned[position]
        if not owned:
            del self._owned[owner]
        self._octets -= weight
        self._weights.change(owner, -weight)
        kept = self._topics[dropped.topic]
        del kept[0 if kept[0] is dropped else bisect_left(kept, position, key=_position)]
        if not kept:
            del self._topics[dropped.topic]

    def position(self, topics: Iterable[str], message_id: str) -> int | None:
        """Where these topics had the message with this id; None when it is not known (any more, or yet).

        If an id occurs twice, the later one counts: otherwise a repeated id would make a client ask in circles.
        """
        self._forget()
        found = (_find(self._topics.get(topic, []), message_id) for topic in topics)
        return max((position for position in found if position is not None), default=None)

    def after(self, topics: Iterable[str], position: int, limit: int) -> list[Heard]:
        """What followed on these topics, the oldest first.

        :param limit: at most so many.
        """
        kept = (_after(self._topics.get(topic, []), position) for topic in topics)
        return list(islice(merge(*kept, key=lambda heard: heard.position), limit))

    def place(self, topic: str, message: Message) -> int:
        """The position of the newest message of a topic, to put newest ones in order; 0 when it is no longer kept."""
        kept = self._topics.get(topic)
        return kept[-1].position if kept and kept[-1].message is message else 0


def _find(kept: list[Heard], message_id: str) -> int | None:
    return next((heard.position for heard in reversed(kept) if heard.message.message_id == message_id), None)


def _after(kept: list[Heard], position: int) -> list[Heard]:
    return kept[bisect_right(kept, position, key=_position) :]


def _position(heard: Heard) -> int:
    return heard.position


def _weight(message: Message) -> int:
    return message.weight + _OVERHEAD
