"""A demo station: logs in over STOMP like any broadcaster, and sends a slide and a text every few seconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.task import LoopingCall

from demo.programme import Station
from fanout.listeners.client import StompClient
from fanout.stomp.client import ClientEvent, Connected, ConnectRefused

PASSWORD = "demo"
INTERVAL = 5.0
SILENCE = 8  # items a station that falls silent leaves out


class Publisher:
    """Sends one station's programme until :meth:`stop`."""

    def __init__(self, reactor: Any, station: Station, slides: str, failed: Callable[[str], None]) -> None:
        """
        :param slides: URL in front of a slide's file name.
        :param failed: told, in words, why the station is off the air.
        """
        self._reactor = reactor
        self._station = station
        self._slides = slides
        self._failed = failed
        self._client = StompClient(reactor, self._heard, failed)
        self._items = itertools.cycle(enumerate(station.items))
        self._sent = 0
        self._loop = LoopingCall(self._send_next)

    def start(self, port: int, delay: float, host: str = "127.0.0.1") -> None:
        """Log in, after a while so that the stations take turns."""
        self._client.session.connect(self._station.login, PASSWORD, heartbeat=(10_000, 10_000))
        endpoint = HostnameEndpoint(self._reactor, host, port)
        self._reactor.callLater(delay, lambda: connectProtocol(endpoint, self._client).addErrback(self._unreachable))

    def _unreachable(self, failure: Any) -> None:
        self._failed(failure.getErrorMessage())

    def _heard(self, event: ClientEvent) -> None:
        if isinstance(event, Connected):
            self._loop.start(INTERVAL)
        elif isinstance(event, ConnectRefused):
            self._failed(event.summary)

    def _send_next(self) -> None:
        turn, self._sent = self._sent, self._sent + 1
        on_air = self._station.on_air
        if on_air is not None and turn % (on_air + SILENCE) >= on_air:
            return
        _, (slide, text) = next(self._items)
        channel = self._station.channel
        link = (("link", f"http://{self._station.login.partition('.')[2]}.example/"), ("trigger-time", "NOW"))
        self._client.session.send(channel + "text", f"TEXT {text}".encode())
        self._client.session.send(channel + "image", f"SHOW {self._slides}{slide}".encode(), headers=link)
        self._client.flush()

    def stop(self) -> None:
        """Off the air."""
        if self._loop.running:
            self._loop.stop()
        self._client.close()
