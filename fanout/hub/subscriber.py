"""A subscriber, and the cohort of those that get the same octets.

A subscriber is one client that receives messages: a STOMP connection, a WebSocket, an event stream, a poll. This
interface is all that the hub knows about it. A message reaches it in one of three ways:

=================  =================================================================================================
:meth:`offer`      a message was published; its octets are already written, and shared by the cohort
``offer_joined``   several messages were published in one turn of the reactor, for cohorts that gather
:meth:`show`       an older message is sent again: the retained one, to a client that has just subscribed
=================  =================================================================================================

Most clients read slowly at times, so their octets go through an :class:`~fanout.hub.outbox.Outbox`; these clients are
:class:`OutboxSubscriber`. A poll is answered once and needs no outbox.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, Outbox


class Form(Protocol):
    """The way in which a message is written for subscribers. Hashable: equal forms give equal octets."""

    @property
    def destination(self) -> str:
        """The topic as the subscribers spell it."""
        ...

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of a message.

        :param encoded: shared by all forms that encode this message; a form may store results in it for other forms.
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
        """The topic as the subscribers spell it."""
        return self.form.destination

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The framed octets."""
        return self.framing(self.form.encode(message, encoded))


Offered = list[tuple[Message, bytes]]
"""Messages in their order, each with its octets."""


class Subscriber(ABC):
    """One client that receives messages, as the hub and the metrics see it. It accepts messages without waiting."""

    __slots__ = ()

    @property
    @abstractmethod
    def protocol(self) -> str:
        """The protocol of the client, as one of a few words, such as ``stomp``."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The client's IP address."""

    @property
    def outbox(self) -> Outbox | None:
        """The outbox of the client; None for a client that is answered at once."""
        return None

    @abstractmethod
    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Take a message. Must not call the hub.

        :param data: its octets, in the cohort's form.
        """

    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        """Take the messages of one turn. Only called for cohorts that gather. Must not call the hub.

        :param offered: the messages, each with its octets.
        :param data: the octets of all of them, in one piece; shared by the cohort's members.
        :param only: whether no other subscriber is offered anything in this turn, which is over.
        """
        for message, octets in offered:
            self.offer(cohort, message, octets)

    def show(self, cohort: Cohort, message: Message) -> None:
        """Send a message that was published before to this client only."""
        self.offer(cohort, message, cohort.encode(message))


class OutboxSubscriber(Subscriber):
    """A subscriber with an outbox, and the :class:`~fanout.hub.outbox.Sink` of it."""

    __slots__ = ("_outbox",)

    def __init__(self, flusher: Flusher) -> None:
        self._outbox = Outbox(self, flusher)

    @property
    def outbox(self) -> Outbox:
        """The outbox of the client."""
        return self._outbox

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """Queue the message; under the policy ``newest`` it replaces an older one of its cohort."""
        self._outbox.offer(cohort, data)

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Called by the outbox: send octets to the client."""

    @abstractmethod
    def cut_off(self) -> None:
        """Called by the outbox: the client does not read. Close the connection after this call has returned."""


class Cohort:
    """The subscribers of one topic that get the same octets.

    :ivar topic: the topic's key; :meth:`Hub.move <fanout.hub.hub.Hub.move>` may change it.
    :ivar form: how their messages are written.
    :ivar members: each member with the number of times it has joined.
    :ivar gathers: whether the members get the messages of one turn in one piece.
    :ivar gathered: the messages of this turn that the members did not get yet.
    :ivar octets: the octets of these messages.
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
