"""STOMP in the messages of a WebSocket, on the client's side.

:class:`ClientWebSocket` is sans-IO and uses wsproto. :class:`WebSocketEndpoint` uses it for a Twisted protocol, and
``sockets.py`` for a blocking connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError
from zope.interface import implementer

SUBPROTOCOLS = ["v12.stomp", "v11.stomp", "v10.stomp"]


class NoWebSocket(ConnectionError):
    """The server does not open a WebSocket, or breaks the protocol. The text says how."""


class ClientWebSocket:
    """One WebSocket connection.

    :ivar open: whether the server has accepted the WebSocket.
    :ivar ended: whether the server has closed the WebSocket.
    """

    def __init__(self, host: str, path: str) -> None:
        """:param host: host and port for the Host header.
        :param path: path of the WebSocket.
        """
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._request = Request(host=host, target=path, subprotocols=SUBPROTOCOLS)
        self._answer = b""
        self.open = False
        self.ended = False

    def hello(self) -> bytes:
        """The octets to send first."""
        return self._connection.send(self._request)

    def wrapped(self, octets: bytes) -> bytes:
        """Octets of STOMP in a text message, as browsers send them; in a binary message if they are not UTF-8."""
        try:
            return self._connection.send(TextMessage(octets.decode()))
        except UnicodeDecodeError:
            return self._connection.send(BytesMessage(octets))

    def receive(self, data: bytes) -> list[bytes]:
        """Read octets of the transport. Send the result of :meth:`answer` afterwards.

        :return: the octets of STOMP in them, one piece for each message.
        :raises NoWebSocket: the server refuses, or does not use WebSocket.
        """
        found: list[bytes] = []
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                found += self._heard(event)
        except ProtocolError as error:
            raise NoWebSocket(f"its answer is not WebSocket: {error}") from None
        return found

    def _heard(self, event: object) -> list[bytes]:
        if isinstance(event, TextMessage):
            return [event.data.encode()]
        if isinstance(event, BytesMessage):
            return [bytes(event.data)]
        if isinstance(event, AcceptConnection):
            self.open = True
        elif isinstance(event, Ping):
            self._answer += self._connection.send(event.response())
        elif isinstance(event, CloseConnection):
            self.ended = True
        elif isinstance(event, RejectConnection):
            raise NoWebSocket(f"there is no WebSocket at this path: HTTP {event.status_code}")
        return []

    def answer(self) -> bytes:
        """The octets that must be sent in answer to the received ones."""
        answer, self._answer = self._answer, b""
        return answer


@implementer(IStreamClientEndpoint)
class WebSocketEndpoint:
    """Connects a protocol through a WebSocket. The protocol gets octets, as over TCP."""

    def __init__(self, under: Any, host: str, path: str) -> None:
        """
        :param under: the endpoint that connects to the server.
        :param host: as for :class:`ClientWebSocket`.
        """
        self._under = under
        self._socket = ClientWebSocket(host, path)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect. The protocol's ``connectionMade`` is called when the server has accepted the WebSocket, which may be
        after this Deferred has fired.
        """
        inner: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        connected: Deferred[Any] = connectProtocol(self._under, _Carrier(self._socket, inner))
        return connected.addCallback(lambda _: inner)


class _Carrier(Protocol):
    """The protocol of the real transport, which is also the transport of the carried protocol."""

    def __init__(self, socket: ClientWebSocket, inner: Any) -> None:
        self._socket = socket
        self._inner = inner
        self._met = False

    def connectionMade(self) -> None:
        self._out(self._socket.hello())

    def dataReceived(self, data: bytes) -> None:
        try:
            came = self._socket.receive(data)
        except NoWebSocket as error:
            self._end(error)
            return
        self._out(self._socket.answer())
        if self._socket.open and not self._met:
            self._met = True
            self._inner.makeConnection(self)
        for octets in came:
            self._inner.dataReceived(octets)
        if self._socket.ended:
            self._out_and_end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connectionLost(reason)

    def _end(self, error: NoWebSocket) -> None:
        self.abortConnection()
        self.connectionLost(Failure(error))

    def _out_and_end(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def _out(self, octets: bytes) -> None:
        if octets and self.transport is not None:
            self.transport.write(octets)

    # The interface of a transport, for the carried protocol

    def write(self, octets: bytes) -> None:
        """Send octets in a message."""
        if not self._socket.ended:
            self._out(self._socket.wrapped(octets))

    def __getattr__(self, name: str) -> Any:
        # setTcpNoDelay, pauseProducing and other methods are those of the real transport.
        return getattr(self.transport, name)
