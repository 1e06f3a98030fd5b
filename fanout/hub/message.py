"""One message, as all parts of the engine pass it on: before it was admitted, and after.

:class:`Publication` is what a client wants to publish; :class:`Message` is what was published.
"""

from __future__ import annotations

from random import getrandbits
from typing import NamedTuple

# RFC 9562, 4.1 and 5.4: which bits say that an UUID is random.
_UUID_BITS = (1 << 128) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_UUID_4 = 0x4 << 76 | 0x2 << 62

Headers = tuple[tuple[str, str], ...]
"""Names and values, in their order."""


class Publication(NamedTuple):
    """What a client wants to publish.

    :ivar destination: as the client wrote it; empty if it gave none.
    :ivar headers: all that came with it. A name may occur more than once; the first counts.
    :ivar body: octets.
    """

    destination: str
    headers: Headers
    body: bytes


class Message(NamedTuple):
    """What was published once on a topic. Immutable, so it may be shared by any number of subscribers.

    Two messages are equal only if they are the same object: a publisher may well send the same value twice.

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
    headers: Headers = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


def new_id() -> str:
    """A message-id that was never given before: a random UUID (RFC 9562), as the original gives.

    Not ``uuid.uuid4``, which is four times as much work for each publish; an id need not be unguessable.
    """
    digits = f"{getrandbits(128) & _UUID_BITS | _UUID_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
