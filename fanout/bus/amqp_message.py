"""A message in its AMQP form, and back.

Nodes of every version and any AMQP client share this form. Everything about a message but its body stands in the
``headers`` property, as strings. We write it that way, so that older nodes understand us. We read more than that:
another client may set just ``topic``, use other types, or fill in the AMQP properties instead.

The publisher of a message stands in the property ``app_id``, not in the headers: older nodes pass headers that they do
not know on to their clients, and none of them reads that property.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

from pika.spec import PERSISTENT_DELIVERY_MODE, BasicProperties

from fanout.bus.duplicates import has_serial
from fanout.hub.message import Message, Origin
from fanout.stomp.limits import MAX_DESTINATION_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, StompLimitSettings

# AMQP writes the length of a header name in one octet.
MAX_NAME_BYTES = 255
# The header table must fit one frame, and RabbitMQ's frames end at 128 KiB: a longer one costs the connection.
MAX_TABLE_BYTES = 100_000
# In characters, of which UTF-8 makes four octets at most.
_SURELY_A_NAME = MAX_NAME_BYTES // 4
# A publisher's clock may be this many seconds fast. A later time is wrong, most likely in milliseconds, and a topic
# last published to in the year 58,000 would never count as stale again.
MAX_AHEAD = 3600

OWN_FIELDS = frozenset({"topic", "message-id", "when"})
# These say something about one STOMP connection or frame. From another publisher they would be wrong for the client.
NEVER_PASSED_ON = OWN_FIELDS | {
    "destination",
    "subscription",
    "ack",
    "content-length",
    "receipt",
    "receipt-id",
    "session",
    "version",
    "server",
    "heart-beat",
}
# STOMP frames end at a NUL and no version can escape it.
NUL = "\0"
INTEGER = re.compile(r"\s*[0-9]{1,20}\s*", re.ASCII)

_SEPARATOR = "\x1f"
"""Between the parts of an origin; none of them has control characters."""
_LONGEST_SHORT_STRING = 255  # octets, in AMQP

# AMQP property ``type`` of a copy of a message that was confirmed before (:mod:`fanout.bus.rabbitmq`, invariant 2).
AGAIN = "again"


class MalformedMessage(ValueError):
    """What came over the bus is not a message. The text says why."""


class MessageLimits:
    """The limits of a message on the bus: those that STOMP clients have, so that whatever a node takes from a client
    arrives. They also bound what other AMQP clients publish.

    One object is shared by all that read from the broker in a process, and a reload gives it other settings.

    :cvar topic_bytes: longest topic, in octets of UTF-8.
    :cvar headers: how many headers are passed on; the first ones win.
    :cvar header_bytes: longest name and value together; a longer header is left out.
    :ivar settings: MAX_FRAME_BYTES bounds the body, as it bounds a whole frame.
    """

    topic_bytes: ClassVar[int] = MAX_DESTINATION_BYTES
    headers: ClassVar[int] = MAX_HEADERS
    header_bytes: ClassVar[int] = MAX_HEADER_BYTES

    def __init__(self, settings: StompLimitSettings | None = None) -> None:
        self.settings = settings or StompLimitSettings()

    @property
    def body_bytes(self) -> int:
        """Longest body, in octets."""
        return self.settings.MAX_FRAME_BYTES

    def check(self, message: Message) -> None:
        """What no node would take must not be published: its publisher would be told that it was.

        A topic may be longer than the destination of its SEND, as one destination may mean all topics of a client.

        :raises ValueError: the message exceeds a limit.
        """
        if len(message.body) > self.body_bytes:
            raise ValueError(f"body of {len(message.body)} octets, more than {self.body_bytes}")
        if len(message.topic.encode()) > self.topic_bytes:
            raise ValueError(f"topic {message.topic[:32]!r}… is longer than {self.topic_bytes} octets")


DEFAULT_LIMITS = MessageLimits()


def to_amqp(message: Message, limits: MessageLimits = DEFAULT_LIMITS) -> tuple[BasicProperties, bytes]:
    """The AMQP properties and body of a message.

    It is marked persistent, for durable queues; the nodes' own queues ignore that.

    :raises ValueError: it exceeds the limits, or AMQP cannot carry it: a name beyond 255 octets, or headers beyond one
        frame.
    """
    limits.check(message)
    headers = {
        "topic": message.topic,
        "message-id": message.message_id,
        "when": str(message.when),
        **dict(message.headers),
    }
    _check_size(headers)
    properties = BasicProperties(headers=headers, delivery_mode=PERSISTENT_DELIVERY_MODE)
    if message.origin is not None:
        properties.app_id = _written(message.origin)
    return properties, message.body


def _written(origin: Origin) -> str | None:
    """An origin as a short string of AMQP; None for one that is too long, which no server makes."""
    text = _SEPARATOR.join(origin)
    return text if len(text.encode()) <= _LONGEST_SHORT_STRING else None


def _origin(app_id: object) -> Origin | None:
    """The publisher of a message; None if no node of ours sent it, or an older one."""
    parts = app_id.split(_SEPARATOR) if isinstance(app_id, str) else ()
    return Origin(*parts) if len(parts) == len(Origin._fields) else None


def _check_size(headers: Mapping[str, str]) -> None:
    for name in headers:
        if len(name) > _SURELY_A_NAME and len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"header name {name[:32]!r}… is longer than the {MAX_NAME_BYTES} octets AMQP allows")
    size = len("".join((*headers, *headers.values())).encode())
    if size > MAX_TABLE_BYTES:
        raise ValueError(f"topic and headers are {size} octets, more than the {MAX_TABLE_BYTES} that fit a frame")


def from_amqp(properties: BasicProperties, body: bytes, now: int, limits: MessageLimits = DEFAULT_LIMITS) -> Message:
    """The message in an AMQP delivery. What the publisher left out is filled in.

    :param now: Unix time in seconds, for a message that does not say when it was published.
    :raises MalformedMessage: there is no usable topic, or the message is too long.
    """
    headers: Mapping[Any, Any] = properties.headers or {}
    if len(body) > limits.body_bytes:
        raise MalformedMessage(f"body of {len(body)} octets, more than {limits.body_bytes}")
    return Message(
        topic=_topic(headers, limits),
        body=body,
        message_id=_message_id(headers, properties, limits),
        when=_when(headers, properties, now),
        headers=tuple(_passed_on(headers, limits)),
        serial=properties.correlation_id if has_serial(properties.correlation_id) else "",
        origin=_origin(properties.app_id),
    )


def _topic(headers: Mapping[Any, Any], limits: MessageLimits) -> str:
    topic = headers.get("topic")
    if topic is None:
        raise MalformedMessage("no header 'topic'")
    if not isinstance(topic, str):
        raise MalformedMessage(f"header 'topic' is {type(topic).__name__}, not UTF-8 text")
    if not topic or NUL in topic:
        raise MalformedMessage(f"header 'topic' is {'not text: it holds a NUL' if topic else 'empty'}")
    if len(topic.encode()) > limits.topic_bytes:
        raise MalformedMessage(f"header 'topic' is longer than {limits.topic_bytes} octets")
    return topic


def _message_id(headers: Mapping[Any, Any], properties: BasicProperties, limits: MessageLimits) -> str:
    for value in (headers.get("message-id"), properties.message_id):
        text = _text(value)
        if text and len(text.encode()) <= limits.header_bytes:
            return text
    return str(uuid4())


def _when(headers: Mapping[Any, Any], properties: BasicProperties, now: int) -> int:
    for value in (headers.get("when"), properties.timestamp):
        text = _text(value)
        if text and INTEGER.fullmatch(text) and int(text) <= now + MAX_AHEAD:
            return int(text)
    return now


def _passed_on(headers: Mapping[Any, Any], limits: MessageLimits) -> Iterator[tuple[str, str]]:
    """The other headers, in the order they came, without those that cannot or must not reach a client."""
    passed = 0
    for raw_name, raw_value in headers.items():
        if raw_name in OWN_FIELDS:
            continue
        name, value = _text(raw_name), _text(raw_value)
        if not name or value is None or name in NEVER_PASSED_ON:
            continue
        if len(name.encode()) + len(value.encode()) > limits.header_bytes:
            continue
        if passed == limits.headers:
            return
        passed += 1
        yield name, value


def _text(value: object) -> str | None:
    """An AMQP field as text; None for what has no text: nothing, tables, lists, octets that are not UTF-8."""
    match value:
        case str():
            text = value
        case bytes():
            try:
                text = value.decode()
            except UnicodeDecodeError:
                return None
        case bool():
            text = "true" if value else "false"  # As RabbitMQ's own STOMP plugin writes it.
        case int() | float() | Decimal():
            text = str(value)
        case datetime():
            text = str(int(value.timestamp()))  # An AMQP timestamp holds Unix seconds.
        case _:
            return None
    return None if NUL in text else text
