"""An endpoint that connects a protocol through a WebSocket: the protocol sees octets, as over TCP."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from radiovis.commands.websocket import ClientWebSocket, NoWebSocket


@implementer(IStreamClientEndpoint)
class WebSocketEndpoint:
    """Connects by way of another endpoint."""

    def __init__(self, under: Any, host: str, path: str) -> None:
        """
        :param under: the endpoint that reaches the server.
        :param host: as for :class:`ClientWebSocket`.
        """
        self._under = under
        self._socket = ClientWebSocket(host, path)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The protocol is told that it is connected once the server has agreed, which may be after this has fired."""
        inner: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        connected: Deferred[Any] = connectProtocol(self._under, _Carrier(self._socket, inner))
        return connected.addCallback(lambda _: inner)


class _Carrier(Protocol):
    """What the transport sees; and the transport the carried protocol sees."""

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

    # As the carried protocol's transport

    def write(self, octets: bytes) -> None:
        """Send octets in a message."""
        if not self._socket.ended:
            self._out(self._socket.wrapped(octets))

    def __getattr__(self, name: str) -> Any:
        # setTcpNoDelay, pauseProducing and their like are the wire's own.
        return getattr(self.transport, name)
