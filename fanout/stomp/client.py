"""One STOMP session seen from the client, without any networking.

    session.connect("1.rock", "secret")
    while there is a connection:
        transport.write(session.data_to_send(now))
        session.receive_data(octets, now)
        while event := session.next_event():
            ...

The commands follow the version the server chose: what 1.0, 1.1 and 1.2 want of an ACK is known here. What the server
sends is reported as :class:`Connected`, :class:`MessageReceived`, :class:`Receipted` or :class:`ConnectRefused`.
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
    """The server let us in. :ivar session: the server's name for this session; empty when it gave none."""

    version: str
    session: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Something was published. :ivar subscription: our id for it; None from a 1.0 server that was given none."""

    destination: str
    message_id: str
    subscription: str | None
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipted:
    """The server has processed the frame that carried this receipt.

    :ivar headers: all of the RECEIPT; what a server adds to it is news for people and changes nothing.
    """

    receipt: str
    headers: Headers = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ConnectRefused:
    """An ERROR. It ends the session, except under 1.0 behind CONNECTED.

    :ivar summary: the ``message`` header.
    :ivar detail: the body, as text.
    :ivar receipt: of the frame at fault, when the server names it.
    """

    summary: str
    detail: str
    receipt: str | None
    headers: Headers


ClientEvent = Connected | MessageReceived | Receipted | ConnectRefused


class ClientSession:
    """The client's side of one connection. Times are seconds on the caller's clock.

    :ivar dialect: the version spoken; None until it is known, which is at CONNECTED, or at once when we offer only one.
    :ivar connected: whether the server has let us in.
    :ivar closed: whether the session is over: nothing may be sent, and nothing more will come but the rest of it.
    """

    def __init__(self, now: float, limits: StompLimits | None = None) -> None:
        """:param limits: what the server may send; those of frames and headers count here."""
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
        """Ask to be let in; both credentials empty: as a listener without a name.

        :param versions: those we offer; 1.0 alone makes a CONNECT without further headers.
        :param heartbeat: milliseconds between the beats we can send, and between those we want; 0 for none.
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
        """Start listening. From 1.1 on the server wants an id."""
        mode = None if ack == "auto" else ack
        self._command("SUBSCRIBE", headers, destination=destination, id=id, ack=mode, receipt=receipt)

    def unsubscribe(self, id: str | None = None, *, destination: str | None = None, receipt: str | None = None) -> None:
        """Stop listening. :param destination: for a 1.0 subscription without an id."""
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
        """Publish."""
        self._command("SEND", headers, body, destination=destination, transaction=transaction, receipt=receipt)

    def ack(self, message: MessageReceived, *, receipt: str | None = None, transaction: str | None = None) -> None:
        """The message was dealt with."""
        self._command("ACK", self._names(message), transaction=transaction, receipt=receipt)

    def nack(self, message: MessageReceived, *, receipt: str | None = None, transaction: str | None = None) -> None:
        """The message was not dealt with (1.1 and 1.2)."""
        self._command("NACK", self._names(message), transaction=transaction, receipt=receipt)

    def _names(self, message: MessageReceived) -> Headers:
        """What ACK and NACK name a message by: its ``ack`` under 1.2, before that its ids."""
        if self.dialect is DIALECTS["1.2"]:
            return (("id", Frame("MESSAGE", message.headers).get("ack", message.message_id) or ""),)
        named = (("message-id", message.message_id),)
        return named if message.subscription is None else (*named, ("subscription", message.subscription))

    def begin(self, transaction: str, *, receipt: str | None = None) -> None:
        """Open a transaction."""
        self._command("BEGIN", transaction=transaction, receipt=receipt)

    def commit(self, transaction: str, *, receipt: str | None = None) -> None:
        """Let all of a transaction happen."""
        self._command("COMMIT", transaction=transaction, receipt=receipt)

    def abort(self, transaction: str, *, receipt: str | None = None) -> None:
        """Let nothing of a transaction happen."""
        self._command("ABORT", transaction=transaction, receipt=receipt)

    def disconnect(self, *, receipt: str | None = None) -> None:
        """Leave. With a receipt its arrival says that everything before was processed."""
        self._command("DISCONNECT", receipt=receipt)
        self.closed = True

    def _command(self, command: str, headers: Headers = (), body: bytes = b"", **named: str | None) -> None:
        given = tuple((name, value) for name, value in named.items() if value is not None)
        self.write(Frame(command, (*given, *headers), body))

    def write(self, frame: Frame) -> None:
        """Send any frame behind CONNECT. :raises LocalProtocolError: it is too early, or too late."""
        if self.closed or self.dialect is None:
            raise LocalProtocolError(f"{frame.command} {'behind the end' if self.closed else 'before CONNECTED'}")
        self._out.append(encode(frame, self.dialect))

    # What comes in

    def receive_data(self, data: bytes, now: float) -> None:
        """Take octets from the server."""
        self._heard_at = now
        self._decoder.receive(data)

    def next_event(self) -> ClientEvent | None:
        """What the server says next; None when more octets are needed.

        :raises RemoteProtocolError: it breaks the protocol. The session is over.
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
        """Octets for the server; a heart-beat when one is owed and there is nothing else."""
        if not self._out and self.connected and not self.closed and self._heartbeat.owed(now, self._sent_at):
            self._out.append(b"\n")
        if not self._out:
            return b""
        self._sent_at = now
        data = b"".join(self._out)
        self._out.clear()
        return data

    def overdue(self, now: float) -> bool:
        """Whether the server has sent nothing for longer than it promised: it is gone."""
        return self._heartbeat.missed(now, self._heard_at)

    def next_look(self) -> float | None:
        """When :meth:`data_to_send` or :meth:`overdue` may have something to say next; None: not by time alone."""
        return self._heartbeat.next_look(self._sent_at, self._heard_at)
