"""The MESSAGE frame. Clients that want the same octets share one encoding."""

from __future__ import annotations

from dataclasses import dataclass, field

from fanout.hub.message import Message
from fanout.stomp.codec import content_length, encode_head, encode_header
from fanout.stomp.dialect import Dialect

# What one publish has encoded so far: (dialect, destination) → everything before the subscription, the rest.
Encoded = dict[tuple[Dialect, str], tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class MessageForm:
    """What a subscription makes of a message. Equal forms give equal octets, so they make up a cohort.

    :ivar destination: as the client wrote it in SUBSCRIBE: some clients compare it.
    :ivar subscription: the client's id for it; None when a 1.0 client gave none.
    :ivar acknowledged: whether the client acknowledges, and needs an ``ack`` header under 1.2 (stomp.md C5, C6a).
    :ivar own: what differs between subscribers, written once: where each has an id of its own there is a form for each.
    """

    dialect: Dialect
    destination: str
    subscription: str | None = None
    acknowledged: bool = False
    own: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = "" if self.subscription is None else self._header("subscription", self.subscription)
        object.__setattr__(self, "own", own.encode("utf-8", "replace"))

    def encode(self, message: Message, encoded: Encoded) -> bytes:
        """The MESSAGE frame.

        Headers stand in the original's order (stomp.md F12): ``destination``, the forwarded ones, ``message-id``,
        ``when``, ``subscription`` last; ``content-length`` and ``ack`` before that, so that what differs between
        subscribers stands together and the rest is encoded once.

        :param encoded: empty at the first call for a message, and passed on to the calls of the other forms.
        """
        shared = encoded.get((self.dialect, self.destination))
        if shared is None:
            shared = encoded[self.dialect, self.destination] = self._shared(message)
        before, after = shared
        if self.acknowledged and self.subscription is not None and self.dialect.version == "1.2":
            ack = self._header("ack", ack_id(self.subscription, message.message_id))
            return before + ack.encode("utf-8", "replace") + self.own + after
        return before + self.own + after

    def _header(self, name: str, value: str) -> str:
        return encode_header(name, value, self.dialect) + "\n"

    def _shared(self, message: Message) -> tuple[bytes, bytes]:
        headers = (
            ("destination", self.destination),
            *message.headers,
            ("message-id", message.message_id),
            ("when", str(message.when)),
        )
        before = encode_head("MESSAGE", headers, self.dialect) + content_length(message.body, self.dialect)
        return before, b"\n" + message.body + self.dialect.end


def ack_id(subscription: str, message_id: str) -> str:
    """What a 1.2 client acknowledges a message by. A message-id alone may reach it by several subscriptions."""
    return f"{subscription}/{message_id}"
