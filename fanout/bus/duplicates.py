"""Recognizes second copies of a message by the serial numbers of publishers, and by the numbers a receiver has seen.

When a connection is lost, nobody knows which of the unconfirmed messages arrived, so they are sent again. Each publish
carries a serial ``fanout-<publisher>-<number>``, whose numbers rise in the order of publishing (:class:`Serials`). A
publisher sends in order; after a reconnect it sends again, in order, from some message on. So every copy of number *n*
reaches a receiver after all lower numbers, and :class:`Seen` needs only one number per publisher to recognize a copy.

Nodes also exchange their retained messages in other ways than over the bus. For these messages, too, the numbers of one
publisher tell which of two messages is later (:func:`is_later`), whatever their clocks say.
"""

from __future__ import annotations

import re
from itertools import count
from uuid import uuid4

from fanout.cache.bounded_dict import BoundedDict

SERIAL = re.compile(r"fanout-([0-9a-f]{32})-([0-9]{1,18})", re.ASCII)
# The publishers that are remembered. A publisher is one process of the cluster; each restart counts as another
# publisher. A thousand is far more than any cluster needs.
MAX_PUBLISHERS = 1000


def has_serial(serial: object) -> bool:
    """Whether an AMQP ``correlation_id`` is one of our serials. Other clients of the broker may use the property for
    another purpose.
    """
    return isinstance(serial, str) and SERIAL.fullmatch(serial) is not None


def is_later(serial: str, other: str) -> bool | None:
    """Whether a message was published after another one; None if they have different publishers, or no serials."""
    ours, theirs = SERIAL.fullmatch(serial), SERIAL.fullmatch(other)
    if ours is None or theirs is None or ours[1] != theirs[1]:
        return None
    return int(ours[2]) > int(theirs[2])


class Serials:
    """Creates the serials of one publisher, in rising order."""

    def __init__(self) -> None:
        self._publisher = uuid4().hex
        self._numbers = count(1)

    def next(self) -> str:
        """A serial that no publisher has used before."""
        return f"fanout-{self._publisher}-{next(self._numbers)}"


class Seen:
    """Remembers, for each publisher, up to which number a receiver has seen its messages.

    :ivar missed: how many numbers were left out so far. These messages were lost on the way to this receiver, or given
        up by a publisher that had lost its connection.
    :param max_publishers: how many publishers are remembered: those from which a message came most recently.
    """

    def __init__(self, max_publishers: int = MAX_PUBLISHERS) -> None:
        self._last: BoundedDict[str, int] = BoundedDict(max_publishers)
        self._incomplete: set[str] = set()
        self.missed = 0

    def were_lost(self) -> None:
        """Note that messages of any publisher were lost for good. A gap before the next message of each publisher is
        then expected.
        """
        self._incomplete = set(self._last)

    def knows(self, serial: object) -> bool:
        """Whether a message of the same publisher was seen before. This is always False for other clients of the
        broker.
        """
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        return match is not None and match[1] in self._last

    def leaves_out(self, serial: object) -> bool:
        """Whether messages of the same publisher are missing before this one. Remembers nothing."""
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        last = self._last.get(match[1], 0) if match is not None else 0
        is_gap = match is not None and bool(last) and int(match[2]) > last + 1
        return is_gap and match is not None and match[1] not in self._incomplete

    def is_new(self, serial: object) -> bool:
        """Whether this is the first copy of a message. Remembers the serial.

        :param serial: the AMQP ``correlation_id``. A message without one of our serials always counts as new, because
            other clients of the broker use this property in their own ways.
        """
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        if match is None:
            return True
        publisher, number = match[1], int(match[2])
        last = self._last.get(publisher, 0)
        if number <= last:
            return False
        if last:  # Otherwise this receiver or this publisher has just started.
            self.missed += number - last - 1
        self._last[publisher] = number
        self._incomplete.discard(publisher)
        return True
