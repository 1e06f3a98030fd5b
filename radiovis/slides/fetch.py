"""Fetches slides as a receiver does: little time, little memory, and no more than a few at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from fanout import __version__
from fanout.connecting import connect_failure
from radiovis.slides.connections import Connections, TooMuch
from radiovis.slides.picture import HEIGHT, MOST_OCTETS, WIDTH, Picture, decoding_fault, look_at
from radiovis.slides.turns import Turns, host_of

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
