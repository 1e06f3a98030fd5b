"""The subscriptions of one client, and the messages that it has not acknowledged yet."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from fanout.hub.subscriber import Cohort
from fanout.stomp.server_frames import MessageForm, ack_id

ACK_MODES = ("auto", "client", "client-individual")


class Subscription:
    """One subscription of a client.

    :ivar form: how its messages are encoded; it has the client's id and the client's spelling of the destination.
    :ivar ack: one of :data:`ACK_MODES`.
    :ivar cohort: the cohort of the hub that the server has put it into; None while it is in no cohort.
    """

    __slots__ = ("_unacknowledged", "ack", "cohort", "form")

    def __init__(self, form: MessageForm, ack: str) -> None:
        self.form = form
        self.ack = ack
        self.cohort: Cohort | None = None
        self._unacknowledged: deque[str] | None = None

    @property
    def id(self) -> str | None:
        """The client's id of the subscription; None if a 1.0 client gave none."""
        return self.form.subscription

    @property
    def destination(self) -> str:
        """The destination, as the client wrote it."""
        return self.form.destination

    def delivered(self, message_id: str, limit: int) -> None:
        """Remember a message that was sent to the client and that the client should acknowledge.

        :param limit: how many messages are remembered. Above the limit, the oldest counts as acknowledged.
        """
        if self._unacknowledged is None:
            self._unacknowledged = deque()
        waiting = self._unacknowledged
        waiting.append(message_id)
        while len(waiting) > limit:
            waiting.popleft()

    def acknowledge(self, message_id: str) -> bool:
        """Process an ACK or NACK. In the mode ``client`` it includes all earlier messages (STOMP 1.2, "ACK").

        :return: False if no message with this id waits for an ACK.
        """
        waiting = self._unacknowledged
        if not waiting:
            return False
        if self.ack == "client":
            return self._acknowledge_all(waiting, message_id)
        try:
            waiting.remove(message_id)  # Most messages are acknowledged in order, so the search is short.
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
        """As :meth:`acknowledge`. :param ack: the value of the ``ack`` header of a message that this server sent."""
        prefix = ack_id(self.id or "", "")
        return ack.startswith(prefix) and self.acknowledge(ack.removeprefix(prefix))


_FEW = 8
"""Up to this number, the subscriptions of a client are searched one by one; above it, there is an index by id. Most
clients have two subscriptions, and an index would take more memory than these."""


class Subscriptions:
    """All subscriptions of one client, in the order in which they came. Several subscriptions to different destinations
    may have the same id.

    The time of a command that names an id does not depend on the number of the client's subscriptions.
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
        """Add a subscription. The caller has already checked that its id may be used."""
        self._all[subscription] = None
        if self._by_id is not None:
            self._by_id[subscription.id].append(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription, if it is there."""
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
        """The subscriptions with this id, in the order in which they came."""
        if len(self._all) <= _FEW:
            return [each for each in self._all if each.id == id_]
        if self._by_id is None:
            self._by_id = defaultdict(list)
            for each in self._all:
                self._by_id[each.id].append(each)
        return self._by_id.get(id_, ())

    def by_destination(self, destination: str, id_: str | None) -> Subscription | None:
        """A subscription to this destination as the client wrote it; the one with this id, if there are several. Only
        STOMP 1.0 needs this.
        """
        matching = [each for each in self._all if each.destination == destination]
        return next((each for each in matching if each.id == id_), matching[0] if matching else None)

    def acknowledge(self, ack: str) -> bool:
        """Process an ACK or NACK of STOMP 1.2. :return: False if no such message waits for an ACK."""
        if any(each.acknowledge_1_2(ack) for each in self.with_id(ack.partition("/")[0])):
            return True
        return any(each.acknowledge_1_2(ack) for each in self._all)  # The id itself may contain a "/".
