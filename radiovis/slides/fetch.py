"""Fetches slides as a receiver does: little time, little memory, and no more than a few at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from fanout import __version__
from fanout.listeners.certificates import connect_failure
from radiovis.slides.picture import HEIGHT, MOST_OCTETS, WIDTH, Picture, decoding_fault, look_at
from radiovis.slides.turns import Turns, host_of

# The connections that fetching one slide takes: they bring so many octets at most, and end with it.

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


SECONDS = 5.0
"""What the HRadio receiver waits for a picture (contract §5, lesson 6)."""
MOST_READ = 4 * 2**20
"""Octets: far more than any radio takes, so that the complaint can name the size; beyond it we read no further."""
AT_ONCE = 4
REDIRECTS = 3
"""Followed for one slide. Receivers follow some (contract §4), and each costs their listener a moment."""
_MOVED = frozenset((301, 302, 303, 307, 308))
_SHOWN = 60  # characters of a Content-Type that are repeated

Dial = Callable[[str, int], Any]
"""Makes the endpoint for a host and a port."""


@dataclass(frozen=True, slots=True)
class Slide:
    """What came of fetching one.

    :ivar content: its octets; empty when it could not be fetched.
    :ivar complaints: what is wrong with it, each in a few words.
    """

    url: str
    content: bytes
    picture: Picture | None
    complaints: tuple[str, ...]


class SlideFetch:
    """Fetches slides."""

    def __init__(
        self,
        reactor: Any,
        *,
        seconds: float = SECONDS,
        most_octets: int = MOST_READ,
        at_once: int = AT_ONCE,
        dial: Dial | None = None,
    ) -> None:
        """
        :param seconds: for one slide, from the request to its last octet.
        :param most_octets: read of one slide.
        :param at_once: slides that are fetched side by side, half of them from one host; the others wait.
        :param dial: how a host is reached; None for any host that has an address.
        """
        self._reactor = reactor
        self._turns = Turns(at_once)
        self._seconds = seconds
        self._most = most_octets
        self._dial = dial or (lambda host, port: HostnameEndpoint(reactor, host, port, timeout=seconds))

    async def get(self, url: str) -> Slide:
        """Fetch and check one; never fails: what is wrong stands in the complaints."""
        async with self._turns.of(host_of(url)):
            try:
                return await Deferred.fromCoroutine(self._get(url)).addTimeout(self._seconds, self._reactor)
            except Exception as error:  # noqa: BLE001 - somebody else's URL and server: anything may be wrong.
                return Slide(url, b"", None, (f"not fetched: {self._reason(error)}",))

    async def _get(self, url: str) -> Slide:
        connections = Connections(self._reactor, self._dial, self._most)
        try:
            response = await self._follow(url, Agent.usingEndpointFactory(self._reactor, connections))
            if response.code != 200:
                return Slide(url, b"", None, (f"not fetched: HTTP {response.code}",))
            slide = await self._judge(url, response)
            connections.check()
            return slide
        finally:
            connections.close()

    async def _follow(self, url: str, agent: Agent) -> IResponse:
        """The answer at the end of all redirects."""
        for _ in range(REDIRECTS + 1):
            headers = Headers({"User-Agent": [f"radiovis/{__version__}"]})
            response: IResponse = await agent.request(b"GET", url.encode("ascii"), headers)
            place = response.headers.getRawHeaders("location")
            if response.code not in _MOVED or not place:
                return response
            url = urljoin(url, place[0]).partition("#")[0]
        raise ValueError(f"more than {REDIRECTS} redirects")

    async def _judge(self, url: str, response: IResponse) -> Slide:
        complaints = []
        if response.length is UNKNOWN_LENGTH:
            complaints.append("it is served without a Content-Length")
        elif response.length > self._most:
            raise TooMuch(f"it has {response.length} octets, radios take {MOST_OCTETS}")
        content = await _read(response)
        picture = look_at(content)
        kind = response.headers.getRawHeaders("content-type", [None])[0]
        complaints = [*picture.complaints(kind[:_SHOWN] if kind else kind), *complaints]
        if (picture.width, picture.height) == (WIDTH, HEIGHT) and picture.octets <= MOST_OCTETS:
            # Only now: what claims another size, or is too long, is not worth the memory it may unfold into.
            fault = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), decoding_fault, content)
            complaints += [fault] if fault else []
        return Slide(url, content, picture, tuple(complaints))

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, (ResponseFailed, ResponseNeverReceived)) and error.reasons:
            error = error.reasons[0].value
        if isinstance(error, UnicodeEncodeError):
            return "its address has characters beyond ASCII"
        if isinstance(error, (TookTooLong, CancelledError)):
            return f"not complete within {self._seconds:g} s"
        return connect_failure(error, self._seconds)


class _Body(Protocol):
    """Gathers the body of an answer; how long that may get is watched by :class:`Connections`."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)


def _read(response: IResponse) -> Deferred[bytes]:
    body = _Body()
    response.deliverBody(body)
    return body.whole
