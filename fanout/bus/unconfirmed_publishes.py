"""Publishes that the broker has not confirmed yet, and those it confirmed a short while ago. No sockets, no clock.

:class:`Unconfirmed` holds each publish from its acceptance to its confirm. :class:`Confirmed` keeps it a little longer:
a confirm means that the broker has a message, not that every node received it. The nodes' queues are transient, so a
message that was still in a queue when the broker crashed is lost. Its publisher therefore publishes it again over the
next connection; a node that has seen it drops the copy (:mod:`fanout.bus.duplicates`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from pika.spec import BasicProperties
from twisted.internet.defer import Deferred

from fanout.bus.interface import BusError

# Approximate octets that each publish takes in addition to body and headers: properties, Deferred, and the entry
# itself.
OVERHEAD = 500


@dataclass(eq=False, slots=True)
class UnconfirmedPublish:
    """One publish on its way to the broker.

    :ivar number: rises in the order of publishing.
    :ivar deadline: time in seconds at which it is given up.
    :ivar size: the approximate octets that it counts for.
    :ivar sent_at: time in seconds at which it was sent over the current connection.
    :ivar done: fires when the broker has stored it; fails with :class:`BusError` when the broker will not.
    """

    number: int
    properties: BasicProperties
    body: bytes
    deadline: float
    size: int
    sent_at: float = 0.0
    done: Deferred[None] = field(default_factory=Deferred)


class Unconfirmed:
    """Publishes from the moment they are accepted to the broker's confirm; each one is first *waiting*, then *sent*.

    When the connection is lost a sent publish waits again, before all others. Deadlines follow the order of publishing,
    so the oldest publish is always at the front, and nothing has to be searched.

    :param max_count: how many publishes may be held.
    :param max_bytes: how many octets may be held, including headers and a fixed cost per publish.
    :param max_age: seconds after which a publish is given up and not sent any more.
    """

    def __init__(self, max_count: int, max_bytes: int, max_age: float) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._waiting: deque[UnconfirmedPublish] = deque()
        self._sent: dict[int, UnconfirmedPublish] = {}
        self._last_tag = 0
        self._last_number = 0
        self._bytes = 0
        self._repeated = 0
        self._returned: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    @property
    def unanswered(self) -> int:
        """How many publishers are waiting for an answer: one for each publish, except the repeated ones."""
        return len(self) - self._repeated

    @property
    def waiting(self) -> int:
        """How many publishes are still to be sent on this connection."""
        return len(self._waiting)

    @property
    def sent(self) -> int:
        """How many publishes have been sent on this connection and are not confirmed yet."""
        return len(self._sent)

    def add(self, properties: BasicProperties, body: bytes, now: float) -> UnconfirmedPublish:
        """Accept a publish, as the last of the waiting ones.

        :param now: time in seconds.
        :raises BusError: too many publishes are unconfirmed, or too many octets.
        """
        headers = properties.headers or {}
        size = OVERHEAD + len(body) + sum(map(len, headers)) + sum(map(len, headers.values()))
        if self.unanswered >= self._max_count:
            raise BusError(f"{self.unanswered} messages are already waiting for the broker, which is the limit")
        if self._bytes + size > self._max_bytes:
            raise BusError(f"{self._bytes} octets are already waiting for the broker; the limit is {self._max_bytes}")
        self._last_number += 1
        publish = UnconfirmedPublish(self._last_number, properties, body, now + self._max_age, size)
        self._bytes += size
        self._waiting.append(publish)
        return publish

    def send_next(self, now: float) -> UnconfirmedPublish:
        """The oldest waiting publish. From now on it counts as sent, with the next delivery tag of the channel."""
        publish = self._waiting.popleft()
        publish.sent_at = now
        self._last_tag += 1
        self._sent[self._last_tag] = publish
        return publish

    def drop_oldest(self) -> bool:
        """Drop the oldest waiting publish, to make room. Returns False if none is waiting."""
        if not self._waiting:
            return False
        self._forget([self._waiting.popleft()])
        return True

    def connection_lost(self, confirmed: Iterable[UnconfirmedPublish] = ()) -> None:
        """Let the sent publishes wait again, in order, before the others; the next channel counts its tags from 1.

        :param confirmed: publishes that are repeated although they were confirmed; a broker confirms in any order.
        """
        confirmed = list(confirmed)
        self._repeated += len(confirmed)
        self._bytes += sum(publish.size for publish in confirmed)
        again = sorted([*self._sent.values(), *confirmed], key=lambda publish: publish.number)
        self._waiting.extendleft(reversed(again))
        self._sent.clear()
        self._returned.clear()
        self._last_tag = 0

    def confirm(self, tag: int, multiple: bool) -> list[UnconfirmedPublish]:
        """Remove the publishes that a broker's ``ack`` or ``nack`` answers. Returns them, oldest first.

        :param tag: the delivery tag.
        :param multiple: whether the answer is also for all earlier ones.
        """
        tags = self._up_to(tag) if multiple else [tag] if tag in self._sent else []
        return self._forget([self._sent.pop(each) for each in tags])

    def mark_returned(self, serial: str) -> None:
        """Note that the broker found no queue for this publish; its ``ack`` follows (RabbitMQ, "Publisher
        confirms").
        """
        if len(self._returned) < self._max_count:
            self._returned.add(serial)

    def was_returned(self, publish: UnconfirmedPublish) -> bool:
        """Whether a confirmed publish had been returned. Can be asked once per publish."""
        if not self._returned:
            return False
        serial = publish.properties.correlation_id
        if serial not in self._returned:
            return False
        self._returned.remove(serial)
        return True

    def sent_first_at(self) -> float | None:
        """The time in seconds at which the oldest unconfirmed publish was sent; None if none is sent."""
        oldest = next(iter(self._sent.values()), None)
        return None if oldest is None else oldest.sent_at

    def oldest_deadline(self) -> float | None:
        """The time in seconds at which :meth:`expire` next has something to give up; None if there are no publishes."""
        oldest = next(iter(self._sent.values()), None) or next(iter(self._waiting), None)
        return None if oldest is None else oldest.deadline

    def expire(self, now: float) -> list[UnconfirmedPublish]:
        """Remove the publishes whose deadline has passed. Returns them, oldest first."""
        late_tags = []
        for tag, publish in self._sent.items():
            if publish.deadline > now:
                break
            late_tags.append(tag)
        late = [self._sent.pop(tag) for tag in late_tags]
        while self._waiting and self._waiting[0].deadline <= now:
            late.append(self._waiting.popleft())
        return self._forget(late)

    def clear(self) -> list[UnconfirmedPublish]:
        """Remove all publishes. Returns them, oldest first."""
        self.connection_lost()
        everything = list(self._waiting)
        self._waiting.clear()
        return self._forget(everything)

    def _up_to(self, tag: int) -> list[int]:
        tags = []
        for each in self._sent:  # The tags rise: they are given in order, and a dict keeps the order.
            if each > tag:
                break
            tags.append(each)
        return tags

    def _forget(self, publishes: list[UnconfirmedPublish]) -> list[UnconfirmedPublish]:
        for publish in publishes:
            self._bytes -= publish.size
            self._repeated -= publish.done.called
        return publishes


class Confirmed:
    """The publishes that were confirmed most recently.

    :param seconds: how long each one is kept; 0 keeps none.
    :param max_count: how many are kept at most; beyond this number the oldest are dropped.
    :param max_bytes: how many octets are kept at most; beyond this number the oldest are dropped.
    """

    def __init__(self, seconds: float, max_count: int, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: deque[tuple[float, UnconfirmedPublish]] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, publish: UnconfirmedPublish, now: float) -> None:
        """Keep a publish that the broker has just confirmed."""
        self._kept.append((now, publish))
        self._bytes += publish.size
        self._trim(now)

    def take(self, now: float) -> list[UnconfirmedPublish]:
        """Remove and return the kept publishes that are not too old, in the order of their confirms."""
        self._trim(now)
        taken = [publish for _, publish in self._kept]
        self._kept.clear()
        self._bytes = 0
        return taken

    def _trim(self, now: float) -> None:
        while self._kept and (
            self._kept[0][0] <= now - self._seconds
            or len(self._kept) > self._max_count
            or self._bytes > self._max_bytes
        ):
            self._bytes -= self._kept.popleft()[1].size
