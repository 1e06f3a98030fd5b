"""What a node does with what the bus says: clients hear it, and so does its watchdog, if it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fanout.application.guests import Guest
from fanout.application.observer import Report
from fanout.bus.interface import Bus
from fanout.hub.message import Message
from radiovis.node.receiving import Receiving
from radiovis.watchdog.watchdog import Watchdog

_CATCH_UP_DELAY = 0.5  # seconds after which the others have written what was published just before we heard again
_ON_THE_WAY_SECONDS = 1.0  # that a message may take over the bus while others already keep it


class Hearing:
    """Joins the bus to those who listen to it."""

    def __init__(
        self,
        reactor: Any,
        receiving: Receiving,
        watchdog: Watchdog | None,
        report: Report,
        guests: Sequence[Guest] = (),
    ) -> None:
        """
        :param watchdog: of a node by itself; a cluster's has a queue of its own.
        :param guests: what belongs to one of them is nobody else's.
        """
        self._reactor = reactor
        self._receiving = receiving
        self._watchdog = watchdog
        self._report = report
        self._guests = guests

    def start(self, bus: Bus) -> None:
        """Listen from now on."""
        bus.start(self._hear, self._hear_again)

    def _hear(self, message: Message) -> None:
        if any(guest.hear(message) for guest in self._guests):
            return
        self._receiving.receive(message)
        if self._watchdog is not None:
            self._watchdog.hear(message)

    def _hear_again(self) -> None:
        """The connection to the bus is back."""
        self._reactor.callLater(_CATCH_UP_DELAY, self._catch_up)

    def _catch_up(self) -> None:
        caught_up = self._receiving.catch_up(lambda: deferLater(self._reactor, _ON_THE_WAY_SECONDS))
        Deferred.fromCoroutine(caught_up).addErrback(self._report, "catch_up.failed")
