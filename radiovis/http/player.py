"""Serves the EBU's HTML5 player (radiovis-html5player), which has its own protocol over WebSocket (contract §3).

The player opens ``/topic/<channel>`` and sends nothing. It receives ``RADIOVISWEBSOCKET:HELLO``, and then the STOMP
frames of a 1.0 client without their final NUL, for ``/topic/<channel>/text`` and ``/topic/<channel>/image``. The
original gateway looked up the station's server in DNS. Here the server itself answers; the player works unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fanout.application.interface import Application, Refused
from fanout.http.response import HttpError, Upgrade
from fanout.http.routing import Request
from fanout.http.websocket import WebSocket, WebSocketServer, accept, text
from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.outbox import Flusher
from fanout.hub.subscriber import Cohort, FramedForm, OutboxSubscriber
from fanout.listeners.client_limits import SubscriptionLimit
from fanout.stomp.dialect import DIALECTS
from fanout.stomp.limits import MAX_DESTINATION_BYTES
from fanout.stomp.server_frames import MessageForm

_PREFIX = b"RADIOVISWEBSOCKET:"
_HELLO = text(_PREFIX + b"HELLO\0")
_NO_VIS = text(_PREFIX + b"NOVIS\0")
_UNEXPECTED = text(_PREFIX + b"ERROR:Unexcepted message\0")  # The spelling of the original gateway.
_FAILED = text(_PREFIX + b"ERROR:The server made an error\0")
_FULL = text(_PREFIX + b"ERROR:Too many subscriptions\0")
_KINDS = ("image", "text")
_STOMP_10 = DIALECTS["1.0"]


class Player:
    """The handler of the paths to which players connect: ``/topic``, and every path below it."""

    def __init__(
        self,
        application: Application,
        hub: Hub,
        flusher: Flusher,
        server: WebSocketServer,
        log: Any,
        subscription_limit: SubscriptionLimit,
    ) -> None:
        self.server = server
        self.application = application
        self.hub = hub
        self.flusher = flusher
        self.log = log
        self.subscription_limit = subscription_limit

    def open(self, request: Request) -> Upgrade:
        """Open a WebSocket for the channel in the path.

        :raises HttpError: the request is not a valid handshake, or the path has no valid channel.
        """
        head = accept(request, self.server)
        channel = self._channel(request.path)

        def connect(socket: WebSocket) -> PlayerClient:
            return PlayerClient(self, socket, channel)

        return Upgrade(WebSocket(self.server, connect, request.address, request.port), head)

    def _channel(self, path: str) -> str:
        """The path in the player's spelling, because the player compares the destinations of messages with it."""
        channel = path.rstrip("/")
        if len(channel.encode()) + len("/image") > MAX_DESTINATION_BYTES:
            raise HttpError(414, f"A topic may have {MAX_DESTINATION_BYTES} octets.")
        if not channel.isprintable() or channel.count("/") <= 1:
            raise HttpError(400, "The path must be /topic/ and a channel, such as /topic/fm/4e1/4000/09580.")
        return channel


class PlayerClient(OutboxSubscriber):
    """One player: a subscriber, and the listener of its WebSocket."""

    __slots__ = ("_channel", "_cohorts", "_gone", "_player", "_socket")
    protocol = "player"

    def __init__(self, player: Player, socket: WebSocket, channel: str) -> None:
        super().__init__(player.flusher)
        self._player = player
        self._socket = socket
        self._channel = channel
        self._cohorts: list[Cohort] = []
        self._gone = False
        resolved = Deferred.fromCoroutine(self._subscribe())
        resolved.addErrback(self._failed)

    async def _subscribe(self) -> None:
        """Send HELLO and the messages when both topics are resolved, otherwise an error, which the player shows."""
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
        if not self._player.subscription_limit.take(self.address, len(topics)):
            self._player.server.warn("client.fault", self.address, fault="Too many subscriptions")
            self._end(_FULL)
            return
        self._outbox.send(_HELLO)
        for destination, resolved in topics:
            self._join(destination, resolved.topic)
        for cohort in list(self._cohorts):
            await self._recall(cohort)

    def _join(self, destination: str, topic: str) -> None:
        cohort, last = self._player.hub.join(topic, FramedForm(PlayerForm(destination), text), self)
        self._cohorts.append(cohort)
        if last is not None:
            self.show(cohort, last)

    async def _recall(self, cohort: Cohort) -> None:
        topic = cohort.topic
        message = await self._player.hub.recall(topic, self._player.application.recall)
        if message is not None and cohort.topic == topic and not self._gone:
            self.show(cohort, message)

    def _end(self, last_words: bytes) -> None:
        if not self._gone:
            self._outbox.send(last_words)
            self._outbox.flush()
            self._socket.finish()

    def _failed(self, failure: Failure) -> None:
        self._player.log.error("player.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
        self._end(_FAILED)

    # The subscriber

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self._socket.address

    def write(self, data: bytes) -> None:
        """Send octets to the client. Called by the outbox."""
        self._socket.write(data)

    def cut_off(self) -> None:
        """Disconnect a client that does not read. Called by the outbox."""
        self._player.server.warn("client.slow", self.address, reason="does not read what it is sent")
        self._socket.abort()

    # The WebSocket's listener

    def received(self, data: bytes) -> None:
        """Close the connection with an error, because a player must not send anything."""
        self._end(_UNEXPECTED)

    def full(self) -> None:
        """The buffer of the connection is full; messages wait in the outbox."""
        self._outbox.block()

    def drained(self) -> None:
        """The buffer of the connection has room again."""
        self._outbox.unblock()

    def gone(self) -> None:
        """The connection is closed."""
        self._gone = True
        self._outbox.close()
        for cohort in self._cohorts:
            self._player.hub.leave(cohort, self)
        self._player.subscription_limit.give_back(self.address, len(self._cohorts))
        self._cohorts.clear()


@dataclass(frozen=True, slots=True)
class PlayerForm:
    """A MESSAGE frame of STOMP 1.0 without its final NUL. It is always a text message: the player splits it into lines.

    :ivar destination: the destination in the player's spelling.
    """

    destination: str

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets of the frame. Octets that are not UTF-8 are replaced, because a browser closes a WebSocket with an
        error if a text message contains them.
        """
        frame = MessageForm(_STOMP_10, self.destination).encode(message, encoded)
        return frame.removesuffix(b"\0").decode("utf-8", "replace").encode()
