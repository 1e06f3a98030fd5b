"""A subscriber, and the cohort of those that get the same octets.

A subscriber is one client that listens: a STOMP connection, a WebSocket, an event stream, a poll. The hub knows of it
only what stands here. A message reaches it in one of three ways:

=================  =================================================================================================
:meth:`offer`      a message was published; its octets are already written, and shared by the cohort
``offer_joined``   several messages were published in one turn of the reactor, for cohorts that gather
:meth:`show`       an older message is shown again: the retained one, to a client that has just subscribed
=================  =================================================================================================

Most clients read slowly at times, so what they get goes through an :class:`~fanout.hub.outbox.Outbox`; these are
:class:`OutboxSubscriber`. A poll is answered once and needs none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, Outbox


class Form(Protocol):
    """How subscribers want a message written. Hashable: equal forms give equal octets."""

    @property
    def destination(self) -> str:
        """The topic in the spelling of the subscribers."""
        ...

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of a message.

        :param encoded: shared by all forms that encode this message; a form may keep in it what others can use.
        """
        ...


Framing = Callable[[bytes], bytes]
"""Puts octets into a frame of the transport, such as a WebSocket message. Equal transports use the same function."""


@dataclass(frozen=True, slots=True)
class FramedForm:
    """A :class:`Form` inside a transport's framing: a message is framed once per cohort, not once per client."""

    form: Form
    framing: Framing

    @property
    def destination(self) -> str:
        """The topic in the spelling of the subscribers."""
        return self.form.destination

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The framed octets."""
        return self.framing(self.form.encode(message, encoded))


Offered = list[tuple[Message, bytes]]
"""Messages in their order, each with its octets."""


class Subscriber(ABC):
    """One client that listens, as the hub and the metrics see it. It takes messages without waiting."""

    __slots__ = ()

    @property
    @abstractmethod
    def protocol(self) -> str:
        """What the client speaks: one of a few words, such as ``stomp``."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The client's IP address."""

    @property
    def outbox(self) -> Outbox | None:
        """What waits for the client; None for one that is answered at once."""
        return None

    @abstractmethod
    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Take a message. Must not call the hub.

        :param data: its octets, in the cohort's form.
        """

    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        """Take the messages of one turn; asked of cohorts that gather. Must not call the hub.

        :param data: the octets of all of them, in one piece; shared by the cohort's members.
        :param only: whether no other subscriber is offered anything in this turn, which is over.
        """
        for message, octets in offered:
            self.offer(cohort, message, octets)

    def show(self, cohort: Cohort, message: Message) -> None:
        """Give this client alone a message that was published before."""
        self.offer(cohort, message, cohort.encode(message))


class OutboxSubscriber(Subscriber):
    """A subscriber with an outbox, and the :class:`~fanout.hub.outbox.Sink` of it."""

    __slots__ = ("_outbox",)

    def __init__(self, flusher: Flusher) -> None:
        self._outbox = Outbox(self, flusher)

    @property
    def outbox(self) -> Outbox:
        """What waits for the client."""
        return self._outbox

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Queue the message; under the policy ``newest`` it replaces an older one of its cohort."""
        self._outbox.offer(cohort, data)

    @abstractmethod
    def write(self, data: bytes) -> None:
        """From the outbox: send octets to the client."""

    @abstractmethod
    def cut_off(self) -> None:
        """From the outbox: the client does not read what it is owed. End the connection, after this call."""


class Cohort:
    """The subscribers of one topic that get the same octets.

    :ivar topic: the key they listen to; :meth:`Hub.move <fanout.hub.hub.Hub.move>` may change it.
    :ivar form: how their messages are written.
    :ivar members: each with the number of times it has joined.
    :ivar gathers: whether the messages of one turn are given to the members in one piece.
    :ivar gathered: the messages of this turn that were not given to them yet.
    :ivar octets: the octets of these.
    """

    __slots__ = ("form", "gathered", "gathers", "members", "octets", "topic")

    def __init__(self, topic: str, form: Form) -> None:
        self.topic = topic
        self.form = form
        self.members: dict[Subscriber, int] = {}
        self.gathers = False
        self.gathered: Offered = []
        self.octets = 0

    def encode(self, message: Message) -> bytes:
        """The octets of a message, for one of the members."""
        return self.form.encode(message, {})
