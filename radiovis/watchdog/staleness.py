"""Which topics have fallen silent. No clock, no sockets: time is passed in.

Every topic that is looked after lies in a slot by the time it will count as silent, and moves to a later one whenever
something is heard on it. So a look costs as much as there are silent topics, however many others there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

TICK = 0.25
"""Seconds per slot: a topic is found at most this late."""
STRANGERS = 10_000
"""Topics heard that are not looked after, or not yet: a station may begin before the directory lists it."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """The last thing known of a topic.

    :ivar when: Unix time in seconds at which it was published or heard.
    :ivar is_default: whether it was a default, so that the station itself has been silent for longer.
    """

    when: float
    is_default: bool = False


@dataclass(slots=True)
class _Watched:
    due: float
    slot: int
    alive: bool


class Staleness:
    """The topics the watchdog looks after, by the time each is due for its default."""

    def __init__(self, retry_policy: float, repeat: float = 0, *, tick: float = TICK) -> None:
        """
        :param retry_policy: seconds of silence after which a topic is due.
        :param repeat: seconds after a default at which it is due again; 0 is the same as ``retry_policy``, as a default
            counts as life (contract §1.9).
        """
        self._patience = retry_policy
        self._repeat = repeat or retry_policy
        self._tick = tick
        self._watched: dict[str, _Watched] = {}
        self._slots: dict[int, dict[str, None]] = {}
        self._next = 0
        self._strangers: OrderedDict[str, Liveness] = OrderedDict()

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, topic: str) -> bool:
        return topic in self._watched

    def watch(self, topics: Collection[str], known: Mapping[str, Liveness], now: float) -> None:
        """Look after these topics and no others.

        A new one that was alive before gets all of ``retry_policy`` from now on, so that a restart of ours overwrites
        nothing; one that nobody ever heard of is due at once.

        :param known: what is remembered of new topics.
        """
        wanted = set(topics)
        for topic in [each for each in self._watched if each not in wanted]:
            self._take_out(topic)
            del self._watched[topic]
        for topic in topics:
            if topic not in self._watched:
                self._add(topic, self._latest(known.get(topic), self._strangers.pop(topic, None)), now)

    def _latest(self, *lives: Liveness | None) -> Liveness | None:
        return max((life for life in lives if life is not None), key=lambda life: life.when, default=None)

    def _add(self, topic: str, life: Liveness | None, now: float) -> None:
        due = now if life is None else max(self._due_after(life, now), now + self._patience)
        self._watched[topic] = _Watched(due, self._slot(due), life is not None)
        self._put_in(topic)

    def heard(self, topic: str, life: Liveness) -> None:
        """Something came on a topic."""
        watched = self._watched.get(topic)
        if watched is None:
            self._strangers[topic] = life
            self._strangers.move_to_end(topic)
            if len(self._strangers) > STRANGERS:
                self._strangers.popitem(last=False)
            return
        watched.alive = True
        self._move(topic, self._due_after(life, life.when))

    def heard_nothing_until(self, now: float) -> None:
        """We were deaf until now: what was alive may well have gone on, so its time begins anew."""
        for topic, watched in self._watched.items():
            if watched.alive:
                self._move(topic, max(watched.due, now + self._patience))

    def later(self, topic: str, due: float) -> None:
        """Let a topic be due then; does nothing for one that is not looked after any more."""
        if topic in self._watched:
            self._move(topic, due)

    def due(self, now: float, again: float) -> list[str]:
        """The topics that are due, in the order they fell silent.

        :param again: when they are due next unless something else is said until then: nothing is forgotten because
            whoever asked could not finish.
        """
        found = [topic for slot in self._passed(int(now / self._tick)) for topic in self._slots.get(slot, ())]
        found = [topic for topic in found if self._watched[topic].due <= now]
        found.sort(key=lambda topic: self._watched[topic].due)
        for topic in found:
            self._move(topic, again)
        return found

    def _due_after(self, life: Liveness, now: float) -> float:
        """When a topic is due of which this was the last; a time in the future is a wrong clock's."""
        return min(life.when, now) + (self._repeat if life.is_default else self._patience)

    # Slots

    def _slot(self, due: float) -> int:
        return int(due / self._tick)

    def _move(self, topic: str, due: float) -> None:
        watched = self._watched[topic]
        watched.due = due
        slot = self._slot(due)
        if slot != watched.slot:
            self._take_out(topic)
            watched.slot = slot
            self._put_in(topic)

    def _put_in(self, topic: str) -> None:
        slot = self._watched[topic].slot
        self._slots.setdefault(slot, {})[topic] = None
        self._next = min(self._next, slot)

    def _take_out(self, topic: str) -> None:
        slot = self._watched[topic].slot
        del self._slots[slot][topic]
        if not self._slots[slot]:
            del self._slots[slot]

    def _passed(self, current: int) -> Iterator[int]:
        """The slots up to the current one. After a long pause there are more empty ones to pass than filled ones."""
        first, self._next = self._next, current
        if current - first < len(self._slots):
            return iter(range(first, current + 1))
        return iter(sorted(slot for slot in self._slots if slot <= current))
