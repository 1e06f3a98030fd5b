"""The connections that fetching one slide takes: they bring so many octets at most, and end with it."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

HEAD_OCTETS = 64 * 2**10
"""Of the answers' heads: Twisted bounds the length of a header, and not how many there are."""


class TooMuch(Exception):
    """More than anybody wants to read. The text says how much."""


@implementer(IAgentEndpointFactory)
class Connections:
    """Makes them for Twisted's ``Agent``, and closes them: it leaves those open whose body nobody wants to read."""

    def __init__(self, reactor: Any, dial: Any, most_octets: int) -> None:
        """
        :param dial: makes the endpoint for a host and a port.
        :param most_octets: of all bodies; heads are counted besides.
        """
        self._reactor = reactor
        self._dial = dial
        self._most = most_octets
        self._left = most_octets + HEAD_OCTETS
        self._open: set[_Counted] = set()

    def endpointForURI(self, uri: URI) -> Any:
        """See ``IAgentEndpointFactory``."""
        host = uri.host.decode("ascii")
        if uri.scheme not in (b"http", b"https"):
            raise SchemeNotSupported(f"its address begins with {uri.scheme.decode('ascii', 'replace')}:")
        endpoint = self._dial(host, uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
        return _Endpoint(endpoint, self)

    def opened(self, connection: _Counted) -> None:
        """There is one more."""
        self._open.add(connection)

    def closed(self, connection: _Counted) -> None:
        """There is one less."""
        self._open.discard(connection)

    def count(self, octets: int) -> None:
        """Octets came. :raises TooMuch: and that is too many."""
        self._left -= octets
        self.check()

    def check(self) -> None:
        """Where an answer ends with its connection, one that was cut off looks whole. :raises TooMuch: it was."""
        if self._left < 0:
            raise TooMuch(f"it is longer than {self._most} octets")

    def close(self) -> None:
        """Close them all, at once."""
        for connection in list(self._open):
            connection.abortConnection()


class _Endpoint:
    def __init__(self, endpoint: Any, connections: Connections) -> None:
        self._endpoint = endpoint
        self._connections = connections

    def connect(self, factory: IProtocolFactory) -> Any:
        wrapping = WrappingFactory(factory)
        wrapping.noisy = False
        wrapping.protocol = lambda above, inner: _Counted(above, inner, self._connections)
        # The Agent wants its own protocol.
        return self._endpoint.connect(wrapping).addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Counted(ProtocolWrapper):
    """Counts what comes, and gives up when it is too much."""

    transport: Any

    def __init__(self, factory: Any, inner: Any, connections: Connections) -> None:
        super().__init__(factory, inner)
        self._connections = connections
        self._too_much: Failure | None = None

    def connectionMade(self) -> None:
        self._connections.opened(self)
        super().connectionMade()  # type: ignore[no-untyped-call]  # Twisted has not typed it.

    def dataReceived(self, data: bytes) -> None:
        if self._too_much is not None:
            return
        try:
            self._connections.count(len(data))
        except TooMuch:
            self._too_much = Failure()
            self.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]  # Likewise.

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.closed(self)
        super().connectionLost(self._too_much or reason)  # type: ignore[no-untyped-call]  # Likewise.

    def abortConnection(self) -> None:
        self.transport.abortConnection()
