"""The server's side of a STOMP session with one client, without networking.

    session.receive_data(data, now)          octets from the client
    while event := session.next_event():     its requests, one at a time, in order
        ...                                  process the event, and settle event.answer
    transport.write(session.data_to_send())  octets for the client
    if session.state is State.CLOSED: ...    close the connection

**Responsibilities.** The session implements everything that STOMP defines for one connection: framing and limits
(``codec.py``), the negotiation of version and heart-beats (``negotiation.py``), the commands (``commands.py``), the
subscriptions and their unacknowledged messages (``subscriptions.py``), transactions (``transactions.py``), and the
order of the answers (``server_frames.py``). It has no socket, no clock, no topics and no rights: its input is octets
and times, its output is events and octets. The caller decides whether a login is correct and whether a destination
exists; the session waits for it.

**The states** and their transitions::

    OPENING ──CONNECT──> AUTHENTICATING ──accept──> OPEN ──DISCONNECT, or an ERROR of 1.1+──> LEAVING
       │                       │ refuse               │                                         │ last answer
       └──── broken frame ─────┴──────────────────────┴─────────────────────────────────────────┴──> CLOSED

======================  ==========  ===========================================================================
state                   frames are  what the client gets
======================  ==========  ===========================================================================
OPENING                 read        nothing, or an ERROR that ends the session
AUTHENTICATING          kept        nothing: the caller checks the credentials. More frames may follow CONNECT
OPEN                    read        answers in the order of its frames, messages, heart-beats
LEAVING                 dropped     the outstanding answers; the final answer is known
CLOSED                  dropped     nothing
======================  ==========  ===========================================================================

Frames after the final answer are not processed. CLOSED is final: to continue, a client connects again.

**Two kinds of clients.** The dialect is agreed on at CONNECT. It defines how frames are encoded and how faults are
handled. For a client of 1.1 or 1.2, an ERROR ends the connection, as the specification requires. The dialect of 1.0 is
*lenient*: the client gets its RECEIPT immediately, whatever the result of the frame is; an ERROR leaves its connection
open; unknown commands are ignored. Old embedded clients depend on each of these rules. The differences are in
``dialect.py`` and in two tables in ``commands.py``, not in conditions all over the code.

**Invariants.**

- Every event except ``Connect`` has an :class:`~fanout.stomp.server_frames.Answer`, which is settled exactly once.
  Answers are sent in the order of the frames, in whatever order they are settled.
- The number of frames with outstanding answers is limited: a *saturated* session returns no events, so its caller stops
  reading. The decoder limits the octets that the session keeps; ``held`` reports them to the caller, which limits the
  sum over all clients.
- The session processes no more frames than its ``allowance``, which the caller sets: the frames of one client must not
  delay other clients. A session that is over keeps no input.
- ``accept`` and ``refuse`` are legal in AUTHENTICATING only; in other states they raise ``LocalProtocolError``.
- The output consists of whole frames: the caller may send messages of the hub between any two results of
  ``data_to_send``.
- While no answer is outstanding, the session is in no reference cycle: the queue of answers refers to the session, but
  exists only while an answer waits in it. So the memory of a disconnected client is freed without a garbage collection.

**Why events, and not methods of a handler?** The caller may have to wait for a directory or a broker before it can
settle an event, and must stop reading meanwhile. With events, it asks for the next one when it is ready; a handler
would need a queue of its own. **Why does the session not send messages?** A message is encoded once for all clients
with the same form (``server_frames.py``); sessions would encode it once for each client.

The citations (N9, C4, R1, §7) are paragraphs of ``stomp.md``, which lists where this server follows the original
and where it follows the specification.
"""

from __future__ import annotations

from enum import Enum

from fanout.hub.message import Message
from fanout.stomp import commands, negotiation
from fanout.stomp import server_frames as answers
from fanout.stomp.codec import HEADER_WEIGHT, Decoder, Frame, LocalProtocolError, RemoteProtocolError, encode
from fanout.stomp.dialect import Dialect
from fanout.stomp.events import Connect, Event, Subscribe
from fanout.stomp.limits import SessionOptions, StompLimits
from fanout.stomp.negotiation import Agreement, Heartbeat
from fanout.stomp.server_frames import Answer, Answers
from fanout.stomp.subscriptions import Subscription, Subscriptions
from fanout.stomp.transactions import Transactions


class State(Enum):
    """The state of a session; see the head of this file."""

    OPENING = "opening"
    AUTHENTICATING = "authenticating"
    OPEN = "open"
    LEAVING = "leaving"
    CLOSED = "closed"


_READING = frozenset({State.OPENING, State.OPEN})
_FAULTS_KEPT = 9  # Faults that the caller has not logged yet; a 1.0 client may continue after each.
_UNLIMITED = 1 << 62
_ANSWER_WEIGHT = 1_000
"""Octets of memory of a frame that waits for its answer, in addition to the octets of the frame: the answer, its
callbacks, and the objects of the frame."""


class ServerSession:
    """The server's side of one connection. Times are seconds on the caller's clock.

    :ivar state: the state of the session.
    :ivar dialect: the dialect of the session's version.
    :ivar subscriptions: the subscriptions of the client. The caller ends them when the connection is closed.
    :ivar heard_at: the time when octets last came from the client.
    :ivar faults: the client's latest faults, with the texts of its ERRORs. The caller logs and clears them.
    :ivar acknowledges: whether the caller must call :meth:`delivered`, because a subscription needs acknowledgements.
    :ivar logged_in: whether the client has connected with a login.
    :ivar allowance: frames that :meth:`next_event` may still process; unlimited unless the caller sets it.
    """

    __slots__ = (
        "_agreement",
        "_answers",
        "_began_at",
        "_decoder",
        "_heartbeat",
        "_options",
        "_out",
        "_transactions",
        "acknowledges",
        "allowance",
        "dialect",
        "faults",
        "heard_at",
        "limits",
        "logged_in",
        "state",
        "subscriptions",
    )

    def __init__(self, limits: StompLimits, session_options: SessionOptions, now: float) -> None:
        self.limits = limits
        self._options = session_options
        self._decoder = Decoder(limits, opening=True)
        self.dialect: Dialect = session_options.dialects["1.0"]
        self._heartbeat = Heartbeat()
        self._transactions: Transactions | None = None
        self._agreement: Agreement | None = None
        self._out: list[bytes] = []
        self._answers: Answers | None = None
        self._began_at: float | None = (
            now  # Time of the first octet of the unfinished frame; in OPENING, of connecting.
        )
        self.state = State.OPENING
        self.subscriptions = Subscriptions()
        self.heard_at = now
        self.faults: tuple[str, ...] = ()
        self.acknowledges = False
        self.logged_in = False
        self.allowance = _UNLIMITED

    # What comes in

    def hear_beat(self, data: bytes, now: float) -> bool:
        """Take octets if they are a heart-beat and nothing else. This short path exists because most clients are silent
        and send only heart-beats.

        :return: False if they are something else and were not taken.
        """
        if data != b"\n" or self.state is not State.OPEN or self._decoder.in_frame:
            return False
        self.heard_at = now
        return True

    def receive_data(self, data: bytes, now: float) -> None:
        """Take octets from the client. Octets after a final ERROR or a DISCONNECT are dropped.

        :param now: the current time in seconds.
        """
        self.heard_at = now
        if self.state in (State.LEAVING, State.CLOSED):
            return
        self._decoder.receive(data)

    def next_event(self) -> Event | Connect | None:
        """The next request of the client; None if the session needs more octets, outstanding answers, or allowance."""
        while self.state in _READING and self.allowance > 0 and not self.saturated:
            self.allowance -= 1
            try:
                frame = self._decoder.next_frame()
            except RemoteProtocolError as error:
                self._refuse_unreadable(error)
                continue
            if frame is None:
                self._note_unfinished()
                return None
            self._began_at = None
            event = self._open(frame) if self.state is State.OPENING else self._process(frame)
            if isinstance(event, Subscribe) and event.subscription.form.acknowledged:
                self.acknowledges = True
            if event is not None:
                return event
        return None

    @property
    def pending(self) -> int:
        """How many frames have an answer that was not sent yet."""
        return 0 if self._answers is None else len(self._answers)

    @property
    def saturated(self) -> bool:
        """Whether the limit of frames that wait for their answers, or of their octets, is reached. The caller should
        then stop reading from the client.
        """
        waiting = self._answers
        return waiting is not None and (
            len(waiting) >= self.limits.pending_answers or waiting.octets >= self.limits.pending_bytes
        )

    @property
    def unread(self) -> bool:
        """Whether there are octets that were not processed: a part of a frame, or frames above the allowance."""
        return self._decoder.in_frame

    @property
    def held(self) -> int:
        """Octets of memory of the client's unfinished input: octets that were not processed, a CONNECT or other frames
        that wait for their answer, and frames in transactions. A session that is over keeps no input.
        """
        if self.state is State.LEAVING or self.state is State.CLOSED:
            return 0
        held = self._decoder.held
        if self._agreement is not None:
            held += self._agreement.connect.weight
        if self._transactions is not None:
            held += self._transactions.weight
        if self._answers is not None:
            held += self._answers.octets + _ANSWER_WEIGHT * len(self._answers)
        return held

    def spend(self, frames: int) -> None:
        """Reduce the allowance. The commands call this for a frame that takes the time of several frames."""
        self.allowance -= frames

    def _process(self, frame: Frame) -> Event | None:
        table = commands.COMMANDS_10 if self.dialect.lenient else commands.COMMANDS
        try:
            return table.get(frame.command, commands.unknown)(self, frame)
        except RemoteProtocolError as error:
            self._note_fault(error.summary)
            self.expect(frame).refuse(error.summary, error.detail)
            return None

    def expect(self, frame: Frame) -> Answer:
        """Append the answer to a frame to the queue of answers. A 1.0 client gets its RECEIPT immediately, whatever the
        result of the frame is (§7).
        """
        receipt = frame.get("receipt")
        if self.dialect.lenient and receipt is not None:
            self.write(answers.receipt(self.dialect, receipt))
            receipt = None
        octets = self._decoder.frame_octets + HEADER_WEIGHT * len(frame.headers)
        return self._line().expect(frame.command, receipt, octets)

    def _line(self) -> Answers:
        if self._answers is None:
            self._answers = Answers(self)
        return self._answers

    @property
    def transactions(self) -> Transactions:
        """The open transactions. Most clients use none, so the object is created on first use."""
        if self._transactions is None:
            self._transactions = Transactions(self.limits)
        return self._transactions

    def _refuse_unreadable(self, error: RemoteProtocolError) -> None:
        """Refuse a malformed frame. The session continues only if the client speaks 1.0 and the end of the frame is
        known (stomp.md §8).
        """
        self._note_fault(error.summary)
        goes_on = error.boundary_known and self.state is State.OPEN
        self._line().expect(error.command, error.receipt).refuse(error.summary, error.detail, final=not goes_on)

    # CONNECT

    def _open(self, frame: Frame) -> Connect | None:
        version = negotiation.version_of(frame)
        if version is None:
            self._note_fault("Unsupported version")
            self._end(encode(negotiation.UNSUPPORTED_VERSION, self._options.dialects["1.2"]))
            return None
        self.dialect = self._decoder.dialect = self._options.dialects[version]
        try:
            self._agreement = negotiation.agree(frame, version, self._options)
        except RemoteProtocolError as error:
            self._note_fault(error.summary)
            self._end_with_error(error.summary, error.detail, frame)
            return None
        self._decoder.opened()
        self.state = State.AUTHENTICATING
        return Connect((frame.get("login") or "").strip(), (frame.get("passcode") or "").strip())

    def accept(self, session_id: str, *, logged_in: bool = True) -> None:
        """Answer :class:`Connect` with CONNECTED.

        :param session_id: the value of the ``session`` header.
        :param logged_in: whether the client has connected with a login. Only then may it SEND in a transaction.
        :raises LocalProtocolError: when no :class:`Connect` waits for an answer.
        """
        agreement = self._take_agreement()
        self.logged_in = logged_in
        self._heartbeat = agreement.heartbeat
        self.write(encode(negotiation.connected(agreement, session_id, self._options), self.dialect))
        self.state = State.OPEN

    def refuse(self, summary: str, detail: str = "") -> None:
        """Answer :class:`Connect` with an ERROR, which ends the session in every version.

        :param summary: a few words for the ``message`` header.
        :param detail: text for the body; empty to repeat the summary.
        :raises LocalProtocolError: when no :class:`Connect` waits for an answer.
        """
        self._end_with_error(summary, detail, self._take_agreement().connect)

    def _take_agreement(self) -> Agreement:
        if self._agreement is None:
            raise LocalProtocolError(f"no CONNECT waits for an answer: the session is {self.state.value}")
        agreement, self._agreement = self._agreement, None
        return agreement

    # What goes out

    def data_to_send(self) -> bytes:
        """The octets to send to the client, in whole frames; empty if there are none."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def write(self, data: bytes) -> None:
        """See :meth:`Answering.write <fanout.stomp.server_frames.Answering.write>`."""
        self._out.append(data)

    def stop(self) -> None:
        """See :meth:`Answering.stop <fanout.stomp.server_frames.Answering.stop>`."""
        self.state = State.LEAVING
        self._forget_input()

    def _note_fault(self, summary: str) -> None:
        self.faults = (*self.faults[-_FAULTS_KEPT:], summary)

    def rest(self) -> None:
        """See :meth:`Answering.rest <fanout.stomp.server_frames.Answering.rest>`."""
        self._answers = None

    def finish(self) -> None:
        """See :meth:`Answering.finish <fanout.stomp.server_frames.Answering.finish>`."""
        self.state = State.CLOSED
        self._forget_input()

    def _forget_input(self) -> None:
        self._decoder.clear()
        self._transactions = None

    def _end_with_error(self, summary: str, detail: str, frame: Frame | None) -> None:
        command, receipt = (None, None) if frame is None else (frame.command, frame.get("receipt"))
        self._end(answers.error(self.dialect, summary, detail, command, receipt))

    def _end(self, data: bytes) -> None:
        self.write(data)
        self.finish()

    def disconnect(self, summary: str, detail: str = "") -> None:
        """End the session from the server's side, with an ERROR after the outstanding answers.

        :param summary: a few words for the ``message`` header.
        :param detail: text for the body; empty to repeat the summary.
        """
        if self.state is State.OPENING:
            self._end_with_error(summary, detail, None)
        elif self.state is State.AUTHENTICATING:
            self._take_agreement()
            self._end_with_error(summary, detail, None)
        elif self.state is State.OPEN:
            self._line().expect(None, None).refuse(summary, detail, final=True)

    # Subscriptions

    def forget(self, subscription: Subscription) -> None:
        """Remove a subscription that the caller has refused."""
        self.subscriptions.remove(subscription)

    def delivered(self, subscription: Subscription, message: Message) -> None:
        """Remember a message that was sent for a subscription with acknowledgements. All subscriptions of the client
        share the limit.
        """
        share = self.limits.unacknowledged // max(1, len(self.subscriptions))
        subscription.delivered(message.message_id, max(1, share))

    # Time

    def _note_unfinished(self) -> None:
        """Remember since when a frame is unfinished. Line ends between frames do not count as a frame."""
        if self.state is State.OPEN:
            if not self._decoder.in_frame:
                self._began_at = None
            elif self._began_at is None:
                self._began_at = self.heard_at

    def resumed(self, now: float) -> None:
        """The server continues to read after a pause. The client's times start again, because it could not send."""
        self.heard_at = now
        if self._began_at is not None and self.state is State.OPEN:
            self._began_at = now

    def overdue(self, now: float) -> str | None:
        """Why the client must be disconnected, in a few words; None if it need not. Do not call this while reading is
        paused.

        :param now: the current time in seconds.
        """
        if self.state not in _READING:
            return None
        if self._began_at is not None and now - self._began_at >= self._patience:
            return "no CONNECT frame" if self.state is State.OPENING else "unfinished frame"
        return "heart-beat missed" if self._heartbeat.missed(now, self.heard_at) else None

    def transaction_overdue(self, now: float) -> bool:
        """Whether a transaction has been open for longer than the limit."""
        deadline = self._transactions_until
        return deadline is not None and now >= deadline

    @property
    def _transactions_until(self) -> float | None:
        oldest = None if self._transactions is None else self._transactions.oldest
        return None if oldest is None else oldest + self.limits.transaction_seconds

    def beat(self, now: float, sent_at: float) -> bytes:
        """The octets of a heart-beat if one is due; otherwise empty.

        :param now: the current time in seconds.
        :param sent_at: the time in seconds when octets were last sent to the client.
        """
        return b"\n" if self.state is State.OPEN and self._heartbeat.owed(now, sent_at) else b""

    def next_look(self, sent_at: float) -> float | None:
        """The time in seconds when the result of :meth:`overdue`, :meth:`transaction_overdue` or :meth:`beat` may
        change; None if only octets from the client can change it.
        """
        look = self._heartbeat.next_look(sent_at, self.heard_at)
        if not self.unfinished:
            return look
        overdue = None if self._began_at is None else self._began_at + self._patience
        return min(each for each in (look, overdue, self._transactions_until) if each is not None)

    @property
    def unfinished(self) -> bool:
        """Whether a time limit is running: of an unfinished frame, of the CONNECT, or of a transaction."""
        return self._began_at is not None or (self._transactions is not None and self._transactions.oldest is not None)

    @property
    def _patience(self) -> float:
        return self.limits.connect_timeout if self.state is State.OPENING else self.limits.frame_timeout
