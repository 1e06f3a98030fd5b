"""The events of a session: the requests of the client, which the session returns to its caller.

Every event except :class:`Connect` has an :class:`~fanout.stomp.server_frames.Answer`, which the caller must settle
exactly once, immediately or later.
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
    """A client connects. The caller answers with :meth:`ServerSession.accept` or :meth:`ServerSession.refuse`.

    :ivar login: the login; an anonymous listener has an empty login and an empty passcode.
    :ivar passcode: the password, which ``repr`` never shows.
    """

    login: str
    passcode: str = field(repr=False)

    @property
    def anonymous(self) -> bool:
        """Whether the client has sent no credentials. Some clients send empty headers, which mean the same."""
        return not self.login and not self.passcode


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A client subscribes. If the caller refuses it, it must also call :meth:`ServerSession.forget`.

    :ivar subscription: the new subscription.
    :ivar headers: the headers of the SUBSCRIBE frame, for the application.
    :ivar answer: the answer to the SUBSCRIBE.
    """

    subscription: Subscription
    headers: Headers
    answer: Answer


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A client unsubscribes. The session has already removed the subscriptions.

    :ivar subscriptions: one subscription, or all subscriptions with the same id (stomp.md C3).
    :ivar answer: the answer to the UNSUBSCRIBE.
    """

    subscriptions: tuple[Subscription, ...]
    answer: Answer


class Publish(NamedTuple):
    """A client publishes a single SEND, or a whole transaction with its COMMIT. The caller publishes all or none of
    them, in this order.

    :ivar sends: the publications, with all headers of their frames, including ``destination``.
    :ivar answer: the answer to the SEND or COMMIT.
    """

    sends: tuple[Publication, ...]
    answer: Answer


Event = Subscribe | Unsubscribe | Publish
