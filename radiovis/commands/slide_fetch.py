"""Fetches slides as a receiver does: little time, little memory, and no more than a few at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import treq
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.web.client import Agent, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from fanout import __version__
from radiovis.commands.conversation import connect_failure
from radiovis.commands.picture import Picture, look_at

SECONDS = 5.0
"""What the HRadio receiver waits for a picture (contract §5, lesson 6)."""
MOST_OCTETS = 4 * 2**20
"""Far more than any radio takes, so that the complaint can name the size; beyond it we read no further."""
AT_ONCE = 4


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

    def __init__(self, reactor: Any, *, seconds: float = SECONDS, most_octets: int = MOST_OCTETS) -> None:
        """
        :param seconds: for one slide, from the request to its last octet.
        :param most_octets: read of one slide.
        """
        self._reactor = reactor
        self._client = treq.client.HTTPClient(Agent(reactor, connectTimeout=seconds))
        self._turn = DeferredSemaphore(AT_ONCE)
        self._seconds = seconds
        self._most = most_octets

    async def get(self, url: str) -> Slide:
        """Fetch and check one; never fails: what is wrong stands in the complaints."""
        async with _Turn(self._turn):
            try:
                fetched = Deferred.fromCoroutine(self._get(url)).addTimeout(self._seconds, self._reactor)
                return await fetched
            except Exception as error:  # noqa: BLE001 - somebody else's URL and server: anything may be wrong.
                return Slide(url, b"", None, (f"not fetched: {_reason(error, self._seconds)}",))

    async def _get(self, url: str) -> Slide:
        headers = Headers({"User-Agent": [f"radiovis/{__version__}"]})
        response = await self._client.get(url, headers=headers, unbuffered=True)
        if response.code != 200:
            return Slide(url, b"", None, (f"not fetched: HTTP {response.code}",))
        parts: list[bytes] = []
        size = 0

        def take(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > self._most:
                raise _TooLong
            parts.append(data)

        await treq.collect(response, take)
        content = b"".join(parts)
        picture = look_at(content)
        complaints = list(picture.complaints(response.headers.getRawHeaders("content-type", [None])[0]))
        if response.length is UNKNOWN_LENGTH:
            complaints.append("it is served without a Content-Length")
        return Slide(url, content, picture, tuple(complaints))


class _TooLong(Exception):
    """More than anybody wants to read."""


class _Turn:
    """``async with`` for a semaphore."""

    def __init__(self, semaphore: DeferredSemaphore) -> None:
        self._semaphore = semaphore

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._semaphore.release()


def _reason(error: BaseException, seconds: float) -> str:
    if isinstance(error, (ResponseFailed, ResponseNeverReceived)) and error.reasons:
        error = error.reasons[0].value
    if isinstance(error, _TooLong):
        return f"it is longer than {MOST_OCTETS} octets"
    if type(error).__name__ in ("TimeoutError", "CancelledError"):
        return f"not complete within {seconds:g} s"
    return connect_failure(error, seconds)
