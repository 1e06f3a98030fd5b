"""One published value, as every part of the engine passes it on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """What was published once on a topic. Immutable, so it may be shared by any number of subscribers.

    Two messages are the same only if they are the same object: a station may well send one slide twice.

    :ivar topic: the topic as the publisher spelled it; the application decides what it means.
    :ivar body: octets, never decoded or altered on the way.
    :ivar headers: what is passed on besides the three below, in the order it is written to a client;
        no name stands twice, and none is ``topic``, ``message-id`` or ``when``.
    :ivar message_id: what a client sees as ``message-id``; never empty.
    :ivar when: Unix time of the publish in whole seconds, set by the node that published it.
    """

    topic: str
    body: bytes
    message_id: str
    when: int
    headers: tuple[tuple[str, str], ...] = ()
