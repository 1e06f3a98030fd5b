"""Fetches slides as a receiver does, with limits on time, memory and the number of concurrent fetches.

:class:`SlideFetch` fetches. :class:`HostLimit` limits the number of concurrent fetches: one host gets at most half of
it, so a host that hangs does not block others. :class:`Connections` contains the connections of one fetch: the number
of their octets is limited, and they end with the fetch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
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
from fanout.listeners.tls import connect_failure
from radiovis.slides.picture import HEIGHT, MOST_OCTETS, WIDTH, Picture, decoding_fault, look_at


def share(whole: int) -> int:
    """How much of a common limit one host may use: half of it, and at least 1."""
    return max(1, whole // 2)


def host_of(url: str) -> str:
    """The host of a URL; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class HostLimit:
    """Slots for fetches, which are granted in the order of the requests.

    :ivar hosts: the hosts that have a slot, or wait for one.
    """

    def __init__(self, limit: int) -> None:
        """:param limit: how many slots there are."""
        self.hosts: dict[str, DeferredSemaphore] = {}
        self._all = DeferredSemaphore(limit)
        self._share = share(limit)

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[None]:
        """Wait for a slot, and keep it during the context. A fetch that waits for its host's share does not take a slot
        of other hosts.
        """
        own = self.hosts.setdefault(host, DeferredSemaphore(self._share))
        await own.acquire()
        try:
            await self._all.acquire()
            try:
                yield
            finally:
                self._all.release()
        finally:
            own.release()
            if own.tokens == own.limit and self.hosts.get(host) is own:
                del self.hosts[host]


HEAD_OCTETS = 64 * 2**10
"""Limit of the octets of all response heads: Twisted limits the length of a header, but not the number of headers."""


class TooMuch(Exception):
    """The response is longer than the limit. The text says how long."""


@implementer(IAgentEndpointFactory)
class Connections:
    """Makes connections for Twisted's ``Agent``, and closes them: the Agent leaves connections open if their body is
    not read.
    """

    def __init__(self, reactor: Any, dial: Any, most_octets: int) -> None:
        """
        :param reactor: Twisted's reactor.
        :param dial: makes the endpoint for a host and a port.
        :param most_octets: limit of the octets of all bodies. Heads have a limit of their own.
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
        """A connection was opened."""
        self._open.add(connection)

    def closed(self, connection: _Counted) -> None:
        """A connection was closed."""
        self._open.discard(connection)

    def count(self, octets: int) -> None:
        """Count received octets.

        :raises TooMuch: they are more than the limit.
        """
        self._left -= octets
        self.check()

    def check(self) -> None:
        """Check the limit again. Call this at the end, because an aborted response without a length looks complete.

        :raises TooMuch: the response was aborted because of the limit.
        """
        if self._left < 0:
            raise TooMuch(f"it is longer than {self._most} octets")

    def close(self) -> None:
        """Close all connections at once."""
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
        # The Agent needs its own protocol.
        return self._endpoint.connect(wrapping).addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Counted(ProtocolWrapper):
    """Counts the received octets, and aborts the connection if they are too many."""

    transport: Any

    def __init__(self, factory: Any, inner: Any, connections: Connections) -> None:
        super().__init__(factory, inner)
        self._connections = connections
        self._too_much: Failure | None = None

    def connectionMade(self) -> None:
        self._connections.opened(self)
        super().connectionMade()  # type: ignore[no-untyped-call] # Twisted has no types for it.

    def dataReceived(self, data: bytes) -> None:
        if self._too_much is not None:
            return
        try:
            self._connections.count(len(data))
        except TooMuch:
            self._too_much = Failure()
            self.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.closed(self)
        super().connectionLost(self._too_much or reason)  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        self.transport.abortConnection()


MOST_READ = 4 * 2**20
"""Octets read of one slide at most: far more than any radio accepts, so that the error can name the size."""
SECONDS = 5.0
"""Seconds for one slide, from the request to its last octet. Its publisher waits for it, and HRadio receivers give up
after 5 s as well (contract §4)."""
AT_ONCE = 8
"""How many slides are fetched at the same time, at most half of them from one host, which may hang. Each may take
:data:`MOST_READ` octets, so all of them together take at most 32 MiB."""
REDIRECTS = 3
"""Redirects followed for one slide. Receivers follow some (contract §4), and each one delays the picture."""
_MOVED = frozenset((301, 302, 303, 307, 308))
_SHOWN = 60  # characters of a Content-Type in a complaint

Dial = Callable[[str, int], Any]
"""Makes the endpoint for a host and a port."""


@dataclass(frozen=True, slots=True)
class Slide:
    """The result of a fetch.

    :ivar url: the URL of the slide.
    :ivar content: its octets; empty if it could not be fetched.
    :ivar picture: the properties of the picture; None if it could not be fetched.
    :ivar complaints: what is wrong with it, each in a few words.
    """

    url: str
    content: bytes
    picture: Picture | None
    complaints: tuple[str, ...]


class SlideFetch:
    """Fetches slides, and checks them."""

    def __init__(
        self,
        reactor: Any,
        *,
        seconds: float = SECONDS,
        at_once: int = AT_ONCE,
        most_octets: int = MOST_READ,
        dial: Dial | None = None,
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param seconds: time limit of one slide, from the request to its last octet.
        :param at_once: how many slides are fetched at the same time, half of them from one host.
        :param most_octets: how many octets are read of one slide at most.
        :param dial: makes the endpoint of a host; None for any host with an address.
        """
        self._reactor = reactor
        self._seconds = seconds
        self._limit = HostLimit(at_once)
        self._most = most_octets
        self._dial = dial or self._any_host

    def _any_host(self, host: str, port: int) -> HostnameEndpoint:
        return HostnameEndpoint(self._reactor, host, port, timeout=self._seconds)

    async def get(self, url: str) -> Slide:
        """Fetch and check a slide. This never fails: the complaints say what is wrong."""
        async with self._limit.slot(host_of(url)):
            try:
                return await Deferred.fromCoroutine(self._get(url)).addTimeout(self._seconds, self._reactor)
            except Exception as error:  # noqa: BLE001 - a foreign URL or server may cause any error.
                return Slide(url, b"", None, (f"not fetched: {_reason(error, self._seconds)}",))

    async def _get(self, url: str) -> Slide:
        connections = Connections(self._reactor, self._dial, self._most)
        try:
            response = await self._follow(url, Agent.usingEndpointFactory(self._reactor, connections))
            if response.code != 200:
                return Slide(url, b"", None, (f"not fetched: HTTP {response.code}",))
            slide = await self._check(url, response)
            connections.check()
            return slide
        finally:
            connections.close()

    async def _follow(self, url: str, agent: Agent) -> IResponse:
        """The response after all redirects."""
        for _ in range(REDIRECTS + 1):
            headers = Headers({"User-Agent": [f"radiovis/{__version__}"]})
            response: IResponse = await agent.request(b"GET", url.encode("ascii"), headers)
            place = response.headers.getRawHeaders("location")
            if response.code not in _MOVED or not place:
                return response
            url = urljoin(url, place[0]).partition("#")[0]
        raise ValueError(f"more than {REDIRECTS} redirects")

    async def _check(self, url: str, response: IResponse) -> Slide:
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
            # Checked only now, because a picture of another size may take any amount of memory when it is decoded.
            fault = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), decoding_fault, content)
            complaints += [fault] if fault else []
        return Slide(url, content, picture, tuple(complaints))


class _Body(Protocol):
    """Collects the body of a response. :class:`Connections` limits its length."""

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


def _reason(error: BaseException, seconds: float) -> str:
    if isinstance(error, (ResponseFailed, ResponseNeverReceived)) and error.reasons:
        error = error.reasons[0].value
    if isinstance(error, UnicodeEncodeError):
        return "its address has characters beyond ASCII"
    if isinstance(error, (TookTooLong, CancelledError)):
        return f"not complete within {seconds:g} s"
    return connect_failure(error, seconds)
