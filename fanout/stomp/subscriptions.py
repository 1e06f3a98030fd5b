"""What one client listens to, and what it has acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

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
            self._unacknowledged = deque(maxlen=limit)
        self._unacknowledged.append(message_id)

    def acknowledge(self, message_id: str) -> bool:
        """Take an ACK or NACK; under ``client`` it covers everything before it (STOMP 1.2, "ACK").

        :return: False when no such message waits for one.
        """
        waiting = self._unacknowledged
        if not waiting or message_id not in waiting:
            return False
        if self.ack == "client":
            while waiting.popleft() != message_id:
                pass
        else:
            waiting.remove(message_id)
        return True

    def waits_for(self, ack: str) -> str | None:
        """The message-id that a 1.2 ``ack`` value stands for, if it is one of ours."""
        prefix = ack_id(self.id or "", "")
        return ack.removeprefix(prefix) if ack.startswith(prefix) else None


class Subscriptions:
    """All subscriptions of one client.

    :ivar all: in the order they came.
    """

    __slots__ = ("all",)

    def __init__(self) -> None:
        self.all: list[Subscription] = []  # most clients have two

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self.all)

    def add(self, subscription: Subscription) -> None:
        """Remember it; whether the id is free was asked before."""
        self.all.append(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Forget it; nothing happens when it is not there."""
        if subscription in self.all:
            self.all.remove(subscription)

    def by_id(self, id_: str) -> Subscription | None:
        """The subscription with this id; the latest when a 1.0 client used it twice."""
        return next((each for each in reversed(self.all) if each.id == id_), None)

    def by_destination(self, destination: str, id_: str | None) -> Subscription | None:
        """A subscription to this destination as the client wrote it, rather the one with this id (1.0 only)."""
        matching = [each for each in self.all if each.destination == destination]
        return next((each for each in matching if each.id == id_), matching[0] if matching else None)
