"""A demo radio: subscribes to every station, and prints its texts and slides. It fetches each slide for its size."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import treq
from twisted.internet.defer import Deferred

from demo.programme import STATIONS, Station
from fanout.stomp.client import ConnectRefused, MessageReceived
from radiovis.client.command_line import CommandError
from radiovis.client.conversation import Conversation, ConversationEnded, converse, error_text
from radiovis.client.server_address import ServerAddress

_PNG = b"\x89PNG\r\n\x1a\n"
_FETCH_TIMEOUT = 5.0  # seconds, as in the HRadio receiver (contract §5, lesson 6)
_NAME_WIDTH = max(len(station.name) for station in STATIONS)


class DemoRadio:
    """Prints messages until :meth:`stop`."""

    def __init__(self, reactor: Any, write: Callable[[str], None], failed: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._write = write
        self._failed = failed
        self._stations = {station.channel: station for station in STATIONS}
        self._conversation: Conversation | None = None

    def start(self, port: int, host: str = "127.0.0.1") -> None:
        """Connect and subscribe."""
        Deferred.fromCoroutine(self._listen(ServerAddress(host, port)))

    async def _listen(self, server: ServerAddress) -> None:
        try:
            self._conversation, _ = await converse(self._reactor, server)
            for number, channel in enumerate(self._stations):
                self._conversation.session.subscribe(channel + "text", f"{number}t")
                self._conversation.session.subscribe(channel + "image", f"{number}i")
            self._conversation.flush()
            while True:
                event = await self._conversation.next_event()
                if isinstance(event, MessageReceived):
                    self._show(event)
                elif isinstance(event, ConnectRefused):
                    self._failed(error_text(event))
        except (CommandError, ConversationEnded) as error:
            self._failed(str(error))

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
        """Close the connection."""
        if self._conversation is not None:
            self._conversation.close()


def describe(picture: bytes) -> str:
    """The width and the height of a PNG slide, and the size of its file."""
    size = f"{len(picture) / 1000:.1f} kB"
    if not picture.startswith(_PNG) or len(picture) < 24:
        return f"(not a PNG, {size})"
    width, height = struct.unpack(">II", picture[16:24])
    return f"({width}x{height}, {size})"


def _words(result: Any) -> str:
    return result if isinstance(result, str) else f"(not fetched: {result.getErrorMessage()})"
