"""The known keys, with the facts about each (:class:`Catalogue`), and the recognition of data that arrived before in
another way (:class:`Copies`). Sans-IO.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fanout.cache.bounded_dict import BoundedDict

Facts = Mapping[str, Any]
"""``description``, ``provenance`` and ``license``, as far as they are known."""

_NOTHING: Facts = {}


class Catalogue:
    """Keys and the facts about them. No entry expires."""

    def __init__(self, keys: int, full: Callable[[], None]) -> None:
        """
        :param keys: how many keys are stored; further ones are not listed.
        :param full: called once, when the first key is not stored.
        """
        self._keys = keys
        self._full: Callable[[], None] | None = full
        self._facts: dict[str, Facts] = {}
        self._json: bytes | None = None

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._facts)

    def mention(self, key: str) -> None:
        """List a key for which a value arrived."""
        if key not in self._facts:
            self._put(key, _NOTHING)

    def register(self, key: str, facts: Facts) -> None:
        """Add facts about a key; new facts replace old ones with the same name."""
        known = self._facts.get(key)
        merged = {**(known or {}), **facts}
        if merged != known:
            self._put(key, merged)

    def _put(self, key: str, facts: Facts) -> None:
        if key in self._facts or len(self._facts) < self._keys:
            self._facts[key] = facts
            self._json = None
        elif self._full is not None:
            full, self._full = self._full, None
            full()

    def facts(self, key: str) -> Facts:
        """The facts about a key; empty if it is not known."""
        return self._facts.get(key, _NOTHING)

    def entries(self) -> list[dict[str, Any]]:
        """All keys in order, each with its facts."""
        return [{"key": key, **self._facts[key]} for key in sorted(self._facts)]

    def as_json(self) -> bytes:
        """The entries as JSON, which is made again only after a change."""
        if self._json is None:
            self._json = json.dumps(self.entries()).encode()
        return self._json


_VALUES = 10_000
"""How many values are remembered at a time. Sources send a few per second, and each is remembered for some seconds."""


class Copies:
    """Recognises copies: a datum may reach a server through its own port, and over the bus from each other server.

    The way in which a value of a source first arrived is its way. The same value from the same source in another way,
    within some seconds, is a copy. If it arrives in its own way again it is a new datum, because a source may send a
    value twice.
    """

    def __init__(self, clock: Callable[[], float], seconds: float, values: int = _VALUES) -> None:
        """
        :param clock: a monotonic clock in seconds.
        :param seconds: how much later than a datum its copy may arrive.
        :param values: how many are remembered; beyond this number the oldest are forgotten.
        """
        self._clock = clock
        self._seconds = seconds
        self._heard: BoundedDict[tuple[str, str, bytes], tuple[str, float]] = BoundedDict(values)

    def is_copy(self, way: str, source: str, key: str, value: bytes) -> bool:
        """Whether this is a copy. If not, it is remembered.

        :param way: the way in which it arrived.
        :param source: the sender, by a name that is the same in every way.
        :param key: the key of the value.
        :param value: the value as JSON.
        """
        now, what = self._clock(), (source, key, value)
        first = self._heard.get(what)
        if first is not None and first[0] != way and now - first[1] < self._seconds:
            return True
        self._heard[what] = way, now
        self._forget(now)
        return False

    def _forget(self, now: float) -> None:
        while self._heard:
            _, at = next(iter(self._heard.values()))
            if now - at < self._seconds:
                return
            self._heard.popitem()
