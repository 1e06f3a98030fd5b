"""Converts a message to its AMQP form and back.

Nodes of every version and any AMQP client share this form. The ``headers`` property contains everything about a message
except its body, as strings. We write strings so that older nodes understand us. We accept more than that: another
client may set ``topic`` alone, use other types, or fill in the AMQP properties instead.

The publisher of a message is in the property ``app_id`` and not in the headers, because older nodes pass unknown
headers on to their clients, and none of them reads that property.
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
# The header table must fit into one frame, and RabbitMQ's frames have at most 128 KiB: it closes the connection for a
# longer one.
MAX_TABLE_BYTES = 100_000
# In characters. UTF-8 uses at most four octets for each.
_SURELY_A_NAME = MAX_NAME_BYTES // 4
# The clock of a publisher may be this many seconds fast. A later time is wrong, most likely because it is in
# milliseconds, and a topic whose last message is from the year 58,000 would never count as stale again.
MAX_AHEAD = 3600

OWN_FIELDS = frozenset({"topic", "message-id", "when"})
# These headers describe one STOMP connection or frame. If another publisher sets them they are wrong for the client.
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
# A STOMP frame ends at a NUL, and no version of STOMP can escape a NUL.
NUL = "\0"
INTEGER = re.compile(r"\s*[0-9]{1,20}\s*", re.ASCII)

_SEPARATOR = "\x1f"
"""Separates the parts of an origin, none of which contains control characters."""
_LONGEST_SHORT_STRING = 255  # octets, in AMQP

# The AMQP property ``type`` of a second copy of a message that was confirmed before (:mod:`fanout.bus.rabbitmq`,
# invariant 2).
AGAIN = "again"


class MalformedMessage(ValueError):
    """A delivery from the bus is not a message. The text says why."""


class MessageLimits:
    """The limits of a message on the bus. STOMP clients have the same limits, so every message that a node accepts from
    a client can be sent. The limits also apply to messages of other AMQP clients.

    All parts of a process that read from the broker share one object, and a reload gives it other settings.

    :cvar topic_bytes: longest topic, in octets of UTF-8.
    :cvar headers: how many headers are passed on; further headers are left out.
    :cvar header_bytes: longest name and value together, in octets; a longer header is left out.
    :ivar settings: MAX_FRAME_BYTES limits the body, as it limits a whole frame.
    """

    topic_bytes: ClassVar[int] = MAX_DESTINATION_BYTES
    headers: ClassVar[int] = MAX_HEADERS
    header_bytes: ClassVar[int] = MAX_HEADER_BYTES

    def __init__(self, settings: StompLimitSettings | None = None) -> None:
        self.settings = settings or StompLimitSettings()

    @property
    def body_bytes(self) -> int:
        """The longest body, in octets."""
        return self.settings.MAX_FRAME_BYTES

    def check(self, message: Message) -> None:
        """Refuse a message that no node would accept. Otherwise its publisher would get a receipt for it.

        A topic may be longer than the destination of its SEND, because one destination may stand for all topics of a
        client.

        :raises ValueError: the message exceeds a limit.
        """
        if len(message.body) > self.body_bytes:
            raise ValueError(f"body of {len(message.body)} octets, more than {self.body_bytes}")
        if len(message.topic.encode()) > self.topic_bytes:
            raise ValueError(f"topic {message.topic[:32]!r}… is longer than {self.topic_bytes} octets")


DEFAULT_LIMITS = MessageLimits()


def to_amqp(message: Message, limits: MessageLimits = DEFAULT_LIMITS) -> tuple[BasicProperties, bytes]:
    """The AMQP properties and the body of a message.

    The message is marked as persistent, for durable queues; the nodes' own queues ignore this.

    :raises ValueError: the message exceeds the limits, or AMQP cannot carry it because a header name has more than 255
        octets or the headers do not fit into one frame.
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
    """An origin as a short string of AMQP; None if it is too long, which never happens with our servers."""
    text = _SEPARATOR.join(origin)
    return text if len(text.encode()) <= _LONGEST_SHORT_STRING else None


def _origin(app_id: object) -> Origin | None:
    """The publisher of a message; None if the message was not sent by one of our nodes, or was sent by an older one."""
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
    """The message in an AMQP delivery. Missing values are filled in.

    :param now: Unix time in seconds, used for a message without a time of publication.
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
    """The other headers in their order, without those that cannot or must not be sent to a client."""
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
    """An AMQP field as text; None for a value without a text form: nothing, tables, lists, and octets that are not
    UTF-8.
    """
    match value:
        case str():
            text = value
        case bytes():
            try:
                text = value.decode()
            except UnicodeDecodeError:
                return None
        case bool():
            text = "true" if value else "false"  # RabbitMQ's own STOMP plugin writes it like this.
        case int() | float() | Decimal():
            text = str(value)
        case datetime():
            text = str(int(value.timestamp()))  # An AMQP timestamp holds Unix seconds.
        case _:
            return None
    return None if NUL in text else text
