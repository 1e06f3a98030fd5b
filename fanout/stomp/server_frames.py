"""The frames that a server sends: answers to the client's frames, and MESSAGE.

:class:`Answers` keeps the answers (RECEIPT, ERROR) in the order of the client's frames (stomp.md R1). A SEND is
answered when the bus has confirmed the message, which takes time. The frames after it are processed meanwhile, and
their answers wait in a queue. A MESSAGE is not an answer to a frame, so it does not wait. :class:`MessageForm` encodes
it; subscribers that need the same octets share one encoding.
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
    """The methods of a session that its queue of answers calls."""

    @property
    def dialect(self) -> Dialect:
        """The dialect of the answers. It also decides whether an ERROR ends the connection."""
        ...

    def write(self, data: bytes) -> None:
        """Send an encoded answer: all earlier answers were sent."""
        ...

    def stop(self) -> None:
        """Do not process more frames: the final answer is known, although earlier answers may still be missing."""
        ...

    def rest(self) -> None:
        """The queue is empty: the session may drop it, and make a new one for the next answer."""
        ...

    def finish(self) -> None:
        """The final answer was written."""
        ...


class Answer:
    """The answer to one frame. It must be settled once, by :meth:`done`, :meth:`finish` or :meth:`refuse`."""

    __slots__ = ("_line", "command", "data", "final", "octets", "receipt")

    def __init__(self, line: Answers, command: str | None, receipt: str | None, octets: int) -> None:
        self._line = line
        self.command = command
        self.receipt = receipt
        self.octets = octets
        self.data: bytes | None = None
        self.final = False

    def done(self, receipt_headers: Headers = ()) -> None:
        """The frame was processed. Its answer is a RECEIPT if it asked for one.

        :param receipt_headers: additional headers of the RECEIPT.
        :raises LocalProtocolError: when the answer was settled before.
        """
        self._settle(self._receipt(receipt_headers))

    def finish(self) -> None:
        """As :meth:`done`, and this is the final answer of the session: the answer to DISCONNECT."""
        self.final = True
        self._line.session.stop()
        self._settle(self._receipt())

    def refuse(self, summary: str, detail: str = "", *, final: bool = False) -> None:
        """The answer is an ERROR. It ends the connection; in STOMP 1.0, only if ``final`` is true.

        :param summary: a few words for the ``message`` header.
        :param detail: text for the body; empty to repeat the summary.
        :param final: whether the ERROR ends a connection of STOMP 1.0, too.
        :raises LocalProtocolError: when the answer was settled before.
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
            raise LocalProtocolError(f"the answer to {self.command} was settled twice")
        self.data = data
        self._line.advance()


class Answers:
    """The queue in which the answers of one client wait. It refers to its session and the session to it, and most
    connections never need a queue; so it exists only while an answer waits in it.

    :ivar octets: octets of memory of the frames whose answers wait.
    """

    __slots__ = ("_line", "octets", "session")

    def __init__(self, session: Answering) -> None:
        self.session = session
        self._line: deque[Answer] = deque()
        self.octets = 0

    def expect(self, command: str | None, receipt: str | None, octets: int = 0) -> Answer:
        """Append the answer to a frame to the queue.

        :param command: the command of the frame; None for an answer without a frame.
        :param receipt: the frame's ``receipt`` header; None if it has none.
        :param octets: about how many octets of memory the frame takes.
        """
        answer = Answer(self, command, receipt, octets)
        self._line.append(answer)
        self.octets += octets
        return answer

    def __len__(self) -> int:
        """How many answers wait in the queue."""
        return len(self._line)

    def advance(self) -> None:
        """Send the settled answers at the head of the queue."""
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
    """The octets of a RECEIPT frame."""
    return encode_head("RECEIPT", (("receipt-id", receipt_id), *receipt_headers), dialect) + b"\n" + dialect.end


def error(dialect: Dialect, summary: str, detail: str, command: str | None, receipt_id: str | None) -> bytes:
    """The octets of an ERROR frame: a ``message`` header, and from STOMP 1.1 on also a body with text (stomp.md R2).

    :param command: the command of the frame at fault; None if the error concerns no frame.
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


# The encodings of one message: (dialect, destination) → the octets before the subscription header, those after it.
Encoded = dict[tuple[Dialect, str], tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How messages are encoded for a subscription. Equal forms give equal octets; their subscribers form a cohort.

    :ivar dialect: the version that the client speaks.
    :ivar destination: as the client wrote it in SUBSCRIBE, because some clients compare it.
    :ivar subscription: the client's id of the subscription; None if a 1.0 client gave none.
    :ivar acknowledged: whether the client acknowledges messages; in 1.2 it then needs an ``ack`` header (stomp.md C5,
        C6a).
    :ivar own: the encoded ``subscription`` header, which differs between subscribers. It is encoded once per form.
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
        """The octets of a MESSAGE frame.

        The headers have the order of the original (stomp.md F12): ``destination``, the forwarded headers,
        ``message-id``, ``when``, and ``subscription`` last. ``content-length`` and ``ack`` come before
        ``subscription``: so the headers that differ between subscribers are adjacent, and the rest is encoded once.

        :param encoded: an empty dictionary for the first form of a message; the same dictionary for its other forms.
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
    """The ``ack`` header, by which a 1.2 client acknowledges a message. The message-id alone does not suffice: the same
    message may reach a client by several subscriptions.
    """
    return f"{subscription}/{message_id}"
