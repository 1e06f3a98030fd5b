"""The keys this server knows, and the facts about each. Sans-IO."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Facts = Mapping[str, Any]
"""``description``, ``provenance`` and ``license``, as far as they are known."""

_NOTHING: Facts = {}


class Catalogue:
    """Keys and facts about them. Nothing expires."""

    def __init__(self, keys: int, full: Callable[[], None]) -> None:
        """
        :param keys: how many are kept; further ones are not listed.
        :param full: called once, when the first key is not kept.
        """
        self._keys = keys
        self._full: Callable[[], None] | None = full
        self._facts: dict[str, Facts] = {}
        self._json: bytes | None = None

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._facts)

    def mention(self, key: str) -> None:
        """List a key for which a value came."""
        if key not in self._facts:
            self._put(key, _NOTHING)

    def register(self, key: str, facts: Facts) -> None:
        """Add facts to those known about a key; new ones replace old ones of the same name."""
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
        """The same as JSON. It is made again only after a change."""
        if self._json is None:
            self._json = json.dumps(self.entries()).encode()
        return self._json
