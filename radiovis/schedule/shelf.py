"""The seam between the schedule and where held messages lie, so that no crash loses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from fanout.message import Message

Take = Callable[[Message, int], None]
"""Is given each message of a shelf, in the order they were put there, with the ticket by which the shelf knows it."""


class Entrance(Protocol):
    """Where nodes put messages that are to be shown later, and those with an empty body that cancel one."""

    def hold(self, message: Message) -> Deferred[None]:
        """Keep a message; fires when no crash can lose it. Fails with :class:`~fanout.bus.interface.BusError`."""


class Shelf(Protocol):
    """What the watchdog that leads takes them from."""

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Give what lies there, and from now on what comes; or go on.

        :param forget: called when all that was given will be given again, with other tickets.
        :param room: whether more is wanted.
        :raises BusError: it cannot be had now.
        """

    def done(self, ticket: int) -> None:
        """A message needs not be kept any longer."""

    async def stop(self) -> None:
        """Give no more. What is not done stays."""
