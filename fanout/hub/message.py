"""One message, as all parts of the engine pass it on: before it was admitted, and after.

:class:`Publication` is what a client wants to publish; :class:`Message` is what was published; :class:`Origin` is its
publisher.
"""

from __future__ import annotations

from typing import NamedTuple

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


class Origin(NamedTuple):
    """The publisher of a message, and its connection. Never shown to clients.

    :ivar owner: the account that the memory of a message counts for: of the application, opaque here.
    :ivar login: as the publisher gave it.
    :ivar address: its IP address; empty when it is not known any more.
    :ivar interface: what it published over, such as ``stomp`` or ``http``.
    """

    owner: str
    login: str
    address: str
    interface: str


MESSAGE_WEIGHT = 512
"""Octets of memory of a message without its texts: the objects, and its entries in the hub's dictionaries."""


class Message(NamedTuple):
    """What was published once on a topic. Immutable, so it may be shared by any number of subscribers.

    Two messages are equal only if they are the same object: a publisher may well send the same value twice.

    :ivar topic: the topic as the publisher spelled it; the application decides what it means.
    :ivar body: octets, never decoded or altered on the way.
    :ivar headers: what is passed on besides the three below, in the order it is written to a client;
        no name stands twice, and none is ``topic``, ``message-id`` or ``when``.
    :ivar message_id: what a client sees as ``message-id``; never empty.
    :ivar when: Unix time of the publish in whole seconds, set by the node that published it.
    :ivar serial: the number that its publisher gave it on the bus (:mod:`fanout.bus.duplicates`); empty if it did not
        come from a node over a bus. Never shown to clients.
    :ivar origin: its publisher; None for what the server publishes itself, and where it is not known.
    """

    topic: str
    body: bytes
    message_id: str
    when: int
    headers: Headers = ()
    serial: str = ""
    origin: Origin | None = None

    @property
    def weight(self) -> int:
        """About how many octets of memory it takes; the same for each copy of the object."""
        texts = len(self.topic) + len(self.message_id) + sum([len(name) + len(value) for name, value in self.headers])
        return MESSAGE_WEIGHT + len(self.body) + texts

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)
