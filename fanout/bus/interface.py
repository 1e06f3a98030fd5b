"""The interface of the bus that carries messages to the other nodes, and the optional abilities of some buses.

Every bus implements :class:`Bus`. An ability that only a bus with a broker has is a protocol of its own, for which the
wiring asks with ``isinstance``: :class:`BrokerBus` (queues and locks on the same connections), :class:`RememberingBus`
(reads missed messages), :class:`CountedBus` (metrics).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from fanout.hub.message import Message


class BusError(Exception):
    """The bus did not accept a message and will not accept it later: the publisher must get an error. The text says
    why.
    """


@dataclass(frozen=True, slots=True)
class BusState:
    """The state of the bus, for health pages and logs.

    :ivar connected: whether a message that is published now is sent at once, and messages of other nodes arrive.
    :ivar reason: one line for people: what the bus is connected to, or why it is not connected.
    :ivar waiting: how many messages were accepted from publishers and are not confirmed yet.
    :ivar caught_up: whether this node has the messages that were published before it was connected.
    :ivar reads_later: whether the bus could not read the missed messages (:class:`RememberingBus`) and will try again.
        Until then the node uses what the other nodes know.
    """

    connected: bool
    reason: str
    waiting: int
    caught_up: bool = True
    reads_later: bool = False


class Bus(Protocol):
    """Carries each published message to every node, including the publishing one. The messages of one publisher keep
    their order.
    """

    def start(self, receive: Callable[[Message], None], connected: Callable[[], Deferred[None] | None]) -> None:
        """Connect, and stay connected until :meth:`stop`.

        :param receive: called once for every message on the bus. Must not raise.
        :param connected: called each time this node starts to receive, for the first time or again. The node missed
            what was published before, and may want to catch up; the Deferred that it returns fires when it has caught
            up. Must not raise. A :class:`RememberingBus` calls it only if it could not read all missed messages.
        """

    def publish(self, message: Message) -> Deferred[None]:
        """Send a message to all nodes. The Deferred fires when the bus has stored the message safely.

        Further messages may be published before that; they keep their order. The Deferred fails with :class:`BusError`
        when the bus refuses the message or holds too many unconfirmed ones.
        """

    def state(self) -> BusState:
        """The current state of the bus."""

    def stop(self) -> Deferred[None]:
        """Send the waiting messages, as far as that is possible without a reconnect, and disconnect.

        Messages that could not be sent fail with :class:`BusError`. When the Deferred fires, the bus has no timer and
        no socket any more.
        """


# Optional abilities


class BrokerConnection(Protocol):
    """One open connection to a broker, which queues and locks may use in addition to the bus."""

    def open_channel(self, opened: Callable[[Any], None], closed: Callable[[Any, Exception], None]) -> Any:
        """Open one more channel.

        :param opened: called with the channel when it is open.
        :param closed: called when the channel is closed, and also when the connection is lost.
        :raises BusError: there is no connection.
        """


class BrokerConnections(Protocol):
    """The two connections of a bus: one consumes, the other publishes."""

    @property
    def hearing(self) -> BrokerConnection:
        """The connection that consumes. The broker reads from it even while it is short of memory or disk."""

    @property
    def publishing(self) -> BrokerConnection:
        """The connection that publishes. Without it the bus cannot publish, so the holder of a lock on it can also
        publish.
        """

    def abort(self, error: BaseException) -> object:
        """Close both connections at once, and with them their locks, their consumers and the publishes that are not
        sent yet.

        :param error: the reason, which the bus reports. The bus reconnects by itself.
        """


@runtime_checkable
class BrokerBus(Bus, Protocol):
    """A bus that lets others use its connections to the broker for queues and locks."""

    @property
    def connection(self) -> BrokerConnections | None:
        """The current connections; None while there are none. After a reconnect this is another object."""


Replay = Callable[[Sequence[Message]], Awaitable[None]]
"""Called with the missed messages in their order. The awaitable fires when all of them are handed on."""


@runtime_checkable
class RememberingBus(Bus, Protocol):
    """A bus that can read the messages published while this node was not connected, or not running."""

    def remember(self, begin: Callable[[], Replay]) -> None:
        """Read the missed messages after each connect, before anything else is received. Must be called before
        :meth:`start`.

        :param begin: called when a reading begins; returns the function that will get the messages. Must not raise.
        """


@runtime_checkable
class PasswordBus(Protocol):
    """Optional ability of a bus that logs in with a password which may change. Ask for it with ``isinstance``."""

    def use_password(self, password: str) -> None:
        """Log in with this password from the next connection on. The current connection stays open."""
        ...


@dataclass(slots=True)
class BusCounters:
    """What happened since the start. A duplicate is a second copy, which was dropped; a returned publish found no
    queue; a missed message was lost on its way to this node, or given up by its publisher; a replayed message was read
    from the stored messages of the bus.
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
    """A Deferred that fires when the bus has accepted all messages, and fails with the error of the first one that
    failed.
    """
    return gatherResults(list(publishes), consumeErrors=True).addCallbacks(lambda _: None, _first)


def _first(failure: Failure) -> Failure:
    """The original failure, taken out of the one that ``gatherResults`` made of it."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
