"""One timer for any number of connections.

Every connection wants to be looked at now and then: a heart-beat is owed, a client has sent nothing for too long. Ten
thousand reactor timers would cost more than the work they announce, so items are laid into slots, and one tick empties
one slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Scheduled(Protocol):
    """Something that wants to be looked at.

    :ivar slot: for the wheel: where the item lies, None when it is not on the wheel.
    """

    slot: int | None

    def on_timer(self, now: float) -> None:
        """The wheel came round. An item that wants another look calls :meth:`Wheel.schedule`."""
        ...


T = TypeVar("T", bound=Scheduled)


class Wheel(Generic[T]):
    """Items by the time they are due, to the precision of a tick."""

    def __init__(self, tick: float = 0.25) -> None:
        """:param tick: seconds between two calls of :meth:`due`; an item comes at most twice this late, not early."""
        self.tick = tick
        self._slots: dict[int, dict[T, None]] = {}
        self._next = 0

    def schedule(self, item: T, when: float | None) -> None:
        """Have an item looked at then; None changes nothing. An item that waits for an earlier look keeps that one."""
        if when is None:
            return
        slot = max(int(when / self.tick) + 1, self._next)
        if item.slot is not None:
            if item.slot <= slot:
                return
            self.forget(item)
        item.slot = slot
        self._slots.setdefault(slot, {})[item] = None

    def forget(self, item: T) -> None:
        """Take an item off the wheel: a client that is gone must not stay in memory until its next look."""
        if item.slot is not None:
            slot = self._slots[item.slot]
            del slot[item]
            if not slot:  # A wheel may not turn for long, and have items moved all the time.
                del self._slots[item.slot]
            item.slot = None

    def turn(self, now: float, failed: Callable[[T, Exception], None]) -> None:
        """Look at every item that is due. To be called once per tick.

        :param failed: told of an item whose look raised; the others are looked at all the same.
        """
        for item in self.due(now):
            try:
                item.on_timer(now)
            except Exception as error:  # noqa: BLE001  (one broken client is reported and stops no other)
                failed(item, error)

    def due(self, now: float) -> list[T]:
        """Take every item that is due off the wheel."""
        current = int(now / self.tick)
        items = []
        for slot in self._passed(current):
            for item in self._slots.pop(slot, ()):
                item.slot = None
                items.append(item)
        self._next = current + 1
        return items

    def _passed(self, current: int) -> range | list[int]:
        """The slots to empty, in order. After a long pause there may be more empty ones to pass than filled ones."""
        if current - self._next < len(self._slots):
            return range(self._next, current + 1)
        return sorted(slot for slot in self._slots if slot <= current)
