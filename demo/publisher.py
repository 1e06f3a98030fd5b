"""A demo station: logs in over STOMP like any broadcaster, and sends a slide and a text every few seconds.

The station also subscribes to its own channel. When another client publishes there, the station sends nothing for
:data:`QUIET_SECONDS`. So the users of the demo see their own text and slide instead of the next ones of the demo.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from demo.programme import Station
from fanout.hub.message import Message
from fanout.stomp.client import ConnectRefused, MessageReceived
from radiovis.client.command_line import CommandError
from radiovis.client.conversation import Conversation, ConversationEnded, converse, error_text
from radiovis.client.server_address import ServerAddress
from radiovis.watchdog.default_messages import is_default

PASSWORD = "demo"
INTERVAL = 5.0
"""Seconds between two items of a station."""
QUIET_SECONDS = 60.0
"""Seconds for which a station sends nothing after another client has published on its channel. They are enough to look
at the wall, at a phone, and at the output of ``sub``."""
FALLBACK_SECONDS = QUIET_SECONDS + 2 * INTERVAL
"""Seconds without a message after which the demo's watchdog sends a default. They are longer than
:data:`QUIET_SECONDS`, so that a default does not replace the text of a user, or the slide before it."""
SILENCE = 16
"""Items that the silent station omits. They take longer than :data:`FALLBACK_SECONDS`, so that the default of the
watchdog is shown."""
_NO_LAST_MESSAGE = (("x-ebu-nofastreply", "yes"),)  # Ignore messages from before the start of the demo.


class StationPublisher:
    """Sends the programme of one station until :meth:`stop`."""

    def __init__(self, reactor: Any, station: Station, slides: str, failed: Callable[[str], None]) -> None:
        """
        :param slides: the URL of the folder with the slides, with a trailing slash.
        :param failed: called with the reason when the station cannot continue.
        """
        self._reactor = reactor
        self._station = station
        self._slides = slides
        self._failed = failed
        self._conversation: Conversation | None = None
        self._items = itertools.cycle(station.items)
        self._sent = 0
        self._quiet_until = float("-inf")
        self._prefix = f"demo-{uuid4().hex}-"  # Our own message-ids begin with it. The server forwards them.
        self._loop = LoopingCall(self._send_next)

    def start(self, port: int, delay: float, host: str = "127.0.0.1") -> None:
        """Connect, log in and send the programme.

        :param delay: seconds to wait before the start, so that the stations take turns.
        """
        server = ServerAddress(host, port, self._station.login, PASSWORD)
        self._reactor.callLater(delay, lambda: Deferred.fromCoroutine(self._publish(server)))

    async def _publish(self, server: ServerAddress) -> None:
        try:
            self._conversation, _ = await converse(self._reactor, server)
            for kind in ("text", "image"):
                self._conversation.session.subscribe(self._station.channel + kind, kind, headers=_NO_LAST_MESSAGE)
            self._loop.start(INTERVAL)
            while True:
                event = await self._conversation.next_event()
                if isinstance(event, ConnectRefused):
                    self._failed(error_text(event))
                elif isinstance(event, MessageReceived):
                    self._heard(event)
        except (CommandError, ConversationEnded) as error:
            self._failed(str(error))

    def _heard(self, event: MessageReceived) -> None:
        """Stop sending for a while if the message is neither our own nor a default of the watchdog."""
        message = Message(event.destination, event.body, event.message_id, 0, event.headers)
        if not event.message_id.startswith(self._prefix) and not is_default(message):
            self._quiet_until = self._reactor.seconds() + QUIET_SECONDS

    def _send_next(self) -> None:
        if self._reactor.seconds() < self._quiet_until:
            return
        turn, self._sent = self._sent, self._sent + 1
        on_air = self._station.on_air
        if on_air is not None and turn % (on_air + SILENCE) >= on_air:
            return
        slide, text = next(self._items)
        channel = self._station.channel
        link = (("link", f"http://{self._station.login.partition('.')[2]}.example/"), ("trigger-time", "NOW"))
        assert self._conversation is not None
        session = self._conversation.session
        own_id = (("message-id", f"{self._prefix}{turn}"),)
        session.send(channel + "text", f"TEXT {text}".encode(), headers=own_id)
        session.send(channel + "image", f"SHOW {self._slides}{slide}".encode(), headers=(*link, *own_id))
        self._conversation.flush()

    def stop(self) -> None:
        """Stop sending, and close the connection."""
        if self._loop.running:
            self._loop.stop()
        if self._conversation is not None:
            self._conversation.close()
