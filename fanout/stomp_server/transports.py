"""The transports of STOMP: TCP, with TLS or without (:class:`StompProtocol`), and WebSocket (:class:`StompWebSocket`).

A transport only carries octets. Over a WebSocket, one frame may come in several messages, and one message may contain
several frames; for the session they are one stream. The server sends one message for each frame, because simple clients
expect that a message is a frame.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import protocol
from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from fanout.http.response import Upgrade
from fanout.http.routing import Request
from fanout.http.websocket import WebSocket, WebSocketServer, accept
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Offered
from fanout.listeners import straight_write
from fanout.listeners.address import plain
from fanout.listeners.client_limits import LINGER_SECONDS, ConnectionLimit
from fanout.listeners.tls import TlsTransport, client_certificates
from fanout.stomp_server.connection import Connection
from fanout.stomp_server.stomp_server import StompServer, Transport


class ObservedConnection(Connection):
    """A connection that calls the server's ``delivery_observer`` for each message. A plain :class:`Connection` does not
    even check whether there is one.
    """

    __slots__ = ()

    def _give(self, cohort: Cohort, message: Message, data: bytes) -> None:
        super()._give(cohort, message, data)
        if self._server.delivery_observer is not None:
            self._server.delivery_observer(self._client, cohort.topic, message)

    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        """See :meth:`Connection.offer_joined`. The messages stay separate, because the observer is called for each."""
        for message, frame in self._unheard(cohort, offered):
            self._give(cohort, message, frame)


def connect(server: StompServer, transport: Transport, address: str, port: int) -> Connection:
    """Make the connection of a client that has just connected.

    :param server: the server that it belongs to.
    :param transport: carries the octets of the client.
    :param address: the IP address of the client.
    :param port: the client's port, which distinguishes clients with the same address.
    """
    kind = Connection if server.delivery_observer is None else ObservedConnection
    return kind(server, transport, address, port)


@implementer(IHalfCloseableProtocol, IPushProducer)
class StompProtocol(protocol.Protocol):
    """One TCP connection, with TLS or without.

    A client may shut down its side and still read. Without :class:`IHalfCloseableProtocol`, Twisted would then drop the
    octets that were not sent yet, including the last RECEIPT. TLS cannot be closed on one side.
    """

    transport: Any  # TCP, or TLS over it
    kind = "stomp"
    framing = None  # TCP has no messages.

    def __init__(self, server: StompServer, admitted_by: StompFactory, address: str, port: int) -> None:
        self.address = address
        self._port = port
        self._server = server
        self._admitted_by = admitted_by
        self._connection: Connection | None = None
        self._lingering = False
        self._read_all = False
        self._timer: IDelayedCall | None = None

    # Twisted's side

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        if isinstance(self.transport, TlsTransport):
            self.kind = "stomp-tls"
        self._connection = connect(self._server, self, self.address, self._port)

    def dataReceived(self, data: bytes) -> None:
        if self._connection is not None and not self._lingering:
            self._connection.received(data)

    def readConnectionLost(self) -> None:
        self._read_all = True
        if self._lingering:
            self.transport.loseConnection()
        elif self._connection is not None:
            self._connection.ended()

    def writeConnectionLost(self) -> None:
        """Our side was shut down. There is nothing to do until the client shuts down its side."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        connection, self._connection = self._connection, None  # Otherwise a reference cycle would stay in memory.
        if connection is not None:
            connection.gone()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._admitted_by.closed(self)

    def pauseProducing(self) -> None:
        if self._connection is not None:
            self._connection.full()

    def resumeProducing(self) -> None:
        if self._connection is not None:
            self._connection.drained()

    def stopProducing(self) -> None:
        """The transport is closing; :meth:`connectionLost` follows."""

    # For the connection limit

    @property
    def heard_at(self) -> float:
        """The time in seconds when octets last came from the client."""
        return self._server.clock() if self._connection is None else self._connection.heard_at

    def close_for_others(self) -> None:
        """Close this connection, because the node is full."""
        if self._connection is not None:
            self._connection.close_for_others()

    # The connection's transport

    @property
    def certificates(self) -> tuple[bytes, ...]:
        return client_certificates(self.transport)

    def write(self, data: bytes) -> None:
        straight_write.write(self.transport, data)

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        if not self._lingering and not self._read_all:
            self.transport.resumeProducing()

    def finish(self) -> None:
        """Close the connection when everything written was sent. If there were unread input, the kernel would send a
        TCP reset, which destroys the octets written last. So this shuts down our side, drops further input, and closes
        when the client does, at the latest after LINGER_SECONDS. TLS does the same by itself, but without a time limit.
        """
        self._lingering = True
        self.transport.unregisterProducer()
        if self._read_all:
            self.transport.loseConnection()
            return
        self.transport.resumeProducing()
        self._timer = self._admitted_by.reactor.callLater(LINGER_SECONDS, self.abort)
        if isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def abort(self) -> None:
        straight_write.abort(self.transport)


class StompFactory(protocol.Factory):
    """Accepts TCP connections within the connection limit."""

    def __init__(self, reactor: IReactorTime, server: StompServer, connection_limit: ConnectionLimit) -> None:
        self.reactor = reactor
        self._server = server
        self._connection_limit = connection_limit

    def buildProtocol(self, addr: IAddress | None) -> StompProtocol | None:
        address = plain(getattr(addr, "host", ""))
        protocol_ = StompProtocol(self._server, self, address, getattr(addr, "port", 0))
        if not self._connection_limit.admit(address, protocol_):
            self._server.warn(
                "client.turned_away",
                address,
                connections=self._connection_limit.total,
                of_address=self._connection_limit.of(address),
            )
            return None
        protocol_.factory = self
        return protocol_

    def closed(self, protocol_: StompProtocol) -> None:
        """Tell the connection limit that a connection was closed."""
        self._connection_limit.closed(protocol_.address, protocol_)

    def logPrefix(self) -> str:
        return "stomp"


SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


class StompWebSocket:
    """The HTTP handler of the path for STOMP over WebSocket. The version is agreed on with CONNECT; browsers
    additionally require a subprotocol.
    """

    def __init__(self, stomp: StompServer, websockets: WebSocketServer) -> None:
        self._stomp = stomp
        self._websockets = websockets

    def open(self, request: Request) -> Upgrade:
        """Open a connection with its own session. :raises HttpError: when the request is not a valid handshake."""
        head = accept(request, self._websockets, SUBPROTOCOLS)
        return Upgrade(WebSocket(self._websockets, self._connect, request.address, request.port), head)

    def _connect(self, socket: WebSocket) -> Connection:
        return connect(self._stomp, socket, socket.address, socket.port)
