"""What the servers ask of the application they serve, whatever protocol their clients speak.

The values are the engine's own: what a client wants to publish is a :class:`~fanout.hub.message.Publication`, and the
application never sees a frame or a request. :class:`Extension` is an application around another one.
:class:`OpenTopics` is the smallest one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from typing import Protocol

from twisted.internet.defer import Deferred

from fanout.bus.interface import Bus, together
from fanout.hub.message import Headers, Message, Origin, Publication

MAX_ORIGIN_OCTETS = 90
"""Octets of an owner, and of a login, that go with each message. All of an origin has to fit into one short string of
AMQP, 255 octets, and an IPv6 address takes 45 of them. Logins have about 20; a longer one is cut."""


class Refused(Exception):
    """The application does not do what a client asks.

    :ivar summary: a few words for the client.
    :ivar detail: one or two sentences: the reason, and what to do.
    :ivar temporary: whether the same request may succeed later.
    :ivar unfit: whether the content is at fault, rather than the rights of the sender.
    """

    def __init__(self, summary: str, detail: str = "", *, temporary: bool = False, unfit: bool = False) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.temporary = temporary
        self.unfit = unfit


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a connection, as far as a login needs to know it.

    :ivar address: its IP address.
    :ivar interface: what it speaks, and over what, in a word: ``stomp``, ``stomp-tls``, ``stomp-websocket``, ``http``
        or ``https``.
    :ivar certificates: the client's certificate, then those between it and its authority, in DER; none without TLS, or
        if it was not asked.
    """

    address: str
    interface: str = ""
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Principal:
    """A client that has logged in.

    :ivar login: as the client gave it; for logs.
    :ivar name: the account it belongs to, in the application's terms.
    :ivar origin: goes with each message that it publishes; see :meth:`connected`.
    """

    login: str
    name: str
    origin: Origin | None = field(default=None, compare=False)

    def connected(self, peer: Peer) -> Principal:
        """The same one, with its origin. The server that it has logged in to calls this."""
        owner, login = _cut(self.name), _cut(self.login)
        return replace(self, origin=Origin(owner, login, peer.address, peer.interface))


def _cut(text: str) -> str:
    """Without control characters, which separate the parts of an origin on its way."""
    return "".join(filter(str.isprintable, text)).encode()[:MAX_ORIGIN_OCTETS].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class ResolvedTopic:
    """Where a subscription belongs.

    :ivar topic: the hub's key.
    :ivar replay: whether the client wants the retained message at once.
    """

    topic: str
    replay: bool = True


class Application(Protocol):
    """What the servers ask. No method blocks. Any exception but :class:`Refused` is a bug, and is logged."""

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """Check credentials. :return: the principal; None for wrong credentials.

        :param peer: the client.
        :raises Refused: they cannot be checked now, or this address has failed too often.
        """
        ...

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """The topic that a subscription means. :raises Refused: it means none."""
        ...

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic this node has none of, from the memory that the nodes share.

        Callers that ask at the same time get the same object.
        """
        ...

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages that these publications make, all or none.

        :param principal: None for an anonymous client.
        :raises Refused: one of them is not allowed.
        """
        ...

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Give admitted messages to the bus. Fires when it has all of them.

        Fails with :class:`~fanout.bus.interface.BusError`.
        """
        ...

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """What the publisher of these messages is told with its receipt; None for nothing.

        :raises Refused: never.
        """
        ...


class Extension:
    """An :class:`Application` around another one. Subclasses change some of the answers; the rest is passed on."""

    def __init__(self, application: Application) -> None:
        """:param application: the inner one."""
        self._application = application

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """See :meth:`Application.login`."""
        return await self._application.login(login, passcode, peer)

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """See :meth:`Application.resolve`."""
        return await self._application.resolve(destination, headers)

    async def recall(self, topic: str) -> Message | None:
        """See :meth:`Application.recall`."""
        return await self._application.recall(topic)

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """See :meth:`Application.admit`."""
        return await self._application.admit(principal, publications)

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """See :meth:`Application.publish`."""
        return self._application.publish(messages)

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """See :meth:`Application.receipt_headers`."""
        return self._application.receipt_headers(messages)


class OpenTopics:
    """An :class:`Application` in which every name is a topic, and every client that sends the token may publish."""

    def __init__(
        self,
        bus: Bus,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        token: str = "",
    ) -> None:
        """
        :param clock: Unix time in seconds.
        :param new_id: makes the id of a message, each another.
        :param token: the password, with any login, that publishers need; empty for none.
        """
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._token = token

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """A publisher that sends the token. :raises Refused: the token is another."""
        known = compare_digest(passcode.encode(), self._token.encode())
        return Principal(login, login) if known else None

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """A topic is what it is called."""
        return ResolvedTopic(destination)

    async def recall(self, topic: str) -> Message | None:
        """There is no other memory than the hub's."""
        return None

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages. :raises Refused: the client may not publish."""
        if self._token and principal is None:
            raise Refused("not allowed", "This needs the token, as the password of HTTP Basic.")
        when = int(self._clock())
        origin = None if principal is None else principal.origin
        return tuple(
            Message(each.destination, each.body, self._new_id(), when, each.headers, origin=origin)
            for each in publications
        )

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Hand them to the bus; fires when it has all of them."""
        return together(self._bus.publish(each) for each in messages)

    def receipt_headers(self, messages: Sequence[Message]) -> None:
        """There is nothing to add."""
