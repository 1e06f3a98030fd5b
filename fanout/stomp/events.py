"""What a client asks for, as the session tells it to its caller.

Every event but :class:`Connect` carries an :class:`~fanout.stomp.server_frames.Answer`, which the caller must settle
exactly once, at once or later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fanout.hub.message import Publication
from fanout.stomp.codec import Headers
from fanout.stomp.server_frames import Answer
from fanout.stomp.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Connect:
    """A client logs in. Answer with :meth:`ServerSession.accept` or :meth:`ServerSession.refuse`.

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
    """Stop listening: the session has forgotten the subscriptions already.

    :ivar subscriptions: one, or all that have the id (stomp.md C3).
    """

    subscriptions: tuple[Subscription, ...]
    answer: Answer


class Publish(NamedTuple):
    """Publish these, all or none, in this order: a single SEND, or a whole transaction at its COMMIT.

    :ivar sends: with all headers of their frames, ``destination`` included.
    """

    sends: tuple[Publication, ...]
    answer: Answer


Event = Subscribe | Unsubscribe | Publish
