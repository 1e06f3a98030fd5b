"""What one client listens to, and what it has acknowledged."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from fanout.hub.subscriber import Cohort
from fanout.stomp.server_frames import MessageForm, ack_id

ACK_MODES = ("auto", "client", "client-individual")


class Subscription:
    """One live SUBSCRIBE.

    :ivar form: how its messages are written; holds the client's own id and spelling of the destination.
    :ivar ack: one of :data:`ACK_MODES`.
    :ivar cohort: for the server: where it is in the hub; None while it has not joined.
    """

    __slots__ = ("_unacknowledged", "ack", "cohort", "form")

    def __init__(self, form: MessageForm, ack: str) -> None:
        self.form = form
        self.ack = ack
        self.cohort: Cohort | None = None
        self._unacknowledged: deque[str] | None = None

    @property
    def id(self) -> str | None:
        """The client's id for it."""
        return self.form.subscription

    @property
    def destination(self) -> str:
        """The destination as the client wrote it."""
        return self.form.destination

    def delivered(self, message_id: str, limit: int) -> None:
        """A message went out that the client is to acknowledge. Beyond the limit the oldest counts as acknowledged."""
        if self._unacknowledged is None:
            self._unacknowledged = deque()
        waiting = self._unacknowledged
        waiting.append(message_id)
        while len(waiting) > limit:
            waiting.popleft()

    def acknowledge(self, message_id: str) -> bool:
        """Take an ACK or NACK; under ``client`` it covers everything before it (STOMP 1.2, "ACK").

        :return: False when no such message waits for one.
        """
        waiting = self._unacknowledged
        if not waiting:
            return False
        if self.ack == "client":
            return self._acknowledge_all(waiting, message_id)
        try:
            waiting.remove(message_id)  # Most are acknowledged in order, and found at the front.
        except ValueError:
            return False
        return True

    @staticmethod
    def _acknowledge_all(waiting: deque[str], message_id: str) -> bool:
        if message_id not in waiting:
            return False
        while waiting.popleft() != message_id:
            pass
        return True

    def acknowledge_1_2(self, ack: str) -> bool:
        """As :meth:`acknowledge`, for the ``ack`` value of a message of ours."""
        prefix = ack_id(self.id or "", "")
        return ack.startswith(prefix) and self.acknowledge(ack.removeprefix(prefix))


_FEW = 8
"""Subscriptions of one client that are searched one by one. Beyond it there is an index by id; most clients have two,
and their index would take more memory than they do."""


class Subscriptions:
    """All subscriptions of one client, in the order they came. Several may have one id, to different destinations.

    A command that names an id takes as long for a client with many of them as for one with few.
    """

    __slots__ = ("_all", "_by_id")

    def __init__(self) -> None:
        self._all: dict[Subscription, None] = {}
        self._by_id: defaultdict[str | None, list[Subscription]] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._all)

    def add(self, subscription: Subscription) -> None:
        """Remember it; whether its id may be used was asked before."""
        self._all[subscription] = None
        if self._by_id is not None:
            self._by_id[subscription.id].append(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Forget it; nothing happens when it is not there."""
        if subscription not in self._all:
            return
        del self._all[subscription]
        if len(self._all) <= _FEW:
            self._by_id = None
        elif self._by_id is not None:
            self._by_id[subscription.id].remove(subscription)
            if not self._by_id[subscription.id]:
                del self._by_id[subscription.id]

    def with_id(self, id_: str) -> Sequence[Subscription]:
        """The subscriptions with this id, in the order they came."""
        if len(self._all) <= _FEW:
            return [each for each in self._all if each.id == id_]
        if self._by_id is None:
            self._by_id = defaultdict(list)
            for each in self._all:
                self._by_id[each.id].append(each)
        return self._by_id.get(id_, ())

    def by_destination(self, destination: str, id_: str | None) -> Subscription | None:
        """A subscription to this destination as the client wrote it, rather the one with this id (1.0 only)."""
        matching = [each for each in self._all if each.destination == destination]
        return next((each for each in matching if each.id == id_), matching[0] if matching else None)

    def acknowledge(self, ack: str) -> bool:
        """Take an ACK or NACK of 1.2. :return: False when no such message waits for one."""
        if any(each.acknowledge_1_2(ack) for each in self.with_id(ack.partition("/")[0])):
            return True
        return any(each.acknowledge_1_2(ack) for each in self._all)  # an id may hold a "/" itself
