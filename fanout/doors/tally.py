"""Counts what happens at the doors: plain numbers, for metrics and for pages. Bounded, whatever clients do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fanout.doors.observer import Client

_KINDS = 64
"""Different faults counted each by itself. There are some thirty; a new one that quotes its client stays harmless."""
_SAID_ITSELF = "client.fault"
_OTHERS = "other"
_KNOWN = ("client.slow", "client.overdue", "client.turned_away", "login.refused")  # told though they did not happen yet


class Tally:
    """An :class:`~fanout.doors.observer.Observer` that counts, since the start.

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
        """See :meth:`Observer.opened <fanout.doors.observer.Observer.opened>`."""
        self.sessions["opened"] += 1

    def closed(self, client: Client, held: Sequence[str]) -> None:
        """See :meth:`Observer.closed <fanout.doors.observer.Observer.closed>`."""
        self.sessions["closed"] += 1
        self.subscriptions["ended"] += len(held)

    def subscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.subscribed <fanout.doors.observer.Observer.subscribed>`."""
        self.subscriptions["made"] += 1

    def unsubscribed(self, client: Client, topic: str) -> None:
        """See :meth:`Observer.unsubscribed <fanout.doors.observer.Observer.unsubscribed>`."""
        self.subscriptions["ended"] += 1

    def delivered(self, topic: str, clients: int) -> None:
        """Nothing: the hub counts its deliveries itself, and their octets."""
