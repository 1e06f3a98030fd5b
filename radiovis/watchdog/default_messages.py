"""The defaults: the text and the image that the watchdog sends on a stale topic, as the original did (contract
§1.9).
"""

from __future__ import annotations

from uuid import uuid4

from fanout.hub.message import Message
from radiovis.directory.interface import Default

TEXT, IMAGE = "text", "image"
KINDS = (TEXT, IMAGE)
"""The last part of the two topics of a channel, in the order in which their defaults are sent."""

# Headers of ActiveMQ's Java client. The watchdog has sent them since the search for what Pure's radios need (contract
# §5).
_MARKS = {"expires": "0", "priority": "0"}


def default_message(channel: str, kind: str, default: Default, now: float) -> Message | None:
    """The default message for one topic; None if the station has no default for it.

    :param channel: the topic prefix as the directory spells it.
    :param kind: one of :data:`KINDS`.
    :param default: the station's defaults.
    :param now: Unix time in seconds.
    """
    if kind == TEXT:
        body = f"TEXT {default.text}" if default.text else ""
    else:
        body = f"SHOW {default.image}" if default.image else ""
    if not body:
        return None
    link = {"link": default.link} if default.link else {}
    headers = {"trigger-time": "NOW", **link, **_MARKS, "timestamp": str(int(now * 1000))}
    return Message(channel + kind, body.encode(errors="replace"), str(uuid4().int), int(now), tuple(headers.items()))


def is_default(message: Message) -> bool:
    """Whether a watchdog sent this message, ours or the original. No client can set these headers through STOMP."""
    headers = dict(message.headers)
    return message.message_id.isdecimal() and all(headers.get(name) == value for name, value in _MARKS.items())
