"""What clients do, and what goes wrong with them: told to monitoring, counted for metrics, and logged.

========================  =======================================================================================
:class:`Observer`         is told of sessions and subscriptions, for monitoring and for the counters
:class:`ClientCounters`   the counters: what metrics and pages show
:class:`ClientWarnings`   writes clients' faults and our own to the log, a limited number of lines for each client
========================  =======================================================================================

The servers report here and expect nothing back.
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
    """A client that is connected.

    :ivar session: the id the client was given; empty until it has logged in.
    :ivar address: host and port, such as ``192.0.2.1:59804`` or ``[2001:db8::1]:59804``.
    """

    session: str
    address: str


class Observer:
    """Is told what STOMP clients do; this one ignores it. The calls come from within, so none may wait or raise.

    Topics are the hub's keys, not the clients' spellings.
    """

    def opened(self, client: Client) -> None:
        """A client has connected and logged in."""

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """The connection of an opened client is closed.

        :param held: the topics of the subscriptions it had until now, the latest first.
        """

    def subscribed(self, client: Client, topic: str) -> None:
        """A subscription was made."""

    def unsubscribed(self, client: Client, topic: str) -> None:
        """A subscription was ended by the client."""

    def delivered(self, topic: str, clients: int) -> None:
        """A message was given to so many clients, at least one."""


DeliveryObserver = Callable[[Client, str, Message], None]
"""Is called for each message and client. No part of :class:`Observer`, as most nodes cannot afford it."""


class Observers(Observer):
    """Passes everything on to any number of observers."""

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
"""Kinds of faults that are counted separately. There are about thirty; the rest bounds what clients can invent."""
_FAULT = "client.fault"
"""The event whose field ``fault`` names the kind; for all others the event itself is the kind."""
_OTHERS = "other"
_KNOWN = ("client.slow", "client.overdue", "client.turned_away", "login.refused", "login.put_off", "publish.refused")
"""These are shown as 0 before the first one."""


class ClientCounters(Observer):
    """Counts since the start of the process. Bounded, whatever clients do.

    The hub counts deliveries itself.

    :ivar sessions: of STOMP: ``opened`` and ``closed``.
    :ivar subscriptions: of STOMP: ``made`` and ``ended``.
    :ivar logins: ``accepted``, ``refused``, and ``unanswered``: the application could not tell, or put them off.
    :ivar publishes: messages ``accepted``, ``forbidden``, ``unanswered`` by the application, or not taken by the
        ``bus``.
    :ivar published_octets: the octets of the bodies of accepted messages.
    :ivar faults: what clients did wrong, by the summary of their ERRORs or the name of the log event.
    """

    def __init__(self) -> None:
        self.sessions: Counter[str] = Counter(opened=0, closed=0)
        self.subscriptions: Counter[str] = Counter(made=0, ended=0)
        self.logins: Counter[str] = Counter(accepted=0, refused=0, unanswered=0)
        self.publishes: Counter[str] = Counter(accepted=0, forbidden=0, unanswered=0, bus=0)
        self.published_octets = 0
        self.faults: Counter[str] = Counter(dict.fromkeys(_KNOWN, 0))

    def warned(self, event: str, fields: dict[str, Any]) -> None:
        """A client's fault was reported.

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
"""Between two lines about the logins of one client: publishers over HTTP log in for each publish."""
ADDRESS_LINES = 5
"""Lines of one kind about one address at once; then one a second. A client rarely has more faults at a time, and one
that has must not use up the lines of all others."""
MOST_LINES, LINES_PER_SECOND = 100, 10.0
"""Lines of one kind at once, and a second from then on, whatever number of addresses they are about: 10,000 addresses
must not fill the disk. These are at most 200 MB a day."""

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
        """:param clock: seconds, monotonic."""
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
        """Report what a client may do, and an operator may want to know later. The same is one line an hour.

        :param event: the name of the log event.
        :param fields: further fields of the log event; they tell what is the same.
        """
        key = (event, address, *fields.values())
        self._write(self._log.info, self._accesses, key, event, address=address, **fields)

    def _write(
        self, write: Callable[..., Any], throttle: Throttle, key: Hashable, event: str, /, address: str, **fields: Any
    ) -> None:
        if throttle.allow(key) and self._of_address.allow((event, address)) and self._lines.allow(event):
            write(event, held_back=throttle.held_back(key), address=address, **fields)

    def failed(self, part: object, error: Exception) -> None:
        """Report a fault of ours that concerns one client."""
        self._fault_of_ours("client.failed", error, part=type(part).__name__, exc_info=error)

    def report(self, failure: Failure, event: str) -> None:
        """Report a fault of ours in work that no client waits for.

        :param event: the name of the log event.
        """
        exc_info = (failure.type, failure.value, failure.getTracebackObject())
        self._fault_of_ours(event, failure.value, exc_info=exc_info)

    def _fault_of_ours(self, event: str, error: BaseException | None, **fields: Any) -> None:
        """The same bug may come with every message of every client."""
        key = (event, type(error), str(error))
        if self._faults.allow(key):
            self._log.error(event, held_back=self._faults.held_back(key), **fields)
