"""The seam between a node and whatever carries its messages to the other nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from fanout.hub.message import Message


class BusError(Exception):
    """The bus did not take a message, and will not: the publisher must be told. The text says why."""


@dataclass(frozen=True, slots=True)
class BusState:
    """How the bus is doing, for health pages and logs.

    :ivar connected: whether a message published now travels at once and messages of others are heard.
    :ivar reason: one line in words: to what it is connected, or why not.
    :ivar waiting: messages accepted from publishers and not yet confirmed.
    """

    connected: bool
    reason: str
    waiting: int


class Bus(Protocol):
    """Carries each published message to every node, the publishing node included, in one order per publisher."""

    def start(self, receive: Callable[[Message], None], connected: Callable[[], None]) -> None:
        """Connect, and stay connected until :meth:`stop`.

        :param receive: called once for every message on the bus. Must not raise.
        :param connected: called each time this node begins (again) to hear the bus: what was published in
            between was missed, and the node may want to catch up. Must not raise.
        """

    def publish(self, message: Message) -> Deferred[None]:
        """Hand over a message; fires when the bus has it safely.

        Calls may be pipelined; messages keep their order. Fails with :class:`BusError` when the bus refuses it
        or its outbox is full.
        """

    def state(self) -> BusState:
        """How the bus is doing right now."""

    def stop(self) -> Deferred[None]:
        """Send what is waiting, as far as that goes without a reconnect, and disconnect.

        What could not be sent fails with :class:`BusError`.
        """


# Several publishes whose publisher waits for all of them.


def together(publishes: Iterable[Deferred[None]]) -> Deferred[None]:
    """Fires when the bus has all of them; fails with what the first that failed has failed with."""
    return gatherResults(list(publishes), consumeErrors=True).addCallbacks(lambda _: None, _first)


def _first(failure: Failure) -> Failure:
    """The failure inside what ``gatherResults`` made of it."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
