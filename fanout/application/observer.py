"""Who is told what clients do: monitoring, metrics. The doors tell it; nothing they do depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.application.interface import Application, Extension, Principal, Refused
from fanout.hub.message import Message
from fanout.process.throttle import Throttle
from fanout.stomp.events import Send


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


class NoObserver:
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


# Counts what happens at the doors: plain numbers, for metrics and for pages. Bounded, whatever clients do.

_KINDS = 64
"""Different faults counted each by itself. There are some thirty; a new one that quotes its client stays harmless."""
_SAID_ITSELF = "client.fault"
_OTHERS = "other"
_KNOWN = ("client.slow", "client.overdue", "client.turned_away", "login.refused")  # told though they did not happen yet


class ClientCounters:
    """An :class:`~fanout.application.observer.Observer` that counts, since the start.

    :ivar sessions: of STOMP: ``opened`` and ``closed``.
    :ivar subscriptions: of STOMP: ``made`` and ``ended``.
    :ivar logins: ``accepted``, ``refused``, and ``unanswered`` by the directory or put off.
    :ivar publishes: messages ``accepted``, and refused: ``forbidden``, ``unanswered`` by the directory, or not taken
        by the ``bus``.
    :ivar published_octets: the bodies of the accepted ones.
    :ivar faults: what clients did wrong, in the words of their ERRORs, or the name of the event in the log.
    """

    def __init__(self) -> None:
        self.sessions: Counter[str] = Counter(opened=0, closed=0)
        self.subscriptions: Counter[str] = Counter(made=0, ended=0)
        self.logins: Counter[str] = Counter(accepted=0, refused=0, unanswered=0)
        self.publishes: Counter[str] = Counter(accepted=0, forbidden=0, unanswered=0, bus=0)
        self.published_octets = 0
        self.faults: Counter[str] = Counter(dict.fromkeys(_KNOWN, 0))

    def complained(self, event: str, fields: dict[str, Any]) -> None:
        """A door has complained of a client.

        :param fields: those of the log; ``fault`` names the kind, where the event leaves it open.
        """
        kind = str(fields.get("fault", event)) if event == _SAID_ITSELF else event
        self.faults[kind if kind in self.faults or len(self.faults) < _KINDS else _OTHERS] += 1

    # Observer

    def opened(self, client: Client) -> None:
        """See :meth:`Observer.opened <fanout.application.observer.Observer.opened>`."""
        self.sessions["opened"] += 1

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """See :meth:`Observer.closed <fanout.application.observer.Observer.closed>`."""
        self.sessions["closed"] += 1
        self.subscriptions["ended"] += len(held)

    def subscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.subscribed <fanout.application.observer.Observer.subscribed>`."""
        self.subscriptions["made"] += 1

    def unsubscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.unsubscribed <fanout.application.observer.Observer.unsubscribed>`."""
        self.subscriptions["ended"] += 1

    def delivered(self, topic: str, clients: int) -> None:
        """Nothing: the hub counts its deliveries itself, and their octets."""


# What a node logs of faults: its clients', and our own that do not end it.

Report = Callable[[Failure, str], None]
"""See :meth:`ClientWarnings.report`."""


class ClientWarnings:
    """Counts everything, and logs one line per second of each kind and address: a flood of faults is no flood of lines,
    and one client's hides no other fault of those who share its address.
    """

    def __init__(self, tally: ClientCounters, throttle: Throttle, log: Any) -> None:
        """:param throttle: how many lines an address gets of each kind."""
        self._tally = tally
        self._throttle = throttle
        self._log = log

    def warn(self, event: str, address: str, **fields: Any) -> None:
        """A client's fault.

        :param event: the name of the event to be logged.
        :param address: the client's IP address.
        """
        self._tally.complained(event, fields)
        key = (address, event)
        if self._throttle.allow(key):
            self._log.warning(event, address=address, held_back=self._throttle.held_back(key), **fields)

    def failed(self, part: object, error: Exception) -> None:
        """A fault of ours, of which the other clients notice nothing."""
        self._log.error("client.failed", part=type(part).__name__, exc_info=error)

    def report(self, failure: Failure, event: str) -> None:
        """A fault of ours in something no client waits for.

        :param event: the name of the event to be logged.
        """
        self._log.error(event, exc_info=(failure.type, failure.value, failure.getTracebackObject()))


# An application whose answers are counted: one piece for all doors, as none of them counts itself.


class CountedApplication(Extension):
    """Hands everything on to another application, and counts what comes back."""

    def __init__(self, application: Application, tally: ClientCounters) -> None:
        super().__init__(application)
        self._tally = tally

    async def login(self, login: str, passcode: str, address: str) -> Principal | None:
        """See :meth:`Application.login <fanout.application.interface.Application.login>`."""
        try:
            principal = await self._application.login(login, passcode, address)
        except Refused:
            self._tally.logins["unanswered"] += 1
            raise
        self._tally.logins["refused" if principal is None else "accepted"] += 1
        return principal

    async def admit(self, principal: Principal | None, sends: Sequence[Send]) -> tuple[Message, ...]:
        """See :meth:`Application.admit <fanout.application.interface.Application.admit>`."""
        try:
            return await self._application.admit(principal, sends)
        except Refused as refused:
            self._tally.publishes["unanswered" if refused.temporary else "forbidden"] += len(sends)
            raise

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """See :meth:`Application.publish <fanout.application.interface.Application.publish>`."""
        published = self._application.publish(messages)
        return published.addCallbacks(self._published, self._failed, callbackArgs=(messages,), errbackArgs=(messages,))

    def _published(self, result: None, messages: Sequence[Message]) -> None:
        self._tally.publishes["accepted"] += len(messages)
        self._tally.published_octets += sum(len(message.body) for message in messages)

    def _failed(self, failure: Failure, messages: Sequence[Message]) -> Failure:
        self._tally.publishes["bus"] += len(messages)
        return failure
