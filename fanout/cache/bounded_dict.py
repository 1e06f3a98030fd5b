"""Dictionaries and budgets that have a limit, whatever clients do.

Many parts remember something for each key that a client can choose: an address, a login, a topic. Without a limit a
client can fill the memory of the process. :class:`BoundedDict` has the simplest rule: beyond the limit, the entry that
was set longest ago is removed. This rule is sufficient if no single client can fill the dictionary.

If one client can fill it, that client would displace the entries of all others. Two other rules prevent this. Both
count per *owner*, such as a publisher or an address:

=======================  =========================================================================================
:class:`SharedDict`      beyond the limit, the owner with the most loses its oldest entry
:class:`SharedBudget`    an owner may take as much as is still free: for amounts that can be refused but not removed
=======================  =========================================================================================

:class:`OwnerWeights` finds the owner with the most, in constant time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import Generic, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class BoundedDict(MutableMapping[K, V]):
    """A mapping with a limit on the number of its entries and, optionally, on their weight. Sans-IO.

    Setting a key makes its entry the newest; reading it does not. When a limit is exceeded, the oldest entries are
    removed. Iteration starts with the oldest entry, and :meth:`popitem` removes the oldest entry.

    :ivar limit: how many entries there may be. It may be changed; a lower limit takes effect when an entry is set.
    :ivar weight_limit: how much all entries may weigh together. It may be changed in the same way.
    :ivar weight: how much the entries weigh now; 0 if nothing is weighed.
    """

    __slots__ = ("_entries", "_weigh", "limit", "weight", "weight_limit")

    def __init__(self, limit: int, *, weigh: Callable[[V], int] | None = None, weight_limit: int = 0) -> None:
        """
        :param limit: how many entries there may be.
        :param weigh: the weight of a value, such as its octets. It must always be the same for the same value.
        :param weight_limit: only used with ``weigh``. A value that weighs more than this is not kept, and the value
            that its key had before is removed.
        """
        self.limit = limit
        self.weight_limit = weight_limit
        self.weight = 0
        self._weigh = weigh
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __setitem__(self, key: K, value: V) -> None:
        entries, weigh = self._entries, self._weigh
        if weigh is not None:
            weight = weigh(value)
            if weight > self.weight_limit:
                self.pop(key, None)
                return
            if key in entries:
                weight -= weigh(entries[key])
            self.weight += weight
        entries[key] = value
        entries.move_to_end(key)
        self._make_room()

    def _make_room(self) -> None:
        while len(self._entries) > self.limit or self.weight > self.weight_limit:
            self.popitem()

    def __getitem__(self, key: K) -> V:
        return self._entries[key]

    def __delitem__(self, key: K) -> None:
        self._removed(key, self._entries.pop(key))

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
        """Like ``dict.get``; the inherited method raises and catches an exception for each missing key."""
        return self._entries.get(key, default)

    def popitem(self) -> tuple[K, V]:
        """Remove and return the oldest entry.

        :raises KeyError: there is no entry.
        """
        key, value = self._entries.popitem(last=False)
        self._removed(key, value)
        return key, value

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.weight = 0

    def _removed(self, key: K, value: V) -> None:
        if self._weigh is not None:
            self.weight -= self._weigh(value)


class OwnerWeights:
    """The amount of each owner, and the owner with the largest amount. Every call takes constant time.

    Owners are sorted into size classes, each about a fifth wider than the one below. An exact order would cost more
    time, and it is fair enough if the owner that has to give way has the largest amount within a fifth.
    """

    __slots__ = ("_classes", "_weights")

    def __init__(self) -> None:
        self._weights: dict[Hashable, int] = {}
        self._classes: dict[int, OrderedDict[Hashable, None]] = {}

    def __len__(self) -> int:
        """How many owners have something."""
        return len(self._weights)

    def __getitem__(self, owner: Hashable) -> int:
        """The amount of an owner; 0 if the owner is not known."""
        return self._weights.get(owner, 0)

    def change(self, owner: Hashable, by: int) -> None:
        """Change the amount of an owner.

        :param by: how much is added; negative to subtract.
        """
        before = self._weights.get(owner, 0)
        after = before + by
        if after > 0:
            self._weights[owner] = after
        else:
            self._weights.pop(owner, None)
        left, entered = _size_class(before), _size_class(after)
        if left != entered:
            self._move(owner, left, entered)

    def _move(self, owner: Hashable, left: int, entered: int) -> None:
        if left:
            owners = self._classes[left]
            del owners[owner]
            if not owners:
                del self._classes[left]
        if entered:
            self._classes.setdefault(entered, OrderedDict())[owner] = None

    def renew(self, owner: Hashable) -> None:
        """Put an owner last among the owners of its size class: the others have to give way before it."""
        self._classes[_size_class(self._weights[owner])].move_to_end(owner)

    def heaviest(self) -> Hashable:
        """The owner with the largest amount, within a fifth. Of several, it is the one that has been in its size class
        for the longest time.

        :raises ValueError: no owner has anything.
        """
        return next(iter(self._classes[max(self._classes)]))

    def clear(self) -> None:
        """Remove all owners."""
        self._weights.clear()
        self._classes.clear()


def _size_class(weight: int) -> int:
    """The size class of an amount: four classes for each power of two; 0 for nothing."""
    if weight <= 0:
        return 0
    length = weight.bit_length()
    return length * 4 + ((weight << 3 >> length) & 3)


class SharedDict(BoundedDict[K, V]):
    """A :class:`BoundedDict` whose entries have owners. Beyond a limit, the owner with the most loses its oldest entry.
    So an owner that fills the dictionary displaces only its own entries.

    :ivar displaced: how many entries were removed because of a limit.
    """

    __slots__ = ("_counts", "_keys", "_owner_of", "_weights", "displaced")

    def __init__(
        self, limit: int, *, owner_of: Callable[[K, V], Hashable], weigh: Callable[[V], int], weight_limit: int
    ) -> None:
        """
        :param limit: how many entries there may be.
        :param owner_of: the owner of an entry. It must always be the same for the same key and value.
        :param weigh: see :class:`BoundedDict`.
        :param weight_limit: see :class:`BoundedDict`.
        """
        super().__init__(limit, weigh=weigh, weight_limit=weight_limit)
        self._owner_of = owner_of
        self._keys: dict[Hashable, OrderedDict[K, None]] = {}
        self._counts, self._weights = OwnerWeights(), OwnerWeights()
        self.displaced = 0

    @property
    def owners(self) -> int:
        """How many owners have entries."""
        return len(self._keys)

    def __setitem__(self, key: K, value: V) -> None:
        assert self._weigh is not None
        weight, owner, before = self._weigh(value), self._owner_of(key, value), self._entries.get(key)
        if before is None:
            self._add(owner, key, weight)
        elif owner == self._owner_of(key, before):
            self._replace(owner, key, weight - self._weigh(before))
        else:
            self._removed(key, before)
            self._add(owner, key, weight)
        self._entries[key] = value
        self._entries.move_to_end(key)
        if weight > self.weight_limit:
            del self[key]
        elif self.weight > self.weight_limit or len(self._entries) > self.limit:
            self._make_room()

    def _add(self, owner: Hashable, key: K, weight: int) -> None:
        self._keys.setdefault(owner, OrderedDict())[key] = None
        self._counts.change(owner, 1)
        self._weights.change(owner, weight)
        self.weight += weight

    def _replace(self, owner: Hashable, key: K, heavier: int) -> None:
        keys = self._keys[owner]
        if heavier:
            self._weights.change(owner, heavier)
            self.weight += heavier
        if len(keys) > 1:
            keys.move_to_end(key)
        else:  # Owners with one entry each are removed oldest first, as in a BoundedDict.
            self._counts.renew(owner)
            self._weights.renew(owner)

    def _make_room(self) -> None:
        while len(self._entries) > self.limit:
            self._displace(self._counts.heaviest())
        while self.weight > self.weight_limit:
            self._displace(self._weights.heaviest())

    def _displace(self, owner: Hashable) -> None:
        self.displaced += 1
        del self[next(iter(self._keys[owner]))]

    def clear(self) -> None:
        """Remove all entries."""
        super().clear()
        for part in (self._keys, self._counts, self._weights):
            part.clear()

    def _removed(self, key: K, value: V) -> None:
        super()._removed(key, value)
        assert self._weigh is not None
        owner = self._owner_of(key, value)
        keys = self._keys[owner]
        del keys[key]
        if not keys:
            del self._keys[owner]
        self._counts.change(owner, -1)
        self._weights.change(owner, -self._weigh(value))


class SharedBudget(Generic[K]):
    """A budget for something that cannot be removed later, such as octets that wait for the disk.

    An owner may take as much as is still free (the dynamic threshold of Choudhury and Hahne, 1998). So a single owner
    gets half of the budget, two get a third each, and there is always something left for an owner that has taken
    little. At the limit, the owner with the most is refused.

    :ivar limit: how much all owners may take together.
    :ivar used: how much they have taken.
    :ivar refused: how often an owner was refused.
    """

    __slots__ = ("_uses", "limit", "refused", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = self.refused = 0
        self._uses: dict[K, int] = {}

    def take(self, owner: K, amount: int) -> bool:
        """Take an amount.

        :return: False if the owner has too much already; nothing is taken then.
        """
        use = self._uses.get(owner, 0) + amount
        if use + self.used + amount > self.limit:
            self.refused += 1
            return False
        self._uses[owner] = use
        self.used += amount
        return True

    def give_back(self, owner: K, amount: int) -> None:
        """Give back an amount that was taken."""
        self.used -= amount
        left = self._uses.get(owner, 0) - amount
        if left > 0:
            self._uses[owner] = left
        else:
            self._uses.pop(owner, None)

    def clear(self) -> None:
        """Give back everything."""
        self.used = 0
        self._uses.clear()
