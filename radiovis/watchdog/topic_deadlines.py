"""Which topics are stale: nothing was heard on them for too long. No clock and no sockets here; time is passed in.

Every watched topic lies on a :class:`~fanout.hub.timer_wheel.Wheel` by the time at which it becomes stale, and is moved
whenever something is heard on it. A check therefore costs as much as there are stale topics, however many others
there are. To read all topics at each check would be simpler, and cost the most when nothing is wrong.
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
"""Topics that were heard and are not watched: a station may begin before the directory lists it."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """The last thing known of a topic.

    :ivar when: Unix time in seconds at which it was published or heard.
    :ivar is_default: whether it was a default, so that the station's own message is older.
    """

    when: float
    is_default: bool = False


class _Watched:
    """A topic on the wheel.

    :ivar due: Unix time in seconds at which it becomes stale.
    :ivar alive: whether anything was ever heard on it.
    """

    __slots__ = ("alive", "due", "found", "slot", "topic")

    def __init__(self, topic: str, due: float, found: list[_Watched], *, alive: bool) -> None:
        """:param found: where the topic puts itself when the wheel comes to it."""
        self.topic = topic
        self.due = due
        self.alive = alive
        self.found = found
        self.slot: int | None = None

    def on_timer(self, now: float) -> None:
        self.found.append(self)


class Staleness:
    """The watched topics, by the time each is due for its default.

    :ivar settings: may be replaced at any time; a topic's new times count from the next message on.
    """

    def __init__(self, settings: WatchdogSettings, *, tick: float = TICK) -> None:
        """
        :param settings: ``FB_FALLBACK_TIME`` and ``FB_REPEAT`` are read; a repeat of 0 is the same as the fallback
            time, as a default counts as life (contract §1.9).
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

        A new one that was alive before gets the whole ``FB_FALLBACK_TIME`` from now on, so that a restart of ours
        overwrites nothing; one that was never heard is due at once.

        :param known: what is remembered of new topics.
        :param now: Unix time in seconds.
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
        """Something came on a topic."""
        watched = self._watched.get(topic)
        if watched is None:
            self._strangers[topic] = life
            return
        watched.alive = True
        self._move(watched, self._due_after(life, life.when))

    def heard_nothing_until(self, now: float) -> None:
        """The bus was away until now: topics that were alive may have gone on, so their time begins anew."""
        for watched in self._watched.values():
            if watched.alive:
                self._move(watched, max(watched.due, now + self.settings.FB_FALLBACK_TIME))

    def later(self, topic: str, due: float) -> None:
        """Let a topic be due then; does nothing for one that is not watched any more."""
        watched = self._watched.get(topic)
        if watched is not None:
            self._move(watched, due)

    def due(self, now: float, again: float) -> list[str]:
        """The topics that are due, in the order in which they became stale.

        :param again: when they are due next unless something else is said until then: a caller that fails half-way
            loses none of them.
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
        """When a topic is due after this; a time in the future comes from a wrong clock."""
        settings = self.settings
        return min(life.when, now) + ((life.is_default and settings.FB_REPEAT) or settings.FB_FALLBACK_TIME)

    def _move(self, watched: _Watched, due: float) -> None:
        watched.due = due
        self._wheel.forget(watched)  # The wheel only ever brings an item forward.
        self._schedule(watched)

    def _schedule(self, watched: _Watched) -> None:
        """The wheel is up to two ticks late and never early; we want at most one, and sort out what is early."""
        self._wheel.schedule(watched, watched.due - self._tick)

    def _begin_again(self) -> None:
        """The clock went back, and the wheel does not turn that way."""
        self._wheel = Wheel(self._tick)
        for watched in self._watched.values():
            watched.slot = None
            self._schedule(watched)


def _not_reached(_watched: _Watched, error: Exception) -> None:
    raise error
