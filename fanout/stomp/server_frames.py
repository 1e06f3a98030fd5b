"""The frames a server sends: answers to the client's frames, and MESSAGE.

:class:`Answers` keeps the answers (RECEIPT, ERROR) in the order of the client's frames (stomp.md R1). A SEND is
answered when the bus has the message, which takes a while; the frames behind it are processed meanwhile, and their
answers wait in line. A MESSAGE answers no frame, so it does not wait. :class:`MessageForm` writes it; subscribers that
want the same octets share one encoding.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from fanout.hub.message import Message
from fanout.stomp.codec import Frame, Headers, LocalProtocolError, content_length, encode, encode_head, encode_header
from fanout.stomp.dialect import Dialect

_LONGEST_SHOWN = 16  # characters of a command that an ERROR repeats


class Answering(Protocol):
    """What the line of answers does to its session."""

    @property
    def dialect(self) -> Dialect:
        """How the answers are written, and whether an ERROR ends the connection."""
        ...

    def write(self, data: bytes) -> None:
        """Send an answer: its turn has come."""
        ...

    def stop(self) -> None:
        """Process no more frames: the last answer there will be is known, though its turn may not have come."""
        ...

    def rest(self) -> None:
        """No answer is to come: the line may be forgotten until there is need of one again."""
        ...

    def finish(self) -> None:
        """The last answer was written."""
        ...


class Answer:
    """The answer one frame waits for. Settled once, by :meth:`done`, :meth:`finish` or :meth:`refuse`."""

    __slots__ = ("_line", "command", "data", "final", "octets", "receipt")

    def __init__(self, line: Answers, command: str | None, receipt: str | None, octets: int) -> None:
        self._line = line
        self.command = command
        self.receipt = receipt
        self.octets = octets
        self.data: bytes | None = None
        self.final = False

    def done(self, receipt_headers: Headers = ()) -> None:
        """The frame was processed: its RECEIPT may go, if it asked for one.

        :param receipt_headers: headers of the RECEIPT.
        """
        self._settle(self._receipt(receipt_headers))

    def finish(self) -> None:
        """As :meth:`done`, and nothing follows: the answer to DISCONNECT."""
        self.final = True
        self._line.session.stop()
        self._settle(self._receipt())

    def refuse(self, summary: str, detail: str = "", *, final: bool = False) -> None:
        """An ERROR instead. It ends the connection, but under 1.0 only when it is said to be final.

        :param summary: a few words for the ``message`` header.
        :param detail: for the body; the summary again when left out.
        """
        session = self._line.session
        self.final = final or not session.dialect.lenient
        if self.final:
            session.stop()
        self._settle(error(session.dialect, summary, detail, self.command, self.receipt))

    def _receipt(self, receipt_headers: Headers = ()) -> bytes:
        return b"" if self.receipt is None else receipt(self._line.session.dialect, self.receipt, receipt_headers)

    def _settle(self, data: bytes) -> None:
        if self.data is not None:
            raise LocalProtocolError(f"the answer to {self.command} was given twice")
        self.data = data
        self._line.advance()


class Answers:
    """The line in which the answers of one client wait. Most connections never need one, and it knows the session that
    knows it; so it lasts only while something waits in it.

    :ivar octets: of the frames that wait in it for their answer.
    """

    __slots__ = ("_line", "octets", "session")

    def __init__(self, session: Answering) -> None:
        self.session = session
        self._line: deque[Answer] = deque()
        self.octets = 0

    def expect(self, command: str | None, receipt: str | None, octets: int = 0) -> Answer:
        """A frame came in: keep its place in line. None: the server speaks without a frame.

        :param octets: about how much memory the frame takes.
        """
        answer = Answer(self, command, receipt, octets)
        self._line.append(answer)
        self.octets += octets
        return answer

    def __len__(self) -> int:
        """How many answers are still to come."""
        return len(self._line)

    def advance(self) -> None:
        """Let out every answer at the head of the line that is known."""
        while self._line and (data := self._line[0].data) is not None:
            answer = self._line.popleft()
            self.octets -= answer.octets
            if data:
                self.session.write(data)
            if answer.final:
                self._line.clear()
                self.session.finish()
        if not self._line:
            self.session.rest()


def receipt(dialect: Dialect, receipt_id: str, receipt_headers: Headers = ()) -> bytes:
    """The RECEIPT frame."""
    return encode_head("RECEIPT", (("receipt-id", receipt_id), *receipt_headers), dialect) + b"\n" + dialect.end


def error(dialect: Dialect, summary: str, detail: str, command: str | None, receipt_id: str | None) -> bytes:
    """The ERROR frame: for 1.0 a ``message`` header and no body, else also words (stomp.md R2).

    :param command: of the frame at fault; None when no frame is.
    """
    if dialect.lenient:
        return encode(Frame("ERROR", (("message", summary),)), dialect)
    headers = [("message", summary), ("content-type", "text/plain")]
    if receipt_id is not None:
        headers.append(("receipt-id", receipt_id))
    body = (
        f"{detail or summary}\n" if command is None else f"{detail or summary}\nThe frame at fault: {_shown(command)}\n"
    )
    return encode(Frame("ERROR", tuple(headers), body.encode()), dialect)


def _shown(command: str) -> str:
    looks_like_one = command.isascii() and command.isalpha() and len(command) <= _LONGEST_SHOWN
    return command if looks_like_one else "(not readable)"


# What one publish has encoded so far: (dialect, destination) → everything before the subscription, the rest.
Encoded = dict[tuple[Dialect, str], tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class MessageForm:
    """What a subscription makes of a message. Equal forms give equal octets, so they make up a cohort.

    :ivar destination: as the client wrote it in SUBSCRIBE: some clients compare it.
    :ivar subscription: the client's id for it; None when a 1.0 client gave none.
    :ivar acknowledged: whether the client acknowledges, and needs an ``ack`` header under 1.2 (stomp.md C5, C6a).
    :ivar own: what differs between subscribers, written once: where each has an id of its own there is a form for each.
    """

    dialect: Dialect
    destination: str
    subscription: str | None = None
    acknowledged: bool = False
    own: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = "" if self.subscription is None else self._header("subscription", self.subscription)
        object.__setattr__(self, "own", own.encode("utf-8", "replace"))

    def encode(self, message: Message, encoded: Encoded) -> bytes:
        """The MESSAGE frame.

        Headers stand in the original's order (stomp.md F12): ``destination``, the forwarded ones, ``message-id``,
        ``when``, ``subscription`` last; ``content-length`` and ``ack`` before that, so that what differs between
        subscribers stands together and the rest is encoded once.

        :param encoded: empty at the first call for a message, and passed on to the calls of the other forms.
        """
        shared = encoded.get((self.dialect, self.destination))
        if shared is None:
            shared = encoded[self.dialect, self.destination] = self._shared(message)
        before, after = shared
        if self.acknowledged and self.subscription is not None and self.dialect.version == "1.2":
            ack = self._header("ack", ack_id(self.subscription, message.message_id))
            return before + ack.encode("utf-8", "replace") + self.own + after
        return before + self.own + after

    def _header(self, name: str, value: str) -> str:
        return encode_header(name, value, self.dialect) + "\n"

    def _shared(self, message: Message) -> tuple[bytes, bytes]:
        headers = (
            ("destination", self.destination),
            *message.headers,
            ("message-id", message.message_id),
            ("when", str(message.when)),
        )
        before = encode_head("MESSAGE", headers, self.dialect) + content_length(message.body, self.dialect)
        return before, b"\n" + message.body + self.dialect.end


def ack_id(subscription: str, message_id: str) -> str:
    """What a 1.2 client acknowledges a message by. A message-id alone may reach it by several subscriptions."""
    return f"{subscription}/{message_id}"
