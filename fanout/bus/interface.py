"""What a node asks of the bus that carries its messages to the other nodes, and what some buses can do besides.

Every bus implements :class:`Bus`. What only a bus with a broker can do is a protocol of its own, which the wiring asks
for with ``isinstance``: :class:`BrokerBus` (queues and locks on the same connections), :class:`RememberingBus` (reads
what was missed), :class:`CountedBus` (metrics).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from fanout.hub.message import Message


class BusError(Exception):
    """The bus did not take a message, and will not: the publisher must be told. The text says why."""


@dataclass(frozen=True, slots=True)
class BusState:
    """How the bus is doing, for health pages and logs.

    :ivar connected: whether a message published now is sent at once and messages of others arrive.
    :ivar reason: one line for people: what the bus is connected to, or why it is not connected.
    :ivar waiting: messages accepted from publishers and not yet confirmed.
    :ivar caught_up: whether this node has what was published before it was connected.
    :ivar reads_later: whether the bus could not read its memory (:class:`RememberingBus`), and will try again. The node
        has what others told it instead.
    """

    connected: bool
    reason: str
    waiting: int
    caught_up: bool = True
    reads_later: bool = False


class Bus(Protocol):
    """Carries each published message to every node, the publishing node included, in one order per publisher."""

    def start(self, receive: Callable[[Message], None], connected: Callable[[], Deferred[None] | None]) -> None:
        """Connect, and stay connected until :meth:`stop`.

        :param receive: called once for every message on the bus. Must not raise.
        :param connected: called each time this node begins (again) to receive: it missed what was published in
            between, and may want to catch up; what it returns fires when it has. Must not raise. A bus that has a
            memory (:class:`RememberingBus`) calls it only if that does not have all.
        """

    def publish(self, message: Message) -> Deferred[None]:
        """Hand over a message; fires when the bus has stored it safely.

        Calls may be pipelined; messages keep their order. Fails with :class:`BusError` when the bus refuses the
        message or holds too many unconfirmed ones.
        """

    def state(self) -> BusState:
        """How the bus is doing right now."""

    def stop(self) -> Deferred[None]:
        """Send what is waiting, as far as possible without a reconnect, and disconnect.

        Messages that could not be sent fail with :class:`BusError`. When the Deferred fires, no timer and no socket
        of the bus is left.
        """


# Optional abilities


class BrokerConnection(Protocol):
    """One open connection to a broker, for queues and locks beside the bus itself."""

    def open_channel(self, opened: Callable[[Any], None], closed: Callable[[Any, Exception], None]) -> Any:
        """Open one more channel; ``closed`` also reports a lost connection.

        :raises BusError: there is no connection.
        """


class BrokerConnections(Protocol):
    """The two connections of a bus: it consumes over one and publishes over the other."""

    @property
    def hearing(self) -> BrokerConnection:
        """The connection that consumes. The broker reads from it also while it is short of memory or disk."""

    @property
    def publishing(self) -> BrokerConnection:
        """The connection that publishes. Without it the bus cannot publish, so a lock on it proves that it can."""

    def abort(self, error: BaseException) -> object:
        """Close both at once, with everything that hangs on them: locks, consumers, and publishes that are not sent.

        :param error: the reason, which the bus reports; it connects again by itself.
        """


@runtime_checkable
class BrokerBus(Bus, Protocol):
    """A bus whose connections to the broker others may use for queues and locks."""

    @property
    def connection(self) -> BrokerConnections | None:
        """The current connections, another object after each reconnect; None while there are none."""


Replay = Callable[[Sequence[Message]], Awaitable[None]]
"""Takes messages that were not received, in their order; what it returns fires when they are all handed on."""


@runtime_checkable
class RememberingBus(Bus, Protocol):
    """A bus with a memory: what was published while this node was not connected, or did not run, can be read."""

    def remember(self, begin: Callable[[], Replay]) -> None:
        """Read the memory after each connection, before anything is received. To be called before :meth:`start`.

        :param begin: called when a reading begins, for what will take its result. Must not raise.
        """


@runtime_checkable
class PasswordBus(Protocol):
    """Optional ability of a bus: it logs in with a password, which may change. Ask for it with ``isinstance``."""

    def use_password(self, password: str) -> None:
        """Log in with this password from the next connection on. The connection of now stays."""
        ...


@dataclass(slots=True)
class BusCounters:
    """What happened since the start. A duplicate is a second copy, dropped; a returned publish found no queue;
    a missed message was lost on its way to this node, or given up by its publisher; a replayed one was read from the
    bus' memory.
    """

    connects: int = 0
    received: int = 0
    malformed: int = 0
    duplicates: int = 0
    published: int = 0
    confirmed: int = 0
    failed: int = 0
    returned: int = 0
    missed: int = 0
    replayed: int = 0


@runtime_checkable
class CountedBus(Protocol):
    """A bus that counts what happens to its messages."""

    counters: BusCounters


# Several publishes whose publisher waits for all of them.


def together(publishes: Iterable[Deferred[None]]) -> Deferred[None]:
    """Fires when the bus has all of them; fails with the error of the first one that failed."""
    return gatherResults(list(publishes), consumeErrors=True).addCallbacks(lambda _: None, _first)


def _first(failure: Failure) -> Failure:
    """The failure inside the one that ``gatherResults`` made of it."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
