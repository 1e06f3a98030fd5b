"""The EBU's HTML5 player (radiovis-html5player), which speaks a small dialect of its own over WebSocket (contract §3).

The player opens ``/topic/<channel>`` and sends nothing. It is told ``RADIOVISWEBSOCKET:HELLO``, and then gets the
STOMP frames a 1.0 client would get, without their NUL, for ``/topic/<channel>/text`` and ``/image``. Its gateway looked
up the station's server in DNS first; here the server itself answers, so the player works with one hop less, unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.application.interface import Application, Refused
from fanout.http.handshake import accept
from fanout.http.response import HttpError, Upgrade
from fanout.http.routing import Request
from fanout.http.websocket import WebSocket, WebSocketServer, text
from fanout.hub.hub import Cohort, FramedForm, Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher, Outbox
from fanout.listeners.limits import SubscriptionLimit
from fanout.stomp.delivery import MessageForm
from fanout.stomp.dialect import DIALECTS

_PREFIX = b"RADIOVISWEBSOCKET:"
_HELLO = text(_PREFIX + b"HELLO\0")
_NO_VIS = text(_PREFIX + b"NOVIS\0")
_UNEXPECTED = text(_PREFIX + b"ERROR:Unexcepted message\0")  # The spelling is the original's, and on the wire.
_FAILED = text(_PREFIX + b"ERROR:The server made an error\0")
_FULL = text(_PREFIX + b"ERROR:Too many subscriptions\0")
_KINDS = ("image", "text")
_STOMP_10 = DIALECTS["1.0"]


class Player:
    """The handler of the paths where players connect: ``/topic``, and every path below it."""

    def __init__(
        self,
        application: Application,
        hub: Hub,
        flusher: Flusher,
        door: WebSocketServer,
        log: Any,
        subscription_limit: SubscriptionLimit,
        *,
        destination_bytes: int = 1_024,
    ) -> None:
        """:param destination_bytes: the longest topic somebody may ask for, as for STOMP clients."""
        self.door = door
        self.application = application
        self.hub = hub
        self.flusher = flusher
        self.log = log
        self.subscription_limit = subscription_limit
        self._destination_bytes = destination_bytes

    def open(self, request: Request) -> Upgrade:
        """A viewer of the channel in the path. :raises HttpError: the request is no handshake, or names no channel."""
        head = accept(request, self.door)
        channel = self._channel(request.path)

        def connect(socket: WebSocket) -> PlayerClient:
            return PlayerClient(self, socket, channel)

        return Upgrade(WebSocket(self.door, connect, request.address, request.port), head)

    def _channel(self, path: str) -> str:
        """The path as the player's page spells it: it compares the destinations of messages with that."""
        channel = path.rstrip("/")
        if len(channel.encode()) + len("/image") > self._destination_bytes:
            raise HttpError(414, f"A topic may have {self._destination_bytes} octets.")
        if not channel.isprintable() or channel.count("/") <= 1:
            raise HttpError(400, "A player's address is /topic/ and a channel, such as /topic/fm/4e1/4000/09580.")
        return channel


class PlayerClient:
    """One player, as the WebSocket's listener and the hub's member."""

    __slots__ = ("_channel", "_gone", "_outbox", "_places", "_player", "_socket", "_taken")
    protocol = "player"

    def __init__(self, player: Player, socket: WebSocket, channel: str) -> None:
        self._player = player
        self._socket = socket
        self._channel = channel
        self._outbox = Outbox(self, player.flusher)
        self._places: list[Cohort] = []
        self._taken = 0  # places of the quota
        self._gone = False
        resolved = Deferred.fromCoroutine(self._tune_in())
        resolved.addErrback(self._failed)

    async def _tune_in(self) -> None:
        """HELLO comes once both topics are known to be some: the player shows what it is told instead."""
        topics = []
        for kind in _KINDS:
            destination = f"{self._channel}/{kind}"
            try:
                topics.append((destination, await self._player.application.resolve(destination, ())))
            except Refused:
                self._end(_NO_VIS)
                return
        if self._gone:
            return
        if not self._take_places(len(topics)):
            self._player.door.warn("client.fault", self.address, fault="Too many subscriptions")
            self._end(_FULL)
            return
        self._outbox.send(_HELLO)
        for destination, resolved in topics:
            self._join(destination, resolved.topic)
        for cohort in list(self._places):
            await self._recall(cohort)

    def _take_places(self, number: int) -> bool:
        while self._taken < number and self._player.subscription_limit.take(self.address):
            self._taken += 1
        return self._taken == number

    def _join(self, destination: str, topic: str) -> None:
        cohort, last = self._player.hub.join(topic, FramedForm(PlayerForm(destination), text), self)
        self._places.append(cohort)
        if last is not None:
            self._show(cohort, last)

    async def _recall(self, cohort: Cohort) -> None:
        """Ask the other nodes' memory for what this one does not have, as the STOMP door does."""
        hub = self._player.hub
        if hub.last(cohort.topic) is not None:
            return
        message = await self._player.application.recall(cohort.topic)
        if message is None:
            return
        if hub.last(cohort.topic) is None:
            hub.remember(cohort.topic, message)
        if hub.last(cohort.topic) is message and not self._gone:
            self._show(cohort, message)

    def _show(self, cohort: Cohort, message: Message) -> None:
        self.offer(cohort, message, cohort.form.encode(message, {}))

    def _end(self, last_words: bytes) -> None:
        if not self._gone:
            self._outbox.send(last_words)
            self._outbox.flush()
            self._socket.finish()

    def _failed(self, failure: Failure) -> None:
        self._player.log.error("player.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
        self._end(_FAILED)

    # The hub's member

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self._socket.address

    @property
    def outbox(self) -> Outbox:
        """What waits for it."""
        return self._outbox

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        """A message for this player."""
        self._outbox.offer(cohort, data)

    # The outbox's sink

    def write(self, data: bytes) -> None:
        """To the client."""
        self._socket.write(data)

    def cut_off(self) -> None:
        """The client does not read even what is left of its messages."""
        self._player.door.warn("client.slow", self.address, reason="does not read what it is sent")
        self._socket.abort()

    # The WebSocket's listener

    def received(self, data: bytes) -> None:
        """A player has nothing to say."""
        self._end(_UNEXPECTED)

    def full(self) -> None:
        """The client takes no more for now; the outbox keeps the newest."""
        self._outbox.block()

    def drained(self) -> None:
        """It takes some again."""
        self._outbox.unblock()

    def gone(self) -> None:
        """The connection is closed."""
        self._gone = True
        self._outbox.close()
        for cohort in self._places:
            self._player.hub.leave(cohort, self)
        self._places.clear()
        for _ in range(self._taken):
            self._player.subscription_limit.give_back(self.address)


@dataclass(frozen=True, slots=True)
class PlayerForm:
    """A MESSAGE as a 1.0 client gets it, but for its last NUL, and always text: the player splits it into lines.

    :ivar destination: in the spelling of the player's page.
    """

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets. What is not UTF-8 is replaced: in a text message a browser would take it for a fault of ours."""
        frame = MessageForm(_STOMP_10, self.destination).encode(message, encoded)
        return frame.removesuffix(b"\0").decode("utf-8", "replace").encode()
