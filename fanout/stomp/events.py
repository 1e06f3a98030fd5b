"""What a client asks for, as the session tells it to its caller.

Every event but :class:`Connect` carries an :class:`~fanout.stomp.answers.Answer`, which the caller must settle exactly
once, at once or later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fanout.stomp.answers import Answer
from fanout.stomp.frame import Headers
from fanout.stomp.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Connect:
    """Somebody wants in. Answer with :meth:`ServerSession.accept` or :meth:`ServerSession.refuse`.

    :ivar login: empty together with ``passcode`` for an anonymous listener.
    :ivar passcode: never shown by ``repr``.
    """

    login: str
    passcode: str = field(repr=False)

    @property
    def anonymous(self) -> bool:
        """No credentials at all; empty headers count as none, as some clients send them."""
        return not self.login and not self.passcode


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Start listening. When refused, call :meth:`ServerSession.forget` with the subscription as well.

    :ivar headers: of the SUBSCRIBE frame, for what the application reads from it.
    """

    subscription: Subscription
    headers: Headers
    answer: Answer


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop listening: the session has forgotten the subscription already."""

    subscription: Subscription
    answer: Answer


class Send(NamedTuple):
    """One SEND frame.

    :ivar destination: as written; empty when the header is missing.
    :ivar headers: all of the frame, ``destination`` included.
    """

    destination: str
    headers: Headers
    body: bytes


class Publish(NamedTuple):
    """Publish these, all or none, in this order: a single SEND, or a whole transaction at its COMMIT."""

    sends: tuple[Send, ...]
    answer: Answer


Event = Subscribe | Unsubscribe | Publish
