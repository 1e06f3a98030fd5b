"""A demo station: logs in over STOMP like any broadcaster, and sends a slide and a text every few seconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from demo.programme import Station
from fanout.stomp.client import ConnectRefused
from radiovis.client.command_line import CommandError
from radiovis.client.conversation import Conversation, ConversationEnded, converse, error_text
from radiovis.client.server_address import ServerAddress

PASSWORD = "demo"
INTERVAL = 5.0
SILENCE = 8  # items a station that falls silent leaves out


class StationPublisher:
    """Sends one station's programme until :meth:`stop`."""

    def __init__(self, reactor: Any, station: Station, slides: str, failed: Callable[[str], None]) -> None:
        """
        :param slides: URL in front of a slide's file name.
        :param failed: called with the reason when the station cannot go on.
        """
        self._reactor = reactor
        self._station = station
        self._slides = slides
        self._failed = failed
        self._conversation: Conversation | None = None
        self._items = itertools.cycle(enumerate(station.items))
        self._sent = 0
        self._loop = LoopingCall(self._send_next)

    def start(self, port: int, delay: float, host: str = "127.0.0.1") -> None:
        """Log in.

        :param delay: seconds to wait before, so that the stations take turns.
        """
        server = ServerAddress(host, port, self._station.login, PASSWORD)
        self._reactor.callLater(delay, lambda: Deferred.fromCoroutine(self._publish(server)))

    async def _publish(self, server: ServerAddress) -> None:
        try:
            self._conversation, _ = await converse(self._reactor, server)
            self._loop.start(INTERVAL)
            while True:
                event = await self._conversation.next_event()
                if isinstance(event, ConnectRefused):
                    self._failed(error_text(event))
        except (CommandError, ConversationEnded) as error:
            self._failed(str(error))

    def _send_next(self) -> None:
        turn, self._sent = self._sent, self._sent + 1
        on_air = self._station.on_air
        if on_air is not None and turn % (on_air + SILENCE) >= on_air:
            return
        _, (slide, text) = next(self._items)
        channel = self._station.channel
        link = (("link", f"http://{self._station.login.partition('.')[2]}.example/"), ("trigger-time", "NOW"))
        assert self._conversation is not None
        session = self._conversation.session
        session.send(channel + "text", f"TEXT {text}".encode())
        session.send(channel + "image", f"SHOW {self._slides}{slide}".encode(), headers=link)
        self._conversation.flush()

    def stop(self) -> None:
        """Send no more, and close the connection."""
        if self._loop.running:
            self._loop.stop()
        if self._conversation is not None:
            self._conversation.close()
