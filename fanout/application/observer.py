"""Reports what clients do, and what goes wrong with them, to monitoring, metrics and the log.

========================  =======================================================================================
:class:`Observer`         gets sessions and subscriptions, for monitoring and for the counters
:class:`ClientCounters`   the counters that metrics and pages show
:class:`ClientWarnings`   writes clients' faults and our own to the log, a limited number of lines for each client
========================  =======================================================================================

The servers report here and expect no answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.python.failure import Failure

from fanout.hub.message import Message
from fanout.listeners.client_limits import TokenBucket
from fanout.process.logs import Throttle


@dataclass(frozen=True, slots=True)
class Client:
    """A connected client.

    :ivar session: the session id that the client was given; empty until it has logged in.
    :ivar address: host and port, such as ``192.0.2.1:59804`` or ``[2001:db8::1]:59804``.
    """

    session: str
    address: str


class Observer:
    """Gets reports about STOMP clients; this class ignores them. The calls are made from within the servers, so none
    may wait or raise.

    Topics are the hub's keys, not the clients' spellings.
    """

    def opened(self, client: Client) -> None:
        """A client has connected and logged in."""

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """The connection of an opened client is closed.

        :param held: the topics of its subscriptions at that moment, the latest first.
        """

    def subscribed(self, client: Client, topic: str) -> None:
        """A subscription was made."""

    def unsubscribed(self, client: Client, topic: str) -> None:
        """The client has ended a subscription."""

    def delivered(self, topic: str, clients: int) -> None:
        """A message was delivered to this number of clients, at least one."""


DeliveryObserver = Callable[[Client, str, Message], None]
"""Called for each message and client. It is not part of :class:`Observer`, because most nodes do not have the time for
it."""


class Observers(Observer):
    """Passes every call on to any number of observers."""

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


# Counters

_KINDS = 64
"""Kinds of faults that are counted separately. There are about thirty. The limit is needed because clients can invent
further kinds."""
_FAULT = "client.fault"
"""The event whose field ``fault`` names the kind; for all other events the event itself is the kind."""
_OTHERS = "other"
_KNOWN = ("client.slow", "client.overdue", "client.turned_away", "login.refused", "login.put_off", "publish.refused")
"""These kinds are shown as 0 before the first fault."""


class ClientCounters(Observer):
    """Counts since the start of the process. The size is limited, whatever clients do.

    The hub counts deliveries itself.

    :ivar sessions: STOMP sessions: ``opened`` and ``closed``.
    :ivar subscriptions: STOMP subscriptions: ``made`` and ``ended``.
    :ivar logins: ``accepted``, ``refused``, and ``unanswered``: the application could not check them now.
    :ivar publishes: messages ``accepted``, ``forbidden``, ``unanswered`` by the application, or refused by the ``bus``.
    :ivar published_octets: the octets of the bodies of accepted messages.
    :ivar faults: faults of clients, by the summary of their ERRORs or the name of the log event.
    """

    def __init__(self) -> None:
        self.sessions: Counter[str] = Counter(opened=0, closed=0)
        self.subscriptions: Counter[str] = Counter(made=0, ended=0)
        self.logins: Counter[str] = Counter(accepted=0, refused=0, unanswered=0)
        self.publishes: Counter[str] = Counter(accepted=0, forbidden=0, unanswered=0, bus=0)
        self.published_octets = 0
        self.faults: Counter[str] = Counter(dict.fromkeys(_KNOWN, 0))

    def warned(self, event: str, fields: dict[str, Any]) -> None:
        """Count a client's fault that was reported.

        :param event: the name of the log event.
        :param fields: the fields of the log event.
        """
        kind = str(fields.get("fault", event)) if event == _FAULT else event
        self.faults[kind if kind in self.faults or len(self.faults) < _KINDS else _OTHERS] += 1

    def opened(self, client: Client) -> None:
        """See :meth:`Observer.opened`."""
        self.sessions["opened"] += 1

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """See :meth:`Observer.closed`."""
        self.sessions["closed"] += 1
        self.subscriptions["ended"] += len(held)

    def subscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.subscribed`."""
        self.subscriptions["made"] += 1

    def unsubscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.unsubscribed`."""
        self.subscriptions["ended"] += 1


# Log

ACCESS_LOG_SECONDS = 3_600
"""Seconds between two lines about the logins of one client: publishers over HTTP log in for each publish."""
ADDRESS_LINES = 5
"""How many lines of one kind one address may cause at once; then one a second. A client rarely has more faults at a
time, and a client that has must not use up the lines of all others."""
MOST_LINES, LINES_PER_SECOND = 100, 10.0
"""Lines of one kind in a burst, and lines a second after it, for all addresses together: 10,000 addresses must not fill
the disk. These are at most 200 MB a day."""

Report = Callable[[Failure, str], None]
"""See :meth:`ClientWarnings.report`."""


class ClientWarnings:
    """Counts all faults, and logs some of them.

    The same fault of the same address is one line a minute (:data:`~fanout.process.logs.REPEAT_SECONDS`), which says
    how many were not written. Faults of one kind with different fields, such as other topics, are bounded by
    :data:`ADDRESS_LINES` for each address, and by :data:`MOST_LINES` for all addresses together. So a flood of faults
    does not become a flood of lines, and one client does not hide the faults of others.
    """

    def __init__(self, counters: ClientCounters, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param counters: count the faults.
        :param log: the logger.
        :param clock: a monotonic clock in seconds.
        """
        self._counters = counters
        self._faults = Throttle(clock)
        self._accesses = Throttle(clock, ACCESS_LOG_SECONDS)
        self._of_address = TokenBucket(clock, ADDRESS_LINES, 1.0)
        self._lines = TokenBucket(clock, MOST_LINES, LINES_PER_SECOND)
        self._log = log

    def warn(self, event: str, address: str, **fields: Any) -> None:
        """Report a client's fault.

        :param event: the name of the log event.
        :param address: the client's IP address.
        :param fields: further fields of the log event.
        """
        self._counters.warned(event, fields)
        key = (event, address, *fields.values())
        self._write(self._log.warning, self._faults, key, event, address=address, **fields)

    def note(self, event: str, address: str, **fields: Any) -> None:
        """Report an allowed action of a client that an operator may want to know about later. Equal reports are one
        line an hour.

        :param event: the name of the log event.
        :param address: the client's IP address.
        :param fields: further fields of the log event; reports are equal if all of them are.
        """
        key = (event, address, *fields.values())
        self._write(self._log.info, self._accesses, key, event, address=address, **fields)

    def _write(
        self, write: Callable[..., Any], throttle: Throttle, key: Hashable, event: str, /, address: str, **fields: Any
    ) -> None:
        if throttle.allow(key) and self._of_address.allow((event, address)) and self._lines.allow(event):
            write(event, held_back=throttle.held_back(key), address=address, **fields)

    def failed(self, part: object, error: Exception) -> None:
        """Report an error in our code that affects one client."""
        self._fault_of_ours("client.failed", error, part=type(part).__name__, exc_info=error)

    def report(self, failure: Failure, event: str) -> None:
        """Report an error in our code, in work that no client waits for.

        :param event: the name of the log event.
        """
        exc_info = (failure.type, failure.value, failure.getTracebackObject())
        self._fault_of_ours(event, failure.value, exc_info=exc_info)

    def _fault_of_ours(self, event: str, error: BaseException | None, **fields: Any) -> None:
        """The same bug may come with every message of every client."""
        key = (event, type(error), str(error))
        if self._faults.allow(key):
            self._log.error(event, held_back=self._faults.held_back(key), **fields)
