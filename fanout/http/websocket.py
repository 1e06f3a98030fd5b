"""WebSockets (RFC 6455): the opening handshake, and messages for a listener, pings, back-pressure, an orderly close.

wsproto reads and writes the frames. :class:`WebSocket` adds what wsproto leaves open: how much a message may hold, that
a client that sends nothing is asked whether it still lives, that nothing grows while a client does not read, and that
a client that sends many small frames does not hold up the others: wsproto needs more time for a frame of six octets
than for the rest of the way of a message.
:class:`WebSocketServer` is what all WebSockets of a node share.

:func:`accept` makes the handshake from an HTTP request (§4.2). Twisted has a WebSocket of its own
(``twisted.web.websocket``), but it agrees on no subprotocol, which browsers insist on once they have offered one, and
it bounds neither a message nor the time without one. wsproto's handshake parses the request anew, and fails with
exceptions that it does not document on odd headers. So the handshake is written here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import generate_accept_token
from zope.interface import implementer

from fanout.http.limits import MESSAGE_BYTES, PING_SECONDS, PONG_SECONDS, WebSocketSettings
from fanout.http.response import HttpError
from fanout.http.routing import Request
from fanout.hub.subscriber import Framing
from fanout.hub.timer_wheel import Wheel
from fanout.listeners import straight_write
from fanout.listeners.client_limits import LINGER_SECONDS, FairTurns, InputMemory
from fanout.listeners.tls import TlsTransport, client_certificates

_WHOLE = Connection(ConnectionType.SERVER)  # Shared: writing a whole message leaves no trace in it.


def text(data: bytes) -> bytes:
    """A text message, framed. What is not UTF-8 becomes a binary message."""
    try:
        return _WHOLE.send(TextMessage(data.decode()))
    except UnicodeDecodeError:
        return binary(data)


def binary(data: bytes) -> bytes:
    """A binary message, framed."""
    return _WHOLE.send(BytesMessage(data))


class Listener(Protocol):
    """Takes what a client sends over a WebSocket; :class:`fanout.stomp_server.connection.Connection` is one."""

    def received(self, data: bytes) -> None:
        """A piece of a message, in order. A listener is not told where messages end."""
        ...

    def full(self) -> None:
        """The client takes no more for now."""
        ...

    def drained(self) -> None:
        """It takes some again."""
        ...

    def gone(self) -> None:
        """The connection is closed. Called once."""
        ...


@dataclass(eq=False, slots=True)
class WebSocketServer:
    """What all WebSockets of a node share.

    :ivar reactor: for the one timer of a socket that is closing.
    :ivar settings: WEBSOCKET_…; new values count at once.
    :ivar clock: seconds, monotonic; the wheel's too.
    :ivar warn: logs a client's fault: event name, address, fields; limits itself.
    :ivar failed: is called with a socket that raised when its timer ran out, and the exception.
    :ivar input_memory: how much memory unfinished input may take, shared with other servers.
    :ivar turns: how many frames are worked on in one turn of the reactor; shared with other servers if it is given.
    """

    reactor: Any
    settings: WebSocketSettings
    clock: Callable[[], float]
    warn: Callable[..., None]
    failed: Callable[[object, Exception], None]
    wheel: Wheel[WebSocket] = field(default_factory=Wheel)
    sockets: set[WebSocket] = field(default_factory=set)
    input_memory: InputMemory = field(default_factory=InputMemory)
    turns: FairTurns = field(init=False)
    shared_turns: InitVar[FairTurns | None] = None

    def __post_init__(self, shared_turns: FairTurns | None) -> None:
        self.turns = shared_turns or FairTurns(partial(self.reactor.callLater, 0), self.failed)

    @property
    def origins(self) -> frozenset[str]:
        """Web pages whose scripts may connect; empty for all. Clients that are no browsers send no origin."""
        return frozenset(each.strip() for each in self.settings.WEBSOCKET_ORIGINS.split(",") if each.strip())

    def tick(self) -> None:
        """Look at every socket that is due. To be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self.failed)

    def go_away(self) -> None:
        """The node shuts down: sockets that close from now on are told so. It may take a while until all are closed."""
        for socket in self.sockets:
            socket.goodbye = CloseReason.GOING_AWAY


@implementer(IPushProducer)
class WebSocket(protocol.Protocol):
    """One WebSocket, from the end of its handshake on. For STOMP it is the transport.

    :ivar address: the client's IP address.
    :ivar port: and its port there.
    :ivar goodbye: the code with which we close a socket that made no mistake.
    :ivar framing: makes a message of octets: :func:`text` or :func:`binary`, whichever the client speaks itself.
    :ivar slot: the wheel's.
    """

    transport: Server
    kind = "stomp-websocket"

    def __init__(
        self, server: WebSocketServer, listen: Callable[[WebSocket], Listener], address: str = "", port: int = 0
    ) -> None:
        """:param listen: called when the connection stands; makes its listener."""
        self.address = address
        self.port = port
        self._server = server
        self._listen = listen
        self._listener: Listener | None = None
        self._frames = Connection(ConnectionType.SERVER)
        self._octets: int | None = None  # of the message that is coming in; None before the first one
        self._ping: bytes | None = None  # the client's latest one, to be answered
        self._heard_at: float = server.clock()
        self._pinged_at: float | None = None
        self._full = False
        self._paused = False
        self._waits = False  # for its turn to have the rest of what came read
        self._unread = 0  # octets of this rest, at the most
        self._counted = 0  # of these, in the sum over all clients
        self._silenced = False  # the transport is not read, for one of these reasons
        self._closing = False  # nothing is written any more
        self._said_goodbye = False
        self._gone = False
        self._deaf = False  # what comes can no longer be read as frames
        self._timer: Any = None
        self.goodbye = CloseReason.NORMAL_CLOSURE
        self.framing: Framing = text
        self.slot: int | None = None

    @property
    def listener(self) -> Listener | None:
        """The listener; None until the connection stands."""
        return self._listener

    # Twisted's side

    def connectionMade(self) -> None:
        self._server.sockets.add(self)
        self.transport.registerProducer(self, True)
        self._listener = self._listen(self)
        self._schedule()

    def dataReceived(self, data: bytes) -> None:
        self._hear()
        if self._deaf or self._frames.state in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED):
            return
        self._frames.receive_data(data)
        self._unread += len(data)
        if not self._waits:
            self.work(self._server.turns.grant)

    def work(self, most: int) -> None:
        """Act on so many frames; also called when it is this client's turn."""
        turns = self._server.turns
        self._waits = False
        frames = 0
        for event in islice(self._frames.events(), most):
            frames += 1
            self._act(event)
        turns.spend(frames)
        if frames < most or self._deaf:
            self._unread = 0
            if self._gone:
                self._listener = None
        else:
            self._waits = True
            turns.wait(self)
        self._count_input()
        self._read_or_wait()
        self._answer_ping()

    def _count_input(self) -> None:
        if self._unread != self._counted:  # seldom: most of what comes is read at once
            self._counted = self._unread
            self._server.input_memory.hold(self, self._unread)

    def _read_or_wait(self) -> None:
        """The transport is read while the listener can take what comes, and we what came before."""
        if self._closing or self._gone or (self._paused or self._waits) == self._silenced:
            return
        self._silenced = not self._silenced
        if self._silenced:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._closing = self._gone = True
        self._server.sockets.discard(self)
        self._server.wheel.forget(self)
        if not self._waits:
            self._unread = 0
            self._count_input()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        listener = self._listener
        if not self._waits:  # What it had sent in whole is worked off first.
            self._listener = None  # or the two would keep each other in memory
        if listener is not None:
            listener.gone()

    def pauseProducing(self) -> None:
        self._full = True
        if self._listener is not None:
            self._listener.full()

    def resumeProducing(self) -> None:
        self._full = False
        self._hear()
        self._answer_ping()
        if self._listener is not None:
            self._listener.drained()

    def stopProducing(self) -> None:
        """The transport is closing; :meth:`connectionLost` follows."""

    # What the client says

    def _act(self, event: Event) -> None:
        if isinstance(event, Message):
            self._take(event)
        elif self._gone:
            return
        elif isinstance(event, Ping):
            self._ping = bytes(event.payload)
        elif isinstance(event, CloseConnection):
            self._client_closes(event)

    def _take(self, piece: Message[Any]) -> None:
        if self._said_goodbye or self._listener is None:
            return
        data = piece.data.encode() if isinstance(piece, TextMessage) else bytes(piece.data)
        if self._octets is None:
            self.framing = text if isinstance(piece, TextMessage) else binary
        self._octets = (self._octets or 0) + len(data)
        if self._octets > MESSAGE_BYTES:
            self._fail(CloseReason.MESSAGE_TOO_BIG, f"a message may have {MESSAGE_BYTES} octets")
            return
        if piece.message_finished:
            self._octets = 0
        if data:
            if self._ping is not None:
                self._answer_ping()  # before what the listener answers (RFC 6455 §5.5.2: as soon as is practical)
            self._listener.received(data)

    def _answer_ping(self) -> None:
        """One Pong for all Pings that came without a message between them, which RFC 6455 §5.5.3 allows: a flood of
        Pings is no flood of Pongs, nor does it pile up for a client that does not read.
        """
        if self._ping is not None and not self._full and not self._closing and not self._waits:
            self._send(Pong(self._ping))
            self._ping = None

    def _client_closes(self, event: CloseConnection) -> None:
        """It closes, or has answered our Close frame; or wsproto cannot read on, and says so with the same event."""
        if self._frames.state is ConnectionState.CLOSED:
            self._hang_up()
        elif self._frames.state is ConnectionState.REMOTE_CLOSING:
            # The answers to what came before it are written at the end of this turn.
            self._timer = self._server.reactor.callLater(0, self._answer_close, event.response())
        else:
            self._deaf = True  # wsproto would keep for ever what still comes
            self._fail(event.code, event.reason or "")

    def _answer_close(self, close: CloseConnection) -> None:
        if not self._closing:
            self._say_goodbye(close)
        self._hang_up()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol, or a limit: say so, and close without its answer (RFC 6455 §7.1.7)."""
        if not self._closing:
            self._server.warn("websocket.fault", self.address, fault=reason, code=int(code))
            self._say_goodbye(CloseConnection(code, reason))
            self._shut_down()

    def _shut_down(self) -> None:
        """End our side behind what is written, and drop what still comes, for LINGER_SECONDS: closing with unread input
        makes the kernel send a reset, which can erase the Close frame before the client has read it.
        """
        self._timer = self._server.reactor.callLater(LINGER_SECONDS, self.abort)
        if isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()  # it says goodbye, and reads on
        else:
            self.transport.loseWriteConnection()

    # The listener's transport

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """What the client has presented."""
        return client_certificates(self.transport)

    def write(self, data: bytes) -> None:
        """Send messages that :attr:`framing` has made; any number of them, each whole."""
        if not self._closing:
            straight_write.write(self.transport, data)

    def pause(self) -> None:
        """Read no more from the client for now."""
        self._paused = True
        self._read_or_wait()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._hear()
        self._read_or_wait()

    def finish(self, code: int | None = None, reason: str = "") -> None:
        """Say goodbye, and wait for the client's answer, for LINGER_SECONDS."""
        if self._closing:
            return
        self._say_goodbye(CloseConnection(self.goodbye if code is None else code, reason))
        if self._frames.state is not ConnectionState.CLOSED:  # otherwise the client has closed already
            self._timer = self._server.reactor.callLater(LINGER_SECONDS, self._hang_up)

    def abort(self) -> None:
        """Close at once."""
        straight_write.abort(self.transport)

    # Limits of all clients

    @property
    def heard_at(self) -> float:
        """When the client was last heard."""
        return self._heard_at

    def close_for_others(self) -> None:
        """See :meth:`Guest.close_for_others <fanout.listeners.client_limits.Guest.close_for_others>`."""
        if self._full:
            self.abort()
        else:
            self.finish(CloseReason.TRY_AGAIN_LATER, "the server is full")

    def give_up(self) -> None:
        """See :meth:`InputHolder.give_up <fanout.listeners.client_limits.InputHolder.give_up>`."""
        self._deaf = True
        self._unread = self._counted = 0
        self._frames = Connection(ConnectionType.SERVER)
        self._fail(CloseReason.TRY_AGAIN_LATER, "all clients together have sent too much that waits to be read")

    def _say_goodbye(self, close: CloseConnection) -> None:
        """Nothing is sent behind a Close frame (RFC 6455 §5.5.1)."""
        self._closing = self._said_goodbye = True
        self._send(close)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()  # the client's answer may lie behind what we did not read

    def _hang_up(self) -> None:
        """Close once everything written has gone out; a client that does not read it gets as long again."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._server.reactor.callLater(LINGER_SECONDS, self.abort)
        self.transport.loseConnection()

    def _send(self, event: Event) -> None:
        self.transport.write(self._frames.send(event))

    # Time

    def on_timer(self, now: float) -> None:
        """For the wheel: ping a client that has sent nothing, drop one that does not answer."""
        if self._closing:
            return
        if self._paused:
            self._heard_at = now  # It could not be heard, and that is our doing; the listener watches over it.
        elif self._pinged_at is not None and now - self._pinged_at >= PONG_SECONDS:
            self._server.warn("websocket.silent", self.address, seconds=round(now - self._heard_at))
            self.abort()
            return
        elif self._pinged_at is None and now - self._heard_at >= PING_SECONDS:
            self._pinged_at = now
            if not self._full:  # Otherwise what fills the way to the client is as good as a Ping.
                self._send(Ping())
        self._schedule()

    def _hear(self) -> None:
        self._heard_at = self._server.clock()
        if self._pinged_at is not None:
            self._pinged_at = None
            self._schedule()

    def _schedule(self) -> None:
        if self._pinged_at is not None:
            self._server.wheel.schedule(self, self._pinged_at + PONG_SECONDS)
        else:
            self._server.wheel.schedule(self, self._heard_at + PING_SECONDS)


_KEY_OCTETS = 16


def accept(request: Request, server: WebSocketServer, protocols: Sequence[str] = ()) -> bytes:
    """The head of the response that makes a request a WebSocket: for an :class:`~fanout.http.response.Upgrade`.

    :param protocols: as for :func:`agree`.
    :raises HttpError: the request does not become one.
    """
    if request.method != "GET" or request.version != "HTTP/1.1":
        raise HttpError(400, "A WebSocket is opened with GET, in HTTP/1.1.")
    return _head(*agree(request.http.requestHeaders, protocols, server.origins))


def _head(key: bytes, subprotocol: str | None) -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + generate_accept_token(key),
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    return b"\r\n".join([*lines, b"", b""])


def agree(headers: Headers, protocols: Sequence[str], origins: frozenset[str]) -> tuple[bytes, str | None]:
    """Check the client's half of the handshake.

    :param protocols: the subprotocols served, the best first. If there are none, what a client offers is ignored.
    :param origins: web pages that may connect; empty for all.
    :return: the client's key, and the subprotocol; None when the client offered none.
    :raises HttpError: the request does not become a WebSocket.
    """
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        raise HttpError(426, "This address is a WebSocket.", Upgrade="websocket", Connection="upgrade")
    if _first(headers, "sec-websocket-version") != "13":
        raise HttpError(426, "This server speaks version 13 of WebSocket.", Sec_WebSocket_Version="13")
    key = _first(headers, "sec-websocket-key")
    if not _is_key(key):
        raise HttpError(400, "Sec-WebSocket-Key must be 16 octets in base64.")
    origin = _first(headers, "origin")
    if origins and origin and origin not in origins:
        raise HttpError(403, "Pages of this origin may not connect; see WEBSOCKET_ORIGINS.")
    return key.encode(), _choose(_tokens(headers, "sec-websocket-protocol"), protocols)


def _choose(offered: Sequence[str], protocols: Sequence[str]) -> str | None:
    """The subprotocol. A browser that offered some would refuse an answer without one, so it is told why instead."""
    if not offered or not protocols:
        return None
    for each in protocols:
        if each in offered:
            return each
    raise HttpError(400, f"None of the offered subprotocols is served; there are {', '.join(protocols)}.")


def _tokens(headers: Headers, name: str) -> list[str]:
    """The values of a header that is a list, in lower case. Every token that matters is ASCII."""
    values = ",".join(headers.getRawHeaders(name, []))
    return [token for each in values.lower().split(",") if (token := each.strip())]


def _first(headers: Headers, name: str) -> str:
    return headers.getRawHeaders(name, [""])[0].strip()


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_OCTETS
    except (binascii.Error, ValueError):
        return False
