"""The messages of the last minutes: a client that names the last message it received gets those that followed.

The history is limited by number per topic, by age, and by total octets. Beyond the limit of octets, the owner with the
most octets loses its oldest message. Sans-IO; order and times are those of this node.
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
"""Octets of memory that an entry takes in addition to its message: its share of the indices."""


HISTORY_MESSAGES = 1_000
"""How many messages of one topic are kept for polls and event streams that reconnect. Most histories end earlier
because of HISTORY_SECONDS and HISTORY_BYTES; this limit keeps a topic with many messages from displacing all others."""


class HistorySettings(SettingsGroup):
    """History of messages."""

    retired: ClassVar[Mapping[str, str]] = {"HISTORY_MESSAGES": constant(HISTORY_MESSAGES, "messages")}

    HISTORY_SECONDS: float = setting(
        600,
        "How long a node keeps a message for polls and event streams that reconnect.",
        "s",
        why="Raise it if clients must get missed messages after longer interruptions.",
        ge=1,
        reload=True,
    )
    HISTORY_BYTES: int = setting(
        33_554_432,
        "Limit of the memory for the history of all topics.",
        "octets",
        why="Raise it if many stations publish often, so that the history ends before HISTORY_SECONDS.",
        ge=65_536,
        reload=True,
    )


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, and its position among those that this node received.

    :ivar position: rises with each message, over all topics.
    :ivar topic: the topic of the message.
    :ivar message: the message itself.
    :ivar at: when it was received, in seconds of the history's clock.
    """

    position: int
    topic: str
    message: Message
    at: float

    @property
    def owner(self) -> Hashable:
        """The account to which the message's memory is charged. Without a known publisher each topic is an account of
        its own.
        """
        return self.topic if self.message.origin is None else self.message.origin.owner


class History:
    """The most recent messages, by topic and in order.

    :ivar displaced: how many were dropped since the start because their owner used the most memory.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        settings: HistorySettings | None = None,
        *,
        messages_per_topic: int = HISTORY_MESSAGES,
    ) -> None:
        """
        :param clock: a monotonic clock in seconds.
        :param settings: how long messages are kept, and how much memory they may take.
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
        """How long messages are kept, and how much memory all of them may take.

        Lower limits take effect with the next message.
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
        """The memory that the messages take, in octets."""
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
        """Drop all messages of a topic."""
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
        """Drop a message. It is usually the oldest of its topic, but a topic may have messages of several owners."""
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
        """The position of the message with this id on these topics; None if it is not known.

        If an id occurs twice, the later message counts: otherwise a client would get the same messages again and again.
        """
        self._forget()
        found = (_find(self._topics.get(topic, []), message_id) for topic in topics)
        return max((position for position in found if position is not None), default=None)

    def after(self, topics: Iterable[str], position: int, limit: int) -> list[Heard]:
        """The messages that followed a position on these topics, the oldest first.

        :param limit: how many messages are returned at most.
        """
        kept = (_after(self._topics.get(topic, []), position) for topic in topics)
        return list(islice(merge(*kept, key=lambda heard: heard.position), limit))

    def place(self, topic: str, message: Message) -> int:
        """The position of a message if it is the newest of its topic, for sorting; 0 if it is not kept any more."""
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
