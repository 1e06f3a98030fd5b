"""A dictionary that stays small, whatever clients do.

Many parts remember something for each key that a client can choose: an address, a login, a topic. Without a limit such
a memory is an attack. Each of them wants the same rule: beyond the limit, the entry that was set longest ago goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class BoundedDict(MutableMapping[K, V]):
    """A mapping with a limit on the number of its entries and, optionally, on their weight. Sans-IO.

    Setting a key makes its entry the newest; reading it does not. When a limit is exceeded, the oldest entries are
    removed. Iteration starts with the oldest entry, and :meth:`popitem` removes that one.

    :ivar limit: how many entries there may be. It may be changed; a smaller one takes effect when an entry is set.
    :ivar weight_limit: how much all entries may weigh together; also to be changed so.
    :ivar weight: how much they weigh now; 0 if nothing is weighed.
    """

    __slots__ = ("_entries", "_weigh", "limit", "weight", "weight_limit")

    def __init__(self, limit: int, *, weigh: Callable[[V], int] | None = None, weight_limit: int = 0) -> None:
        """
        :param weigh: the weight of a value, such as its octets. It must always be the same for the same value.
        :param weight_limit: is used with ``weigh`` only. A value that weighs more than this alone is not kept, and
            what was there under its key is removed.
        """
        self.limit = limit
        self.weight_limit = weight_limit
        self.weight = 0
        self._weigh = weigh
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __setitem__(self, key: K, value: V) -> None:
        entries = self._entries
        if self._weigh is not None:
            if key in entries:
                del self[key]
            weight = self._weigh(value)
            if weight > self.weight_limit:
                return
            self.weight += weight
        entries[key] = value
        entries.move_to_end(key)
        while len(entries) > self.limit or self.weight > self.weight_limit:
            self.popitem()

    def __getitem__(self, key: K) -> V:
        return self._entries[key]

    def __delitem__(self, key: K) -> None:
        self._removed(self._entries.pop(key))

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: D) -> V | D: ...
    def get(self, key: K, /, default: D | None = None) -> V | D | None:
        """As of a ``dict``; the inherited one costs an exception for each key that is not there."""
        return self._entries.get(key, default)

    def popitem(self) -> tuple[K, V]:
        """Remove the oldest entry. :raises KeyError: there is none."""
        key, value = self._entries.popitem(last=False)
        self._removed(value)
        return key, value

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.weight = 0

    def _removed(self, value: V) -> None:
        if self._weigh is not None:
            self.weight -= self._weigh(value)
