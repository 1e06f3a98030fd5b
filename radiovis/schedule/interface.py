"""Where held messages lie, so that no crash loses them: what a node and the watchdog ask of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from twisted.internet.defer import Deferred

from fanout.hub.message import Message

Take = Callable[[Message, int], None]
"""Receives each message of a store, in the order of arrival, with the ticket by which the store knows it."""


class SlideIntake(Protocol):
    """A node's side: takes messages that are to be shown later, and those with an empty body, which cancel one."""

    def hold(self, message: Message) -> Deferred[None]:
        """Keep a message; fires once no crash can lose it. Fails with :class:`~fanout.bus.interface.BusError`."""


class SlideStore(Protocol):
    """The side of the watchdog that leads: gives the messages that are held."""

    async def ensure(self, take: Take, forget: Callable[[], None], *, room: bool) -> None:
        """Start to give the messages that are held and those that come, or keep on giving them.

        :param take: called with each message.
        :param forget: called if all messages given so far will be given again, with other tickets.
        :param room: whether more messages are wanted.
        :raises BusError: the store cannot be read now.
        """

    def done(self, ticket: int) -> None:
        """Drop a message."""

    async def stop(self) -> None:
        """Give no more. Messages that are not done stay."""


@runtime_checkable
class LocalSlideStore(SlideIntake, SlideStore, Protocol):
    """Optional ability of an intake: it is the store as well, so that the same process can send what it holds."""
