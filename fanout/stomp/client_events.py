"""What a server tells its client, as :class:`~fanout.stomp.client.ClientSession` reports it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fanout.stomp.frame import Headers


@dataclass(frozen=True, slots=True)
class Connected:
    """The server let us in. :ivar session: the server's name for this session; empty when it gave none."""

    version: str
    session: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Something was published. :ivar subscription: our id for it; None from a 1.0 server that was given none."""

    destination: str
    message_id: str
    subscription: str | None
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipted:
    """The server has processed the frame that carried this receipt.

    :ivar headers: all of the RECEIPT; what a server adds to it is news for people and changes nothing.
    """

    receipt: str
    headers: Headers = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """An ERROR. It ends the session, but for one under 1.0 behind CONNECTED (contract §1.4).

    :ivar summary: the ``message`` header.
    :ivar detail: the body, as text.
    :ivar receipt: of the frame at fault, when the server names it.
    """

    summary: str
    detail: str
    receipt: str | None
    headers: Headers


ClientEvent = Connected | MessageReceived | Receipted | Refused
