"""Finds stale topics: those without a message for too long. No clock and no sockets; time is passed in.

Every watched topic is on a :class:`~fanout.hub.timer_wheel.Wheel` at the time at which it becomes stale, and is moved
whenever a message is received on it. So the cost of a check depends on the number of stale topics only. Reading all
topics at each check would be simpler, but would cost the most when no topic is stale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fanout.cache.bounded_dict import BoundedDict
from fanout.hub.timer_wheel import Wheel
from radiovis.settings import WatchdogSettings

TICK = 0.25
"""Seconds per slot of the wheel: a stale topic is found at most this late."""
STRANGERS = 10_000
"""Topics with messages that are not watched: a station may start before the directory lists it."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """The last known message of a topic.

    :ivar when: time in seconds at which it was published or received.
    :ivar is_default: whether it was a default, so that the station's own message is older.
    """

    when: float
    is_default: bool = False


class _Watched:
    """A topic on the wheel.

    :ivar topic: the topic.
    :ivar due: time in seconds at which it becomes stale.
    :ivar alive: whether any message was ever received on it.
    :ivar found: the list to which the topic adds itself when it is due.
    """

    __slots__ = ("alive", "due", "found", "slot", "topic")

    def __init__(self, topic: str, due: float, found: list[_Watched], *, alive: bool) -> None:
        """:param found: the list to which the topic adds itself when it is due."""
        self.topic = topic
        self.due = due
        self.alive = alive
        self.found = found
        self.slot: int | None = None

    def on_timer(self, now: float) -> None:
        self.found.append(self)


class Staleness:
    """The watched topics, by the time at which each is due for its default.

    :ivar settings: may be replaced at any time; they apply to a topic from its next message on.
    """

    def __init__(self, settings: WatchdogSettings, *, tick: float = TICK) -> None:
        """
        :param settings: ``FB_FALLBACK_TIME`` and ``FB_REPEAT`` are read. A repeat of 0 means the fallback time,
            because a default counts as life (contract §1.9).
        :param tick: seconds per slot.
        """
        self.settings = settings
        self._tick = tick
        self._watched: dict[str, _Watched] = {}
        self._wheel: Wheel[_Watched] = Wheel(tick)
        self._found: list[_Watched] = []
        self._checked = float("-inf")
        self._strangers: BoundedDict[str, Liveness] = BoundedDict(STRANGERS)

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, topic: str) -> bool:
        return topic in self._watched

    def watch(self, topics: Collection[str], known: Mapping[str, Liveness], now: float) -> None:
        """Watch these topics and no others.

        A new topic that was alive before gets the whole ``FB_FALLBACK_TIME`` from now on, so that our restart
        overwrites nothing; a topic without any message is due at once.

        :param topics: the topics to watch.
        :param known: the last known messages of new topics.
        :param now: time in seconds.
        """
        wanted = set(topics)
        for topic in [each for each in self._watched if each not in wanted]:
            self._wheel.forget(self._watched.pop(topic))
        for topic in topics:
            if topic not in self._watched:
                self._add(topic, self._latest(known.get(topic), self._strangers.pop(topic, None)), now)

    def _latest(self, *lives: Liveness | None) -> Liveness | None:
        return max((life for life in lives if life is not None), key=lambda life: life.when, default=None)

    def _add(self, topic: str, life: Liveness | None, now: float) -> None:
        due = now if life is None else max(self._due_after(life, now), now + self.settings.FB_FALLBACK_TIME)
        watched = self._watched[topic] = _Watched(topic, due, self._found, alive=life is not None)
        self._schedule(watched)

    def heard(self, topic: str, life: Liveness) -> None:
        """A message was received on a topic."""
        watched = self._watched.get(topic)
        if watched is None:
            self._strangers[topic] = life
            return
        watched.alive = True
        self._move(watched, self._due_after(life, life.when))

    def heard_nothing_until(self, now: float) -> None:
        """The bus was disconnected until now. Topics that were alive may have had messages, so their time starts
        again.
        """
        for watched in self._watched.values():
            if watched.alive:
                self._move(watched, max(watched.due, now + self.settings.FB_FALLBACK_TIME))

    def later(self, topic: str, due: float) -> None:
        """Set when a topic is due. Does nothing if the topic is not watched any more."""
        watched = self._watched.get(topic)
        if watched is not None:
            self._move(watched, due)

    def due(self, now: float, again: float) -> list[str]:
        """The due topics, in the order in which they became stale.

        :param now: time in seconds.
        :param again: when they are due next, unless that is changed before. So a caller that fails half-way loses none
            of them.
        """
        if now < self._checked:
            self._begin_again()
        self._checked = now
        self._wheel.turn(now, _not_reached)
        found = sorted((each for each in self._found if each.due <= now), key=lambda each: each.due)
        for early in [each for each in self._found if each.due > now]:
            self._schedule(early)
        self._found.clear()
        for watched in found:
            self._move(watched, again)
        return [watched.topic for watched in found]

    def _due_after(self, life: Liveness, now: float) -> float:
        """When a topic is due after this message. A time in the future comes from a wrong clock, and counts as now."""
        settings = self.settings
        return min(life.when, now) + ((life.is_default and settings.FB_REPEAT) or settings.FB_FALLBACK_TIME)

    def _move(self, watched: _Watched, due: float) -> None:
        watched.due = due
        self._wheel.forget(watched)  # The wheel only moves items to earlier times.
        self._schedule(watched)

    def _schedule(self, watched: _Watched) -> None:
        """Put a topic on the wheel one tick early. The wheel is up to two ticks late and never early; we allow one
        tick, and filter early topics.
        """
        self._wheel.schedule(watched, watched.due - self._tick)

    def _begin_again(self) -> None:
        """Fill a new wheel after the clock went back, because a wheel does not turn backwards."""
        self._wheel = Wheel(self._tick)
        for watched in self._watched.values():
            watched.slot = None
            self._schedule(watched)


def _not_reached(_watched: _Watched, error: Exception) -> None:
    raise error
