"""One message in the forms in which the parts of the engine pass it on: before it was accepted, and after.

:class:`Publication` is what a client wants to publish; :class:`Message` is a published message; :class:`Origin` is its
publisher.
"""

from __future__ import annotations

from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]
"""Names and values of headers, in their order."""


class Publication(NamedTuple):
    """A message that a client wants to publish.

    :ivar destination: the destination as the client wrote it; empty if there is none.
    :ivar headers: all headers of the request. A name may occur more than once; the first one counts.
    :ivar body: octets.
    """

    destination: str
    headers: Headers
    body: bytes


class Origin(NamedTuple):
    """The publisher of a message, and its connection. Never sent to clients.

    :ivar owner: the account to which the memory of a message is charged. The application chooses it; the engine does
        not interpret it.
    :ivar login: the login as the publisher gave it.
    :ivar address: the publisher's IP address; empty when it is not known any more.
    :ivar interface: the interface over which it published, such as ``stomp`` or ``http``.
    """

    owner: str
    login: str
    address: str
    interface: str


MESSAGE_WEIGHT = 512
"""Octets of memory that a message takes without its texts: the objects, and its entries in the hub's dictionaries."""


class Message(NamedTuple):
    """A message that was published on a topic. It is immutable, so any number of subscribers may share it.

    Two messages are equal only if they are the same object, because a publisher may send the same value twice.

    :ivar topic: the topic as the publisher spelled it; the application decides what it means.
    :ivar body: octets, which are never decoded or altered.
    :ivar headers: the headers that are passed on in addition to the three below, in the order in which they are written
        to a client. Names are unique, and none is ``topic``, ``message-id`` or ``when``.
    :ivar message_id: the value of the header ``message-id`` for clients; never empty.
    :ivar when: Unix time of the publish in whole seconds, set by the node that published it.
    :ivar serial: the number that its publisher gave it on the bus (:mod:`fanout.bus.duplicates`); empty if it did not
        come from a node over a bus. Never sent to clients.
    :ivar origin: its publisher; None for messages that the server publishes itself, and if the publisher is not known.
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
        """The approximate memory that it takes, in octets; the same for each copy of the object."""
        texts = len(self.topic) + len(self.message_id) + sum([len(name) + len(value) for name, value in self.headers])
        return MESSAGE_WEIGHT + len(self.body) + texts

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)
