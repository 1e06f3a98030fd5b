"""Publishes that the broker has not confirmed yet, and those it confirmed a short while ago. No sockets, no clock.

:class:`Unconfirmed` holds each publish from its acceptance to its confirm. :class:`Confirmed` keeps it a little longer:
a confirm means that the broker has a message, not that every node received it. The nodes' queues are transient, so a
message that was still in a queue when a broker crashed is lost. Its publisher therefore publishes it again over the
next connection; a node that has seen it drops the copy (:mod:`fanout.bus.duplicates`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from pika.spec import BasicProperties
from twisted.internet.defer import Deferred

from fanout.bus.interface import BusError

# What each publish costs besides body and headers, roughly: properties, Deferred, the entry itself.
OVERHEAD = 500


@dataclass(eq=False, slots=True)
class UnconfirmedPublish:
    """One publish on its way to the broker.

    :ivar number: rises by order of publishing.
    :ivar deadline: time in seconds when it is given up.
    :ivar size: octets it is counted with, roughly.
    :ivar sent_at: time in seconds when it was sent over the present connection.
    :ivar done: fires when the broker has it; :class:`BusError` when it will not.
    """

    number: int
    properties: BasicProperties
    body: bytes
    deadline: float
    size: int
    sent_at: float = 0.0
    done: Deferred[None] = field(default_factory=Deferred)


class Unconfirmed:
    """Publishes from the moment they are accepted to the broker's confirm; each is *waiting*, then *sent*.

    A sent one waits again, before all others, when the connection is lost. Deadlines follow the order of publishing,
    so the oldest is always at the front: nothing here searches.

    :param max_count: how many it holds.
    :param max_bytes: how many octets it holds, headers and a fixed cost per publish included.
    :param max_age: seconds after which a publish is given up rather than sent late.
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
        """How many publishers wait for an answer: all but those of the repeated ones."""
        return len(self) - self._repeated

    @property
    def waiting(self) -> int:
        """How many have yet to be sent on this connection."""
        return len(self._waiting)

    @property
    def sent(self) -> int:
        """How many have been sent on this connection and are not confirmed yet."""
        return len(self._sent)

    def add(self, properties: BasicProperties, body: bytes, now: float) -> UnconfirmedPublish:
        """Accept a publish, as the last of the waiting ones.

        :raises BusError: too many publishes are unconfirmed, or too many octets.
        """
        headers = properties.headers or {}
        size = OVERHEAD + len(body) + sum(map(len, headers)) + sum(map(len, headers.values()))
        if self.unanswered >= self._max_count:
            raise BusError(f"{self.unanswered} messages are waiting for the broker already, the most allowed")
        if self._bytes + size > self._max_bytes:
            raise BusError(f"{self._bytes} octets are waiting for the broker already, of {self._max_bytes} allowed")
        self._last_number += 1
        publish = UnconfirmedPublish(self._last_number, properties, body, now + self._max_age, size)
        self._bytes += size
        self._waiting.append(publish)
        return publish

    def send_next(self, now: float) -> UnconfirmedPublish:
        """The oldest waiting one, which now counts as sent under the next delivery tag of the channel."""
        publish = self._waiting.popleft()
        publish.sent_at = now
        self._last_tag += 1
        self._sent[self._last_tag] = publish
        return publish

    def drop_oldest(self) -> bool:
        """Forget the oldest waiting one, to make room; False if none waits."""
        if not self._waiting:
            return False
        self._forget([self._waiting.popleft()])
        return True

    def connection_lost(self, confirmed: Iterable[UnconfirmedPublish] = ()) -> None:
        """Let the sent ones wait again, in order before the others; the next channel counts its tags from 1.

        :param confirmed: publishes to be repeated though they were confirmed; a broker confirms in any order.
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
        """Remove what a broker's ``ack`` or ``nack`` is about, oldest first.

        :param tag: the delivery tag.
        :param multiple: whether it stands for all up to it too.
        """
        tags = self._up_to(tag) if multiple else [tag] if tag in self._sent else []
        return self._forget([self._sent.pop(each) for each in tags])

    def mark_returned(self, serial: str) -> None:
        """Note that the broker found no queue for this one; its ``ack`` follows (RabbitMQ, "Publisher confirms")."""
        if len(self._returned) < self._max_count:
            self._returned.add(serial)

    def was_returned(self, publish: UnconfirmedPublish) -> bool:
        """Whether a confirmed one had been returned. Answers once."""
        if not self._returned:
            return False
        serial = publish.properties.correlation_id
        if serial not in self._returned:
            return False
        self._returned.remove(serial)
        return True

    def sent_first_at(self) -> float | None:
        """When the oldest one was sent that is sent and not confirmed; None if there is none."""
        oldest = next(iter(self._sent.values()), None)
        return None if oldest is None else oldest.sent_at

    def oldest_deadline(self) -> float | None:
        """When :meth:`expire` next has something to give up; None when empty."""
        oldest = next(iter(self._sent.values()), None) or next(iter(self._waiting), None)
        return None if oldest is None else oldest.deadline

    def expire(self, now: float) -> list[UnconfirmedPublish]:
        """Remove those whose deadline has passed, oldest first."""
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
        """Remove all, oldest first."""
        self.connection_lost()
        everything = list(self._waiting)
        self._waiting.clear()
        return self._forget(everything)

    def _up_to(self, tag: int) -> list[int]:
        tags = []
        for each in self._sent:  # In rising order: tags are given in order, and a dict keeps it.
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
    """The last few confirmed publishes.

    :param seconds: how long each is kept; 0 keeps none.
    :param max_count: how many at most; beyond it the oldest go.
    :param max_bytes: how many octets at most; beyond it the oldest go.
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
        """The broker has just confirmed this one."""
        self._kept.append((now, publish))
        self._bytes += publish.size
        self._trim(now)

    def take(self, now: float) -> list[UnconfirmedPublish]:
        """Those confirmed not too long ago, which are forgotten here; in the order of their confirms."""
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
