"""One timer for any number of connections.

Every connection needs a check from time to time: a heart-beat is due, or a client has sent nothing for too long. Ten
thousand reactor timers would cost more than these checks. Therefore items are put into slots, and one tick empties one
slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Scheduled(Protocol):
    """An item that needs a check at certain times.

    :ivar slot: used by the wheel: the slot that contains the item, None if it is not on the wheel.
    """

    slot: int | None

    def on_timer(self, now: float) -> None:
        """The item is due. An item that needs another check calls :meth:`Wheel.schedule`."""
        ...


T = TypeVar("T", bound=Scheduled)


class Wheel(Generic[T]):
    """Items by the time at which they are due, to the precision of a tick."""

    def __init__(self, tick: float = 0.25) -> None:
        """:param tick: seconds between two calls of :meth:`due`; an item is at most two ticks late, and never early."""
        self.tick = tick
        self._slots: dict[int, dict[T, None]] = {}
        self._next = 0

    def schedule(self, item: T, when: float | None) -> None:
        """Schedule a check of an item. If an earlier check is scheduled, that one stays.

        :param when: time in seconds; None changes nothing.
        """
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
        """Take an item off the wheel, so that a client that is disconnected does not stay in memory until its next
        check.
        """
        if item.slot is not None:
            slot = self._slots[item.slot]
            del slot[item]
            if not slot:  # The wheel may stand still while items are moved all the time.
                del self._slots[item.slot]
            item.slot = None

    def turn(self, now: float, failed: Callable[[T, Exception], None]) -> None:
        """Check every item that is due. Must be called once per tick.

        :param now: time in seconds.
        :param failed: called with an item whose check raised, and the exception; the other items are checked
            nevertheless.
        """
        for item in self.due(now):
            try:
                item.on_timer(now)
            except Exception as error:  # noqa: BLE001 (a broken client is reported and does not stop the others)
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
        """The slots to empty, in order. After a long pause there may be more empty slots than filled ones."""
        if current - self._next < len(self._slots):
            return range(self._next, current + 1)
        return sorted(slot for slot in self._slots if slot <= current)
