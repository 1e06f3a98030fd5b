"""Serial numbers, by which a receiver drops the second copy of a message that had to be sent twice.

When a connection dies, nobody knows whether the messages not yet confirmed got through, so they are sent again. Each
publish carries a serial ``fanout-<publisher>-<number>``; numbers rise by order of publishing. A publisher sends in
order, and after a reconnect again in order from some message on, so every copy of number *n* comes
to a receiver after all lower numbers: one number per publisher is all the memory it takes to know a second copy.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from itertools import count
from uuid import uuid4

SERIAL = re.compile(r"fanout-([0-9a-f]{32})-([0-9]{1,18})", re.ASCII)
# Processes of one cluster, each restart counted anew: a thousand is far beyond any.
MAX_PUBLISHERS = 1000


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
        self._max_publishers = max_publishers
        self._last: OrderedDict[str, int] = OrderedDict()
        self.missed = 0

    def knows(self, serial: object) -> bool:
        """Whether something of this publisher was seen before; other clients of the broker are never known."""
        match = SERIAL.fullmatch(serial) if isinstance(serial, str) else None
        return match is not None and match[1] in self._last

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
        self._remember(publisher, number)
        return True

    def _remember(self, publisher: str, number: int) -> None:
        self._last[publisher] = number
        self._last.move_to_end(publisher)
        if len(self._last) > self._max_publishers:
            self._last.popitem(last=False)
