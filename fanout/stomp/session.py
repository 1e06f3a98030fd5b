"""One client's STOMP session, seen from the server, without any networking.

    session.receive_data(data, now)          octets from the client
    while event := session.next_event():     what it asks for, one at a time, in order
        ...                                  do it, and settle event.answer
    transport.write(session.data_to_send())  what it is told
    if session.state is State.CLOSED: ...    nothing follows

**What it is responsible for.** Everything that STOMP says about one connection: framing and limits (``codec.py``),
the version and the heart-beats agreed on (``negotiation.py``), what each command means (``commands.py``), which
subscriptions there are (``subscriptions.py``) and what they wait to have acknowledged, transactions
(``transactions.py``), and the order of the answers (``server_frames.py``). It knows no socket, no clock, no topic and
no rights: octets and times come in, events and octets go out. Whether a login is right, or a destination exists, the
caller finds out; the session waits.

**The states**, and what leads from one to the next::

    OPENING ──CONNECT──> AUTHENTICATING ──accept──> OPEN ──DISCONNECT, or an ERROR of 1.1+──> LEAVING
       │                       │ refuse               │                                         │ last answer
       └──── broken frame ─────┴──────────────────────┴─────────────────────────────────────────┴──> CLOSED

======================  ==========  ===========================================================================
state                   frames are  what the client gets
======================  ==========  ===========================================================================
OPENING                 read        nothing, or the one ERROR that ends the session
AUTHENTICATING          kept        nothing: somebody looks up its credentials. It may pipeline behind CONNECT
OPEN                    read        answers in the order of its frames, messages, heart-beats
LEAVING                 dropped     the answers that are still to come; the last one is known
CLOSED                  dropped     nothing
======================  ==========  ===========================================================================

Nothing behind a refused frame is processed. There is no way back: a client that wants to go on connects again.

**Two kinds of clients.** The dialect, agreed on at CONNECT, says how frames are written and how faults are treated. A
client of 1.1 or 1.2 gets an ERROR and the end of its connection, as the specification wants it. A client of 1.0 is
*lenient*: it gets its RECEIPT at once, whatever comes of the frame, an ERROR leaves its connection open, and unknown
commands are passed over. Old embedded clients depend on each of these. The difference stands in ``dialect.py`` and in
two tables in ``commands.py``, not in conditions all over the code.

**Invariants.**

- Every event but ``Connect`` carries an :class:`~fanout.stomp.server_frames.Answer`, settled exactly once. Answers go
  out in the order of the frames, however late some of them are settled.
- Frames whose answers are outstanding are bounded: a *saturated* session gives no events, so its caller stops reading.
  The octets it holds are bounded by the decoder; ``held`` tells the caller, who bounds the sum over all clients.
- It processes no more frames than its ``allowance``, which the caller sets: one client's frames must not hold up the
  others. A session that is over keeps nothing of what came.
- ``accept`` and ``refuse`` are legal in AUTHENTICATING only; elsewhere they raise ``LocalProtocolError``.
- What goes out is whole frames: the caller may put messages of the hub between any two results of ``data_to_send``.
- A session refers to nothing that refers to it once no answer is outstanding: the line of answers, which has to, exists
  only while something waits in it. So a client that is gone leaves no circle for Python to search for.

**Why events, and not methods of a handler?** The caller may have to wait for a directory or a broker before it can
settle an event, and must stop reading meanwhile. With events it pulls the next one when it is ready; a handler would be
pushed, and would need a queue of its own. **Why are messages no matter of the session?** A message is encoded once for
all clients with the same form (``server_frames.py``); a session that wrote each of its own would undo that.

The citations (N9, C4, R1, §7) are the paragraphs of ``stomp.md``, which says where this server follows the original
and where the specification.
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
_FAULTS_KEPT = 9  # of those nobody has looked at: a 1.0 client may go on making them
_UNLIMITED = 1 << 62
_ANSWER_WEIGHT = 1_000
"""Octets of memory of a frame that waits for its answer, besides its own octets: the answer, what waits for it, the
objects of the frame."""


class ServerSession:
    """The server's side of one connection. Times are seconds on the caller's clock.

    :ivar state: where the session stands.
    :ivar dialect: the version spoken.
    :ivar subscriptions: what the client listens to; the caller ends them when the connection is gone.
    :ivar heard_at: when octets last came.
    :ivar faults: what the client did wrong since somebody last looked, in the words of its ERRORs; for the log.
    :ivar acknowledges: whether any subscription wants to be told of deliveries with :meth:`delivered`.
    :ivar logged_in: whether the client has shown credentials.
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
        self._began_at: float | None = now  # the unfinished frame; while OPENING, the connection
        self.state = State.OPENING
        self.subscriptions = Subscriptions()
        self.heard_at = now
        self.faults: tuple[str, ...] = ()
        self.acknowledges = False
        self.logged_in = False
        self.allowance = _UNLIMITED

    # What comes in

    def hear_beat(self, data: bytes, now: float) -> bool:
        """Take octets that are a heart-beat and nothing else, which ten thousand silent clients send all day.

        :return: False when they are something else, and were not taken.
        """
        if data != b"\n" or self.state is not State.OPEN or self._decoder.in_frame:
            return False
        self.heard_at = now
        return True

    def receive_data(self, data: bytes, now: float) -> None:
        """Take octets from the client. Those behind a final ERROR or a DISCONNECT are dropped."""
        self.heard_at = now
        if self.state in (State.LEAVING, State.CLOSED):
            return
        self._decoder.receive(data)

    def next_event(self) -> Event | Connect | None:
        """What the client asks for; None when more octets, answers to what it asked, or allowance is needed."""
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
        """Frames whose answer has not gone out."""
        return 0 if self._answers is None else len(self._answers)

    @property
    def saturated(self) -> bool:
        """So many frames wait for their answers, or so large ones, that no more should be read for now."""
        waiting = self._answers
        return waiting is not None and (
            len(waiting) >= self.limits.pending_answers or waiting.octets >= self.limits.pending_bytes
        )

    @property
    def unread(self) -> bool:
        """Whether octets have come that were not processed: a part of a frame, or more than the allowance."""
        return self._decoder.in_frame

    @property
    def held(self) -> int:
        """Octets of memory of what the client sent and what is not dealt with: unread octets, a CONNECT or other frames
        that wait for their answer, frames that wait in a transaction. A session that is over keeps nothing.
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
        """For the commands: this frame takes as long as so many more."""
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
        """A place in the line of answers. A 1.0 client gets its RECEIPT at once, whatever comes of it (§7)."""
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
        """What waits for a COMMIT. Most clients use no transactions, so it is made when it is first needed."""
        if self._transactions is None:
            self._transactions = Transactions(self.limits)
        return self._transactions

    def _refuse_unreadable(self, error: RemoteProtocolError) -> None:
        """Only a 1.0 client whose next frame can be found goes on behind a broken one (stomp.md §8)."""
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
        """Let the client in: answers :class:`Connect`.

        :param session_id: goes into the ``session`` header.
        :param logged_in: whether it has shown credentials; otherwise no SEND of it waits for a COMMIT.
        """
        agreement = self._take_agreement()
        self.logged_in = logged_in
        self._heartbeat = agreement.heartbeat
        self.write(encode(negotiation.connected(agreement, session_id, self._options), self.dialect))
        self.state = State.OPEN

    def refuse(self, summary: str, detail: str = "") -> None:
        """Do not let the client in: answers :class:`Connect`, and ends the session in every version."""
        self._end_with_error(summary, detail, self._take_agreement().connect)

    def _take_agreement(self) -> Agreement:
        if self._agreement is None:
            raise LocalProtocolError(f"no CONNECT waits for an answer: the session is {self.state.value}")
        agreement, self._agreement = self._agreement, None
        return agreement

    # What goes out

    def data_to_send(self) -> bytes:
        """Octets for the client, each frame whole; empty when there are none."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def write(self, data: bytes) -> None:
        """For the line of answers: a frame whose turn has come."""
        self._out.append(data)

    def stop(self) -> None:
        """For the line of answers: process no more frames."""
        self.state = State.LEAVING
        self._forget_input()

    def _note_fault(self, summary: str) -> None:
        self.faults = (*self.faults[-_FAULTS_KEPT:], summary)

    def rest(self) -> None:
        """For the line of answers: none is to come."""
        self._answers = None

    def finish(self) -> None:
        """For the line of answers: the last one was written."""
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
        """End the session from our side, with an ERROR behind the answers that are still to come."""
        if self.state is State.OPENING:
            self._end_with_error(summary, detail, None)
        elif self.state is State.AUTHENTICATING:
            self._take_agreement()
            self._end_with_error(summary, detail, None)
        elif self.state is State.OPEN:
            self._line().expect(None, None).refuse(summary, detail, final=True)

    # Subscriptions

    def forget(self, subscription: Subscription) -> None:
        """A subscription was refused after all."""
        self.subscriptions.remove(subscription)

    def delivered(self, subscription: Subscription, message: Message) -> None:
        """A message went out for a subscription that acknowledges. All subscriptions of the client share the limit."""
        share = self.limits.unacknowledged // max(1, len(self.subscriptions))
        subscription.delivered(message.message_id, max(1, share))

    # Time

    def _note_unfinished(self) -> None:
        """Keep the time since which a frame is unfinished. Line ends between frames are none."""
        if self.state is State.OPEN:
            if not self._decoder.in_frame:
                self._began_at = None
            elif self._began_at is None:
                self._began_at = self.heard_at

    def resumed(self, now: float) -> None:
        """Reading was paused, by us: what the client could not send in that time is not its fault."""
        self.heard_at = now
        if self._began_at is not None and self.state is State.OPEN:
            self._began_at = now

    def overdue(self, now: float) -> str | None:
        """Why the client must go, in a few words; None when all is well. Not to be asked while reading is paused."""
        if self.state not in _READING:
            return None
        if self._began_at is not None and now - self._began_at >= self._patience:
            return "no CONNECT frame" if self.state is State.OPENING else "unfinished frame"
        return "heart-beat missed" if self._heartbeat.missed(now, self.heard_at) else None

    def transaction_overdue(self, now: float) -> bool:
        """Whether a transaction has been open for too long."""
        deadline = self._transactions_until
        return deadline is not None and now >= deadline

    @property
    def _transactions_until(self) -> float | None:
        oldest = None if self._transactions is None else self._transactions.oldest
        return None if oldest is None else oldest + self.limits.transaction_seconds

    def beat(self, now: float, sent_at: float) -> bytes:
        """A heart-beat, if one is owed.

        :param sent_at: when octets last went to the client.
        """
        return b"\n" if self.state is State.OPEN and self._heartbeat.owed(now, sent_at) else b""

    def next_look(self, sent_at: float) -> float | None:
        """When :meth:`overdue`, :meth:`transaction_overdue` or :meth:`beat` may have something to say next; None while
        only octets can change it.
        """
        look = self._heartbeat.next_look(sent_at, self.heard_at)
        if not self.unfinished:
            return look
        overdue = None if self._began_at is None else self._began_at + self._patience
        return min(each for each in (look, overdue, self._transactions_until) if each is not None)

    @property
    def unfinished(self) -> bool:
        """Whether the time of a frame that has begun, of the CONNECT, or of a transaction, is running."""
        return self._began_at is not None or (self._transactions is not None and self._transactions.oldest is not None)

    @property
    def _patience(self) -> float:
        return self.limits.connect_timeout if self.state is State.OPENING else self.limits.frame_timeout
