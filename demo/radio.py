"""A demo radio: listens to every station and prints what its screen would show, slides fetched and checked."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from demo.programme import STATIONS, Station
from fanout.listeners.client import StompClient
from fanout.stomp.client import ClientEvent, Connected, ConnectRefused, MessageReceived

_PNG = b"\x89PNG\r\n\x1a\n"
_FETCH_TIMEOUT = 5.0  # what the HRadio receiver waits for a picture (contract §5, lesson 6)
_NAME_WIDTH = max(len(station.name) for station in STATIONS)


class Radio:
    """Prints until :meth:`stop`."""

    def __init__(self, reactor: Any, write: Callable[[str], None], failed: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._write = write
        self._failed = failed
        self._stations = {station.channel: station for station in STATIONS}
        self._client = StompClient(reactor, self._heard, failed)

    def start(self, port: int) -> None:
        """Switch it on."""
        self._client.session.connect(heartbeat=(10_000, 10_000))
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", port)
        connectProtocol(endpoint, self._client).addErrback(lambda failure: self._failed(failure.getErrorMessage()))

    def _heard(self, event: ClientEvent) -> None:
        if isinstance(event, Connected):
            for number, channel in enumerate(self._stations):
                self._client.session.subscribe(channel + "text", f"{number}t")
                self._client.session.subscribe(channel + "image", f"{number}i")
        elif isinstance(event, MessageReceived):
            self._show(event)
        elif isinstance(event, ConnectRefused):
            self._failed(event.summary)

    def _show(self, message: MessageReceived) -> None:
        station = self._stations[message.destination.rpartition("/")[0] + "/"]
        word, _, rest = message.body.decode("utf-8", "replace").partition(" ")
        if word == "SHOW":
            looked_at = Deferred.fromCoroutine(self._look_at(rest))
            looked_at.addBoth(lambda result: self._line(station, "slide", f"{rest}  {_words(result)}"))
        else:
            self._line(station, "text", rest)

    async def _look_at(self, url: str) -> str:
        response = await treq.get(url, timeout=_FETCH_TIMEOUT, persistent=False)
        if response.code != 200:
            return f"HTTP {response.code}"
        return describe(await treq.content(response))

    def _line(self, station: Station, kind: str, what: str) -> None:
        self._write(f"{time.strftime('%H:%M:%S')}  {station.name:<{_NAME_WIDTH}}  {kind:<5}  {what}")

    def stop(self) -> None:
        """Switch it off."""
        self._client.close()


def describe(picture: bytes) -> str:
    """A slide's format, size on the screen and size in kB, as far as it is a PNG."""
    size = f"{len(picture) / 1000:.1f} kB"
    if not picture.startswith(_PNG) or len(picture) < 24:
        return f"(no PNG, {size})"
    width, height = struct.unpack(">II", picture[16:24])
    return f"({width}x{height} PNG, {size})"


def _words(result: Any) -> str:
    return result if isinstance(result, str) else f"(not fetched: {result.getErrorMessage()})"
