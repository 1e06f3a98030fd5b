"""WebSockets (RFC 6455): the opening handshake, the messages for a listener, pings, backpressure, and the closing
handshake.

wsproto parses and writes the frames. :class:`WebSocket` adds what wsproto does not have: a limit for the length of a
message, pings for silent clients, no growing buffers while a client does not read, and fair turns, because wsproto
needs more time for a frame of six octets than all other code needs for a message.
:class:`WebSocketServer` contains the objects that all WebSockets of a node share.

:func:`accept` makes the answer to the handshake of an HTTP request (§4.2). Twisted has WebSockets as well
(``twisted.web.websocket``), but they do not negotiate a subprotocol, which browsers require if they offered one, and
they limit neither the length of a message nor the time without messages. wsproto's handshake parses the request a
second time, and raises undocumented exceptions for unusual headers. Therefore the handshake is implemented here.
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

_WHOLE = Connection(ConnectionType.SERVER)  # Shared, because writing a whole message does not change its state.


def text(data: bytes) -> bytes:
    """Encode a text message. Octets that are not UTF-8 become a binary message."""
    try:
        return _WHOLE.send(TextMessage(data.decode()))
    except UnicodeDecodeError:
        return binary(data)


def binary(data: bytes) -> bytes:
    """Encode a binary message."""
    return _WHOLE.send(BytesMessage(data))


class Listener(Protocol):
    """Receives what a client sends over a WebSocket; :class:`fanout.stomp_server.connection.Connection` is one."""

    def received(self, data: bytes) -> None:
        """Handle a piece of a message. Pieces arrive in order; the ends of messages are not reported."""
        ...

    def full(self) -> None:
        """The buffer of the connection is full."""
        ...

    def drained(self) -> None:
        """The buffer of the connection has room again."""
        ...

    def gone(self) -> None:
        """The connection is closed. Called once."""
        ...


@dataclass(eq=False, slots=True)
class WebSocketServer:
    """The objects that all WebSockets of a node share.

    :ivar reactor: for the timer of a WebSocket that is closing.
    :ivar settings: the settings WEBSOCKET_…; new values apply at once.
    :ivar clock: a monotonic clock in seconds; the wheel uses the same.
    :ivar warn: logs a client's fault; called with event name, address and fields. It limits the number of lines.
    :ivar failed: called with a WebSocket whose timer or turn raised an exception, and the exception.
    :ivar wheel: calls the timers of the WebSockets.
    :ivar sockets: the open WebSockets.
    :ivar input_memory: limits the memory of unfinished input, together with other servers.
    :ivar turns: limits the number of frames that one turn of the reactor processes; ``shared_turns`` if it is given.
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
        """The origins of web pages whose scripts may connect; empty for all. Only browsers send an origin."""
        return frozenset(each.strip() for each in self.settings.WEBSOCKET_ORIGINS.split(",") if each.strip())

    def tick(self) -> None:
        """Call ``on_timer`` of every WebSocket that is due. Must be called once per tick of the wheel."""
        self.wheel.turn(self.clock(), self.failed)

    def go_away(self) -> None:
        """Use the code 1001 for WebSockets that are closed from now on, because the node shuts down."""
        for socket in self.sockets:
            socket.goodbye = CloseReason.GOING_AWAY


@implementer(IPushProducer)
class WebSocket(protocol.Protocol):
    """One WebSocket after its handshake. For STOMP it is the transport.

    :ivar address: the client's IP address.
    :ivar port: the client's port.
    :ivar goodbye: the code of the Close frame for a client that made no error.
    :ivar framing: encodes a message: :func:`text` or :func:`binary`, the same kind as the client's last message.
    :ivar slot: the position in the timer wheel; only the wheel uses it.
    """

    transport: Server
    kind = "stomp-websocket"

    def __init__(
        self, server: WebSocketServer, listen: Callable[[WebSocket], Listener], address: str = "", port: int = 0
    ) -> None:
        """
        :param server: the objects that all WebSockets share.
        :param listen: makes the listener; called when the connection is established.
        :param address: the client's IP address.
        :param port: the client's port.
        """
        self.address = address
        self.port = port
        self._server = server
        self._listen = listen
        self._listener: Listener | None = None
        self._frames = Connection(ConnectionType.SERVER)
        self._octets: int | None = None  # octets of the message that is arriving; None before the first message
        self._ping: bytes | None = None  # payload of the client's last Ping, if it is not answered
        self._heard_at: float = server.clock()
        self._pinged_at: float | None = None
        self._full = False
        self._paused = False
        self._waits = False  # unprocessed frames wait for their turn
        self._unread = 0  # upper bound of the octets of these frames
        self._counted = 0  # octets that were reported to input_memory
        self._silenced = False  # reading from the transport is paused
        self._closing = False  # nothing more is written
        self._said_goodbye = False
        self._gone = False
        self._deaf = False  # further input is dropped
        self._timer: Any = None
        self.goodbye = CloseReason.NORMAL_CLOSURE
        self.framing: Framing = text
        self.slot: int | None = None

    @property
    def listener(self) -> Listener | None:
        """The listener; None before the connection is established, and after it is closed."""
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
        """Process frames. Also called when it is this client's turn. :param most: the maximum number of frames."""
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
        if self._unread != self._counted:  # rare, because most input is processed at once
            self._counted = self._unread
            self._server.input_memory.hold(self, self._unread)

    def _read_or_wait(self) -> None:
        """Pause reading while the listener has paused it, or frames wait for their turn; otherwise resume it."""
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
        if not self._waits:  # Complete messages that wait for their turn are processed first.
            self._listener = None  # Otherwise the two would keep each other in memory.
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

    # Frames of the client

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
                self._answer_ping()  # before the listener's answer (RFC 6455 §5.5.2: as soon as is practical)
            self._listener.received(data)

    def _answer_ping(self) -> None:
        """Send one Pong for all Pings since the last message, as RFC 6455 §5.5.3 allows. So many Pings do not cause as
        many Pongs, and Pongs do not accumulate for a client that does not read.
        """
        if self._ping is not None and not self._full and not self._closing and not self._waits:
            self._send(Pong(self._ping))
            self._ping = None

    def _client_closes(self, event: CloseConnection) -> None:
        """Handle a Close frame: the client closes, or answers our Close frame. wsproto also reports an invalid frame in
        this way.
        """
        if self._frames.state is ConnectionState.CLOSED:
            self._hang_up()
        elif self._frames.state is ConnectionState.REMOTE_CLOSING:
            # The answers to earlier messages are written at the end of this turn.
            self._timer = self._server.reactor.callLater(0, self._answer_close, event.response())
        else:
            self._deaf = True  # wsproto would store all further input
            self._fail(event.code, event.reason or "")

    def _answer_close(self, close: CloseConnection) -> None:
        if not self._closing:
            self._say_goodbye(close)
        self._hang_up()

    def _fail(self, code: int, reason: str) -> None:
        """Send a Close frame with the reason to a client that violated the protocol or a limit, and close the
        connection without waiting for its answer (RFC 6455 §7.1.7).
        """
        if not self._closing:
            self._server.warn("websocket.fault", self.address, fault=reason, code=int(code))
            self._say_goodbye(CloseConnection(code, reason))
            self._shut_down()

    def _shut_down(self) -> None:
        """Close the sending side after the written octets, and drop further input for LINGER_SECONDS. If the connection
        were closed with unread input, the kernel would send a reset, which can erase the Close frame before the client
        has read it.
        """
        self._timer = self._server.reactor.callLater(LINGER_SECONDS, self.abort)
        if isinstance(self.transport, TlsTransport):
            self.transport.loseConnection()  # sends a TLS alert, and continues reading
        else:
            self.transport.loseWriteConnection()

    # The listener's transport

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The TLS certificates that the client has presented."""
        return client_certificates(self.transport)

    def write(self, data: bytes) -> None:
        """Send any number of whole messages that :attr:`framing` has encoded."""
        if not self._closing:
            straight_write.write(self.transport, data)

    def pause(self) -> None:
        """Pause reading from the client."""
        self._paused = True
        self._read_or_wait()

    def resume(self) -> None:
        """Resume reading."""
        self._paused = False
        self._hear()
        self._read_or_wait()

    def finish(self, code: int | None = None, reason: str = "") -> None:
        """Send a Close frame, and wait for the client's answer for at most LINGER_SECONDS.

        :param code: the code of the Close frame; None for :attr:`goodbye`.
        :param reason: the reason in the Close frame.
        """
        if self._closing:
            return
        self._say_goodbye(CloseConnection(self.goodbye if code is None else code, reason))
        if self._frames.state is not ConnectionState.CLOSED:  # otherwise the client has closed already
            self._timer = self._server.reactor.callLater(LINGER_SECONDS, self._hang_up)

    def abort(self) -> None:
        """Close the connection at once, without a Close frame."""
        straight_write.abort(self.transport)

    # Limits of all clients

    @property
    def heard_at(self) -> float:
        """The time at which the client last sent something, or read after its buffer was full."""
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
        self._fail(CloseReason.TRY_AGAIN_LATER, "all clients together have sent too much unfinished input")

    def _say_goodbye(self, close: CloseConnection) -> None:
        """Send a Close frame. Nothing may be sent after it (RFC 6455 §5.5.1)."""
        self._closing = self._said_goodbye = True
        self._send(close)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()  # the client's answer may follow input that was not read

    def _hang_up(self) -> None:
        """Close the connection when all written octets are sent, or after LINGER_SECONDS."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._server.reactor.callLater(LINGER_SECONDS, self.abort)
        self.transport.loseConnection()

    def _send(self, event: Event) -> None:
        self.transport.write(self._frames.send(event))

    # Time

    def on_timer(self, now: float) -> None:
        """Ping a silent client, and disconnect one that does not answer the Ping. Called by the timer wheel."""
        if self._closing:
            return
        if self._paused:
            self._heard_at = now  # Its input is not read; meanwhile the listener has its own time limit.
        elif self._pinged_at is not None and now - self._pinged_at >= PONG_SECONDS:
            self._server.warn("websocket.silent", self.address, seconds=round(now - self._heard_at))
            self.abort()
            return
        elif self._pinged_at is None and now - self._heard_at >= PING_SECONDS:
            self._pinged_at = now
            if not self._full:  # Otherwise the octets in the buffer have the same effect as a Ping.
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
    """Make the head of the response 101 to a handshake, for an :class:`~fanout.http.response.Upgrade`.

    :param request: the request.
    :param server: has the origins that may connect.
    :param protocols: the subprotocols, as for :func:`agree`.
    :raises HttpError: the request is not a valid handshake, or not allowed.
    """
    if request.method != "GET" or request.version != "HTTP/1.1":
        raise HttpError(400, "A WebSocket must be opened with GET and HTTP/1.1.")
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
    """Check the headers of a client's handshake.

    :param headers: the headers of the request.
    :param protocols: the subprotocols that are served, in order of preference. If there are none, the client's offer is
        ignored.
    :param origins: the origins of web pages that may connect; empty for all.
    :return: the client's key, and the subprotocol; None if the client offered none, or none is served.
    :raises HttpError: the request is not a valid handshake, or not allowed.
    """
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        raise HttpError(426, "This address needs a WebSocket.", Upgrade="websocket", Connection="upgrade")
    if _first(headers, "sec-websocket-version") != "13":
        raise HttpError(426, "This server supports version 13 of WebSocket.", Sec_WebSocket_Version="13")
    key = _first(headers, "sec-websocket-key")
    if not _is_key(key):
        raise HttpError(400, "Sec-WebSocket-Key must be 16 octets in base64.")
    origin = _first(headers, "origin")
    if origins and origin and origin not in origins:
        raise HttpError(403, "Pages of this origin may not connect; see WEBSOCKET_ORIGINS.")
    return key.encode(), _choose(_tokens(headers, "sec-websocket-protocol"), protocols)


def _choose(offered: Sequence[str], protocols: Sequence[str]) -> str | None:
    """Choose the subprotocol. If a browser offered only others, it gets an error with the reason, because it would
    refuse an answer without a subprotocol.
    """
    if not offered or not protocols:
        return None
    for each in protocols:
        if each in offered:
            return each
    raise HttpError(400, f"None of the offered subprotocols is served; this server has {', '.join(protocols)}.")


def _tokens(headers: Headers, name: str) -> list[str]:
    """The elements of a header that is a list, in lower case. All tokens that are compared with them are ASCII."""
    values = ",".join(headers.getRawHeaders(name, []))
    return [token for each in values.lower().split(",") if (token := each.strip())]


def _first(headers: Headers, name: str) -> str:
    return headers.getRawHeaders(name, [""])[0].strip()


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_OCTETS
    except (binascii.Error, ValueError):
        return False
