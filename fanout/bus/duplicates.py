"""Drops second copies of a message: serial numbers of publishers, and which of them a receiver has seen.

When a connection dies, it is unknown whether the messages not yet confirmed arrived, so they are sent
again. Each publish carries a serial ``fanout-<publisher>-<number>``; numbers rise in the order of publishing
(:class:`Serials`). A publisher sends in order, and after a reconnect again in order from some message on. So every copy
of number *n* reaches a receiver after all lower numbers: :class:`Seen` needs one number per publisher to know a copy.

Nodes also tell each other their last messages in other ways than over the bus. There, too, the numbers of one publisher
tell which of two messages is the later one (:func:`is_later`), whatever clocks say.
"""

from __future__ import annotations

import re
from itertools import count
from uuid import uuid4

from fanout.cache.bounded_dict import BoundedDict

SERIAL = re.compile(r"fanout-([0-9a-f]{32})-([0-9]{1,18})", re.ASCII)
# Publishers that are remembered: processes of one cluster, each restart counted anew. A thousand is far beyond any.
MAX_PUBLISHERS = 1000


def has_serial(serial: object) -> bool:
    """Whether an AMQP ``correlation_id`` is a serial of ours, and not what another client of the broker uses it for."""
    return isinstance(serial, str) and SERIAL.fullmatch(serial) is not None


def is_later(serial: str, other: str) -> bool | None:
    """Whether one message was published after another one; None if they have not the same publisher, or no serials."""
    ours, theirs = SERIAL.fullmatch(serial), SERIAL.fullmatch(other)
    if ours is None or theirs is None or ours[1] != theirs[1]:
        return None
    return int(ours[2]) > int(theirs[2])


class Serials:
    """The serials of one publisher, in rising order."""

    def __init__(self) -> None:
        self._publisher = uuid4().hex
        self._numbers = count(1)

    def next(self) -> str:
        """A serial never given before, by this publisher or another."""
        return f"fanout-{self._publisher}-{next(self._numbers)}"


class Seen:
    """Up to which number a receiver has seen the messages of each publisher.

    :ivar missed: numbers left out so far. These messages were lost on the way to this receiver, or given up by a
        publisher whose connection was lost.
    :param max_publishers: of how many publishers, the most recently heard ones, it is remembered.
    """

    def __init__(self, max_publishers: int = MAX_PUBLISHERS) -> None:
        self._last: BoundedDict[str, int] = BoundedDict(max_publishers)
        self._incomplete: set[str] = set()
        self.missed = 0

    def were_lost(self) -> None:
        """Messages of any publisher were lost for good; what is missing before the next one of each is no news."""
        self._incomplete = set(self._last)

    def knows(self, serial: object) -> bool:
        """Whether something of this publisher was seen before; other clients of the broker are never known."""
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        return match is not None and match[1] in self._last

    def leaves_out(self, serial: object) -> bool:
        """Whether messages of its publisher are missing before this one; remembers nothing."""
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        last = self._last.get(match[1], 0) if match is not None else 0
        is_gap = match is not None and bool(last) and int(match[2]) > last + 1
        return is_gap and match is not None and match[1] not in self._incomplete

    def is_new(self, serial: object) -> bool:
        """Whether this is the first copy; remembers it.

        :param serial: the AMQP ``correlation_id``. Anything but a serial of ours is always new: other clients
            of the broker use that property in their own ways.
        """
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        if match is None:
            return True
        publisher, number = match[1], int(match[2])
        last = self._last.get(publisher, 0)
        if number <= last:
            return False
        if last:  # Otherwise we have just begun to listen, or the publisher to publish.
            self.missed += number - last - 1
        self._last[publisher] = number
        self._incomplete.discard(publisher)
        return True
