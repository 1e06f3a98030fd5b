"""Who is told what clients do: monitoring, metrics. The doors tell it; nothing they do depends on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fanout.message import Message


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who is connected.

    :ivar session: the id the client was given; empty until it has logged in.
    :ivar address: host and port, such as ``192.0.2.1:59804`` or ``[2001:db8::1]:59804``.
    """

    session: str
    address: str


class Observer(Protocol):
    """What happens at the doors. Called in the middle of it, so nothing here may wait or raise.

    Topics are the hub's keys, not the clients' spellings.
    """

    def opened(self, client: Client) -> None:
        """A client has connected and logged in."""

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """An opened one is gone.

        :param held: the topics of the subscriptions it had until now, the latest first.
        """

    def subscribed(self, client: Client, topic: str) -> None:
        """A subscription was made."""

    def unsubscribed(self, client: Client, topic: str) -> None:
        """A subscription was ended by the client."""

    def delivered(self, topic: str, clients: int) -> None:
        """A message was given to so many clients, at least one."""


# One call per client and message: dear, so it is no part of the above. Asked for, or not made at all.
DeliveryObserver = Callable[[Client, str, Message], None]


class Unobserved:
    """An :class:`Observer` that does not look."""

    def opened(self, client: Client) -> None:
        """Nothing."""

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """Nothing."""

    def subscribed(self, client: Client, topic: str) -> None:
        """Nothing."""

    def unsubscribed(self, client: Client, topic: str) -> None:
        """Nothing."""

    def delivered(self, topic: str, clients: int) -> None:
        """Nothing."""


class Observers:
    """An :class:`Observer` that passes everything on to several."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def opened(self, client: Client) -> None:
        """See :meth:`Observer.opened`."""
        for observer in self._observers:
            observer.opened(client)

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """See :meth:`Observer.closed`."""
        for observer in self._observers:
            observer.closed(client, held)

    def subscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.subscribed`."""
        for observer in self._observers:
            observer.subscribed(client, topic)

    def unsubscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.unsubscribed`."""
        for observer in self._observers:
            observer.unsubscribed(client, topic)

    def delivered(self, topic: str, clients: int) -> None:
        """See :meth:`Observer.delivered`."""
        for observer in self._observers:
            observer.delivered(topic, clients)
