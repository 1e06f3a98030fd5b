"""The client's side of a STOMP session, without networking.

    session.connect("1.rock", "secret")
    while there is a connection:
        transport.write(session.data_to_send(now))
        session.receive_data(octets, now)
        while event := session.next_event():
            ...

The session encodes each command as the server's version requires it, for example ACK, which differs between 1.0, 1.1
and 1.2. The events are :class:`Connected`, :class:`MessageReceived`, :class:`Receipted` and :class:`ConnectRefused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fanout.stomp.codec import Decoder, Frame, Headers, LocalProtocolError, RemoteProtocolError, encode
from fanout.stomp.dialect import DIALECTS, VERSIONS, Dialect
from fanout.stomp.limits import StompLimits
from fanout.stomp.negotiation import Heartbeat


@dataclass(frozen=True, slots=True)
class Connected:
    """The server sent CONNECTED.

    :ivar version: the version of STOMP that the server chose.
    :ivar session: the ``session`` header; empty if there is none.
    :ivar headers: all headers of CONNECTED.
    """

    version: str
    session: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """The server sent a MESSAGE.

    :ivar subscription: our id of the subscription; None if we gave no id to a 1.0 server.
    """

    destination: str
    message_id: str
    subscription: str | None
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipted:
    """The server has processed the frame with this receipt.

    :ivar receipt: the ``receipt`` header of that frame.
    :ivar headers: all headers of the RECEIPT. Additional ones are information for people.
    """

    receipt: str
    headers: Headers = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ConnectRefused:
    """The server sent an ERROR. It ends the session, except in STOMP 1.0 after CONNECTED.

    :ivar summary: the ``message`` header.
    :ivar detail: the body, as text.
    :ivar receipt: the receipt of the frame at fault; None if the server does not name it.
    :ivar headers: all headers of the ERROR.
    """

    summary: str
    detail: str
    receipt: str | None
    headers: Headers


ClientEvent = Connected | MessageReceived | Receipted | ConnectRefused


class ClientSession:
    """The client's side of one connection. Times are seconds on the caller's clock.

    :ivar dialect: the version of the session; None until CONNECTED, unless we offer only one version.
    :ivar connected: whether the server has sent CONNECTED.
    :ivar closed: whether the session is over: no frames may be sent any more.
    """

    def __init__(self, now: float, limits: StompLimits | None = None) -> None:
        """
        :param now: the current time in seconds.
        :param limits: the limits of frames and headers that the server may send.
        """
        self.dialect: Dialect | None = None
        self.connected = False
        self.closed = False
        self._decoder = Decoder(limits or StompLimits())
        self._offered: Sequence[str] = ()
        self._wished = (0, 0)
        self._heartbeat = Heartbeat()
        self._out: list[bytes] = []
        self._heard_at = self._sent_at = now

    # Commands

    def connect(
        self,
        login: str = "",
        passcode: str = "",
        *,
        versions: Sequence[str] = VERSIONS,
        heartbeat: tuple[int, int] = (0, 0),
        host: str | None = None,
        headers: Headers = (),
    ) -> None:
        """Send CONNECT.

        :param login: the login; empty together with ``passcode`` for an anonymous listener.
        :param passcode: the password.
        :param versions: the versions to offer. With 1.0 only, CONNECT has no ``accept-version`` and ``heart-beat``.
        :param heartbeat: milliseconds between the heart-beats that we can send, and between those we want; 0 for none.
        :param host: the ``host`` header; None for no such header.
        :param headers: additional headers.
        :raises LocalProtocolError: when it is called twice.
        """
        if self._offered:
            raise LocalProtocolError("connect() was called twice")
        self._offered, self._wished = versions, heartbeat
        given = [("login", login), ("passcode", passcode)] if login or passcode else []
        if tuple(versions) != ("1.0",):
            given += [("accept-version", ",".join(versions)), ("heart-beat", "{},{}".format(*heartbeat))]
        if host is not None:
            given.append(("host", host))
        self._out.append(encode(Frame("CONNECT", (*given, *headers)), DIALECTS["1.0"]))
        if len(versions) == 1:
            self.dialect = DIALECTS[versions[0]]

    def subscribe(
        self,
        destination: str,
        id: str | None = None,
        *,
        ack: str = "auto",
        headers: Headers = (),
        receipt: str | None = None,
    ) -> None:
        """Subscribe to a destination. :param id: from STOMP 1.1 on, the server requires one."""
        mode = None if ack == "auto" else ack
        self._command("SUBSCRIBE", headers, destination=destination, id=id, ack=mode, receipt=receipt)

    def unsubscribe(self, id: str | None = None, *, destination: str | None = None, receipt: str | None = None) -> None:
        """Unsubscribe. :param destination: only for a 1.0 subscription without an id."""
        self._command("UNSUBSCRIBE", destination=destination, id=id, receipt=receipt)

    def send(
        self,
        destination: str,
        body: bytes,
        *,
        headers: Headers = (),
        receipt: str | None = None,
        transaction: str | None = None,
    ) -> None:
        """Publish a message. :param transaction: the open transaction that the SEND belongs to; None for none."""
        self._command("SEND", headers, body, destination=destination, transaction=transaction, receipt=receipt)

    def ack(self, message: MessageReceived, *, receipt: str | None = None, transaction: str | None = None) -> None:
        """Acknowledge a message."""
        self._command("ACK", self._names(message), transaction=transaction, receipt=receipt)

    def nack(self, message: MessageReceived, *, receipt: str | None = None, transaction: str | None = None) -> None:
        """Tell the server that a message was not processed (1.1 and 1.2)."""
        self._command("NACK", self._names(message), transaction=transaction, receipt=receipt)

    def _names(self, message: MessageReceived) -> Headers:
        """The headers that name a message in ACK and NACK: the value of ``ack`` in 1.2, the ids in older versions."""
        if self.dialect is DIALECTS["1.2"]:
            return (("id", Frame("MESSAGE", message.headers).get("ack", message.message_id) or ""),)
        named = (("message-id", message.message_id),)
        return named if message.subscription is None else (*named, ("subscription", message.subscription))

    def begin(self, transaction: str, *, receipt: str | None = None) -> None:
        """Open a transaction."""
        self._command("BEGIN", transaction=transaction, receipt=receipt)

    def commit(self, transaction: str, *, receipt: str | None = None) -> None:
        """Ask the server to execute all frames of a transaction."""
        self._command("COMMIT", transaction=transaction, receipt=receipt)

    def abort(self, transaction: str, *, receipt: str | None = None) -> None:
        """Ask the server to drop all frames of a transaction."""
        self._command("ABORT", transaction=transaction, receipt=receipt)

    def disconnect(self, *, receipt: str | None = None) -> None:
        """Send DISCONNECT. If a receipt is given, its arrival means that the server has processed all earlier
        frames.
        """
        self._command("DISCONNECT", receipt=receipt)
        self.closed = True

    def _command(self, command: str, headers: Headers = (), body: bytes = b"", **named: str | None) -> None:
        given = tuple((name, value) for name, value in named.items() if value is not None)
        self.write(Frame(command, (*given, *headers), body))

    def write(self, frame: Frame) -> None:
        """Send any frame after CONNECT.

        :raises LocalProtocolError: when the version is not known yet, or the session is over.
        """
        if self.closed or self.dialect is None:
            raise LocalProtocolError(
                f"{frame.command} {'after the end of the session' if self.closed else 'before CONNECTED'}"
            )
        self._out.append(encode(frame, self.dialect))

    # What comes in

    def receive_data(self, data: bytes, now: float) -> None:
        """Take octets from the server."""
        self._heard_at = now
        self._decoder.receive(data)

    def next_event(self) -> ClientEvent | None:
        """The next event from the server; None if more octets are needed.

        :raises RemoteProtocolError: when the server violates the protocol. The session is then over.
        """
        try:
            frame = self._decoder.next_frame()
            return None if frame is None else self._event(frame)
        except RemoteProtocolError:
            self.closed = True
            raise

    def _event(self, frame: Frame) -> ClientEvent:
        if frame.command == "ERROR":
            self.closed = self.closed or not self.connected or self.dialect is not DIALECTS["1.0"]
            detail = frame.body.decode("utf-8", "replace")
            return ConnectRefused(frame.get("message") or "", detail, frame.get("receipt-id"), frame.headers)
        if not self.connected:
            return self._let_in(frame)
        if frame.command == "RECEIPT":
            return Receipted(frame.get("receipt-id") or "", frame.headers)
        if frame.command == "MESSAGE":
            destination, message_id = frame.get("destination") or "", frame.get("message-id") or ""
            return MessageReceived(destination, message_id, frame.get("subscription"), frame.headers, frame.body)
        raise RemoteProtocolError("Unknown command", "The server sent a command that no STOMP server sends.")

    def _let_in(self, frame: Frame) -> Connected:
        version = frame.get("version", "1.0") or ""
        if frame.command != "CONNECTED":
            raise RemoteProtocolError("Expected CONNECTED", "The server's first frame is neither CONNECTED nor ERROR.")
        if version not in self._offered:
            raise RemoteProtocolError("Unsupported version", "The server chose a version that was not offered.")
        self.dialect = self._decoder.dialect = DIALECTS[version]
        if version != "1.0":
            self._heartbeat = Heartbeat.agree(frame.get("heart-beat") or "0,0", self._wished)
        self.connected = True
        return Connected(version, frame.get("session") or "", frame.headers)

    # What goes out, and time

    def data_to_send(self, now: float) -> bytes:
        """The octets to send to the server. If there are no frames and a heart-beat is due, it is the heart-beat."""
        if not self._out and self.connected and not self.closed and self._heartbeat.owed(now, self._sent_at):
            self._out.append(b"\n")
        if not self._out:
            return b""
        self._sent_at = now
        data = b"".join(self._out)
        self._out.clear()
        return data

    def overdue(self, now: float) -> bool:
        """Whether the server missed its heart-beats, which means that the connection is lost."""
        return self._heartbeat.missed(now, self._heard_at)

    def next_look(self) -> float | None:
        """The time in seconds when a heart-beat may be due, or :meth:`overdue` may be true; None for never."""
        return self._heartbeat.next_look(self._sent_at, self._heard_at)
