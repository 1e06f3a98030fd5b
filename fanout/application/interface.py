"""The interface through which the servers use their application, whatever protocol the clients speak.

The values belong to the engine: a message that a client wants to publish is a :class:`~fanout.hub.message.Publication`,
and the application never sees a frame or a request. :class:`Extension` is an application that wraps another one.
:class:`OpenTopics` is the smallest application.
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
"""Octets of an owner, and of a login, that are sent with each message. A complete origin has to fit into one short
string of AMQP, 255 octets, and an IPv6 address takes 45 of them. Logins usually have about 20 octets; a longer one is
truncated."""


class Refused(Exception):
    """The application refuses a request of a client.

    :ivar summary: a few words for the client.
    :ivar detail: one or two sentences: the reason, and what to do.
    :ivar temporary: whether the same request may succeed later.
    :ivar unfit: whether the content is wrong, and not the rights of the sender.
    """

    def __init__(self, summary: str, detail: str = "", *, temporary: bool = False, unfit: bool = False) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.temporary = temporary
        self.unfit = unfit


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a connection, as far as a login needs it.

    :ivar address: the client's IP address.
    :ivar interface: protocol and transport in one word: ``stomp``, ``stomp-tls``, ``stomp-websocket``, ``http`` or
        ``https``.
    :ivar certificates: the client's certificate, then the intermediate ones, in DER; empty without TLS, or if the
        client was not asked for a certificate.
    """

    address: str
    interface: str = ""
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Principal:
    """A client that has logged in.

    :ivar login: the login as the client gave it, for logs.
    :ivar name: the account to which it belongs, in the application's terms.
    :ivar origin: sent with each message that it publishes; see :meth:`connected`.
    """

    login: str
    name: str
    origin: Origin | None = field(default=None, compare=False)

    def connected(self, peer: Peer) -> Principal:
        """A copy of this principal with its origin. The server to which the client has logged in calls this.

        :param peer: the client's side of the connection.
        """
        owner, login = _cut(self.name), _cut(self.login)
        return replace(self, origin=Origin(owner, login, peer.address, peer.interface))


def _cut(text: str) -> str:
    """Remove control characters, which separate the parts of an origin on the bus, and limit the length."""
    return "".join(filter(str.isprintable, text)).encode()[:MAX_ORIGIN_OCTETS].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class ResolvedTopic:
    """The meaning of a subscription.

    :ivar topic: the hub's key.
    :ivar replay: whether the client gets the retained message at once.
    """

    topic: str
    replay: bool = True


class Application(Protocol):
    """The questions that the servers ask. No method blocks. Any exception other than :class:`Refused` is a bug, and is
    logged.
    """

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """Check credentials.

        :param peer: the client.
        :return: the principal; None for wrong credentials.
        :raises Refused: they cannot be checked now, or too many logins from this address have failed.
        """
        ...

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """The topic that the destination of a subscription means.

        :raises Refused: the destination does not mean any topic.
        """
        ...

    async def recall(self, topic: str) -> Message | None:
        """The last message of a topic, from the store that the nodes share. Called if this node has no retained
        message.

        Callers that ask at the same time get the same object.
        """
        ...

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """Check publications, and make messages of them, of all or of none.

        :param principal: the publisher; None for an anonymous client.
        :raises Refused: one of them is not allowed.
        """
        ...

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Give admitted messages to the bus. The Deferred fires when the bus has accepted all of them.

        It fails with :class:`~fanout.bus.interface.BusError`.
        """
        ...

    def receipt_headers(self, messages: Sequence[Message]) -> Awaitable[Headers] | None:
        """Headers for the publisher's receipt of these messages; None if there are none.

        :raises Refused: never.
        """
        ...


class Extension:
    """An :class:`Application` that wraps another one. Subclasses override some of the methods; the others are passed
    on.
    """

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
    """An :class:`Application` in which every name is a topic, and every client with the token may publish."""

    def __init__(
        self,
        bus: Bus,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        token: str = "",
    ) -> None:
        """
        :param bus: carries the published messages.
        :param clock: Unix time in seconds.
        :param new_id: returns the id of a message, a different one each time.
        :param token: the password that publishers need, with any login; empty if none is needed.
        """
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._token = token

    async def login(self, login: str, passcode: str, peer: Peer) -> Principal | None:
        """The principal of a publisher that sends the token; None if the token is wrong."""
        known = compare_digest(passcode.encode(), self._token.encode())
        return Principal(login, login) if known else None

    async def resolve(self, destination: str, headers: Headers) -> ResolvedTopic:
        """The topic has the same name as the destination."""
        return ResolvedTopic(destination)

    async def recall(self, topic: str) -> Message | None:
        """None, because the hub is the only store."""
        return None

    async def admit(self, principal: Principal | None, publications: Sequence[Publication]) -> tuple[Message, ...]:
        """The messages.

        :raises Refused: the client may not publish.
        """
        if self._token and principal is None:
            raise Refused("not allowed", "This needs the token, as the password of HTTP Basic.")
        when = int(self._clock())
        origin = None if principal is None else principal.origin
        return tuple(
            Message(each.destination, each.body, self._new_id(), when, each.headers, origin=origin)
            for each in publications
        )

    def publish(self, messages: Sequence[Message]) -> Deferred[None]:
        """Pass the messages to the bus. The Deferred fires when it has accepted all of them."""
        return together(self._bus.publish(each) for each in messages)

    def receipt_headers(self, messages: Sequence[Message]) -> None:
        """None: there are no headers to add."""
