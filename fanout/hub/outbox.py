"""What one client still has to be sent: bounded, and joined into one write per turn of the reactor.

**What it is responsible for.** Everything a client gets goes through its :class:`Outbox`: messages, which come in
whenever somebody publishes, and *answers* (RECEIPT, ERROR, heart-beats), which the client is owed. The outbox puts them
in one order, joins what one turn brings into one write, and decides what happens when the client reads too slowly. The
:class:`Flusher`, one for all outboxes, flushes them at the end of the turn, knows the limits, and looks after the sum.

**The states of an outbox**::

              offer                    end of the turn: one write
      IDLE ───────────> WAITING ──────────────────────────────────> IDLE
                           │
                           │ block: the transport takes no more
                           v
                        BLOCKED ── unblock: what is left goes out ──> IDLE
                           │
                           │ more than the limit: the policy; if that does not help, cut_off
                           v
                        the client is gone (close)

``block`` may come from IDLE, too, and from within the write itself. While BLOCKED nothing is written; octets pile up
here and no longer in the transport, which has no limit.

**The limits.** A client that does not read may cost ``OUTBOX_BYTES`` here, and in its transport what one write hands
over: :data:`PIECE` and one frame. What is more than a piece is written at once, not at the end of the turn, and goes
out in such pieces once the transport has room. All clients together may cost ``OUTBOX_TOTAL_BYTES``, here and in
their transports: :class:`Flusher` counts what waits in each outbox that is blocked, and all octets of the write that
filled its transport. (The socket has taken some of these; nobody tells how many, and until ``unblock`` there are no
more.) Beyond it messages are dropped first, of those that cost most; if that is not enough, clients are cut off: those
that have cost most, in octets and time. What happens to messages is the policy, ``SLOW_CLIENTS``:

======= ==========================================================================================
newest  of each subscription only the newest message is kept: it replaces what the client has missed
drop    messages that do not fit are dropped, the latest first
queue   everything is kept until the limit, then the client is cut off
======= ==========================================================================================

**Invariants.**

- What goes out is in the order it came in; the policy takes messages out and never reorders.
- An answer is never dropped. A client that asks, and does not read the answers, is cut off.
- What was handed to a transport cannot be taken back. Its client can be cut off, which frees it.
- ``octets`` is the sum of the frames; ``_frames`` and ``_slots`` have the same length.
- The first frame in an outbox that is not blocked puts it on the flusher's list. It is in ``_held`` exactly when it is
  blocked and something waits, here or in its transport. So an idle client costs the flusher nothing.
- A sink that raises costs the other clients nothing.

**Why not write at once?** A write is a system call, and the most expensive part of a delivery. A busy publisher brings
many messages to a client in one turn; one write for all of them is what makes a fan-out fast. Where a message is known
to be the only one of the turn, :meth:`Outbox.pass_on` does write at once. **Why not the transport's buffer?** It cannot
take anything back: a client that wakes up after a minute would get a minute of old messages before the one that counts.

A frame may be shared by thousands of outboxes (``bytes`` of a cohort), so nothing here copies or changes frames until
they are joined for the write.

Sans-IO; the end of a turn is a callback that the owner hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from fanout.settings.field import SettingsGroup, setting

PIECE = 16_384
"""Octets that are handed to a transport at once, besides the last frame of them: a record of TLS. So 18,000 clients
(MAX_CONNECTIONS) that have frames of their own have 300 MB waiting for the end of a turn at the most."""
_RELIEVED = 0.875
"""Of the total limit: how much may still wait when the largest outboxes have given way."""

Policy = Literal["newest", "drop", "queue"]


class OutboxSettings(SettingsGroup):
    """Slow clients."""

    OUTBOX_BYTES: int = setting(
        1_048_576,
        "Most octets that wait for one client that reads slowly; beyond it SLOW_CLIENTS applies.",
        "octets",
        why="Raise it with MAX_FRAME_BYTES; lower it if many slow clients take too much memory.",
        ge=4096,
        reload=True,
    )
    OUTBOX_TOTAL_BYTES: int = setting(
        268_435_456,
        "Most octets that wait for all slow clients together; beyond it messages are dropped, then clients cut off.",
        "octets",
        why="Adapt it to the machine's memory.",
        ge=65_536,
        reload=True,
    )
    SLOW_CLIENTS: Policy = setting(
        "newest",
        "If an outbox is full: newest keeps one message per topic, drop drops new ones, queue ends the client.",
        why="Set it to queue if clients must never miss a message without noticing, such as recorders.",
        reload=True,
    )
    WRITE_TIMEOUT: float = setting(
        60,
        "Time after which a client that reads nothing of what waits for it is disconnected.",
        "s",
        why="Raise it if phones lose their network for longer than a minute and should keep the connection.",
        ge=1,
        reload=True,
    )

    def doubts(self) -> tuple[str, ...]:
        """A limit for all clients that is below that for one."""
        if self.OUTBOX_TOTAL_BYTES >= self.OUTBOX_BYTES:
            return super().doubts()
        doubt = (
            f"OUTBOX_TOTAL_BYTES = {self.OUTBOX_TOTAL_BYTES} is less than OUTBOX_BYTES = {self.OUTBOX_BYTES}, "
            "so the latter has no meaning."
        )
        return (*super().doubts(), doubt)


class Sink(Protocol):
    """Takes what an outbox writes."""

    def write(self, data: bytes) -> None:
        """Take octets; may call :meth:`Outbox.block` before it returns."""
        ...

    def cut_off(self) -> None:
        """The client does not read what it is owed: end the connection, after this call returns."""
        ...


class _Nobody:
    """The sink of a client that is gone."""

    def write(self, data: bytes) -> None:
        """Nothing: the client is gone."""

    def cut_off(self) -> None:
        """Nothing: the client is gone."""


_NOBODY = _Nobody()


class Outbox:
    """The frames that wait for one client.

    :ivar blocked: whether the transport is full; nothing is written until :meth:`unblock`.
    :ivar sent_at: when octets were last written, on the flusher's clock.
    :ivar dropped: messages the policy did not let through.
    """

    __slots__ = (
        "_flusher",
        "_frames",
        "_handed",
        "_kept",
        "_octets",
        "_sink",
        "_slots",
        "blocked",
        "dropped",
        "sent_at",
    )

    def __init__(self, sink: Sink, flusher: Flusher) -> None:
        self._sink: Sink = sink
        self._flusher = flusher
        self._frames: list[bytes] = []
        self._slots: list[object] = []  # beside each frame: what it may be replaced by, or None for an answer
        self._octets = 0
        self._handed = 0  # while blocked: octets of the write that filled the transport
        self._kept = 0  # while blocked: so many frames of which none can be dropped
        self.blocked = False
        self.sent_at = flusher.clock()
        self.dropped = 0

    def send(self, data: bytes) -> None:
        """Queue frames the client is owed."""
        self.offer(None, data)

    def offer(self, slot: object, data: bytes) -> None:
        """Queue a message.

        :param slot: messages with equal slots replace each other under ``newest``.
        """
        if not self._frames and not self.blocked:
            self._flusher.add(self)
        self._frames.append(data)
        self._slots.append(slot)
        self._octets += len(data)
        if self._octets > self._flusher.piece:
            self._shrink()
        if self.blocked:
            self._flusher.holds(self)

    def pass_on(self, slot: object, data: bytes) -> None:
        """As :meth:`offer`, but at once if nothing waits: for when nothing else will come in this turn."""
        if self._frames or self.blocked:
            self.offer(slot, data)
            return
        self.sent_at = self._flusher.clock()
        self._sink.write(data)
        if self.blocked:
            self._hand_over(len(data))  # type: ignore[unreachable]  # the sink has called block

    def has_room(self, octets: int) -> bool:
        """Whether so many more go out, or at least wait, without anything being dropped for them."""
        return not self.blocked and self._octets + octets <= self._flusher.limit

    def flush(self) -> None:
        """Write what waits, in one piece. The flusher calls it at the end of the turn; before a close, the owner.

        It is little: what is more than a piece has been written before.
        """
        frames = self._frames
        if self.blocked or not frames:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        frames.clear()
        self._slots.clear()
        self._octets = 0
        self.sent_at = self._flusher.clock()
        self._sink.write(data)
        if self.blocked:
            self._hand_over(len(data))  # type: ignore[unreachable]  # the sink has called block

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._frames)

    @property
    def octets(self) -> int:
        """How many octets these are."""
        return self._octets

    @property
    def held(self) -> int:
        """How many octets its client costs because it does not read: these, and those in its transport at the most."""
        return self._octets + self._handed if self.blocked else 0

    def cost(self, now: float) -> tuple[float, int]:
        """What its client has cost so far: octets times the seconds since the last write, and the octets."""
        held = self.held
        return held * (now - self.sent_at), held

    def block(self) -> None:
        """The transport is full."""
        self.blocked = True
        if self._frames:
            self._flusher.holds(self)

    def unblock(self) -> None:
        """The transport has room again."""
        self.blocked = False
        self._handed = self._kept = 0
        self._flusher.holds(self)
        try:
            while self._frames and not self.blocked:
                self._write_piece()
        except Exception:
            self.clear()  # the flusher does not know of it
            raise

    def clear(self) -> None:
        """Forget what waits."""
        self._forget()
        if self.blocked:
            self._flusher.holds(self)

    def close(self) -> None:
        """The client is gone: forget what waits, and the sink. The two refer to each other, and would stay in memory
        until Python searches for such circles.
        """
        self.clear()
        if self.blocked:
            self.unblock()
        self._sink = _NOBODY

    def give_way(self) -> None:
        """All clients together cost too much, and this one more than others: keep the newest messages only, or half."""
        if len(self._frames) != self._kept:
            before = self._octets
            self._drop(before if self._flusher.policy == "newest" else before // 2)
            self._kept = len(self._frames) if self._octets == before else 0

    def cut_off(self) -> None:
        """End the connection of a client that costs too much; when it comes back it is shown what it missed."""
        self._handed = 0
        self._forget()
        self._sink.cut_off()

    def _forget(self) -> None:
        self._frames.clear()
        self._slots.clear()
        self._octets = 0

    def _shrink(self) -> None:
        """More waits than a piece: write it, and while that cannot be, keep to the limit."""
        limit = self._flusher.limit
        if self._octets > limit:
            self._drop(limit)
        if self._octets > limit:
            self.cut_off()
        elif self._octets > PIECE:
            self.flush()

    def _write_piece(self) -> None:
        """Write the first frames: the last of them is the one with which they are more than a piece."""
        count = octets = 0
        while octets <= PIECE and count < len(self._frames):
            octets += len(self._frames[count])
            count += 1
        data = self._frames[0] if count == 1 else b"".join(self._frames[:count])
        del self._frames[:count], self._slots[:count]
        self._octets -= octets
        self.sent_at = self._flusher.clock()
        self._sink.write(data)
        if self.blocked:
            self._hand_over(octets)

    def _hand_over(self, octets: int) -> None:
        """The last write, of so many octets, has filled the transport."""
        self._handed = octets
        self._flusher.holds(self)

    def _drop(self, limit: int) -> None:
        """Drop what the policy does not keep, of more than so many octets."""
        policy, dropped = self._flusher.policy, self.dropped
        if policy == "newest":
            self._keep_newest(limit)
        elif policy == "drop":
            self._drop_latest(limit)
        self._flusher.dropped += self.dropped - dropped

    def _drop_latest(self, limit: int) -> None:
        """Take out messages from the end until the rest fits. Mostly it is the one that has just come; when that is an
        answer, it needs room all the same: a heart-beat of one octet must not cut its client off.
        """
        index = len(self._frames)
        while self._octets > limit and index:
            index -= 1
            if self._slots[index] is not None:
                self._octets -= len(self._frames[index])
                self.dropped += 1
                del self._frames[index], self._slots[index]

    def _keep_newest(self, limit: int) -> None:
        """Keep the answers, and the newest message of each slot; if that is still too much, the newest of these."""
        kept: list[int] = []
        seen: set[object] = set()
        room = limit - sum(len(frame) for frame, slot in zip(self._frames, self._slots, strict=True) if slot is None)
        for index in range(len(self._frames) - 1, -1, -1):
            slot = self._slots[index]
            if slot is not None:
                if slot in seen or len(self._frames[index]) > room:
                    continue
                seen.add(slot)
                room -= len(self._frames[index])
            kept.append(index)
        self._keep(kept[::-1])

    def _keep(self, indices: Sequence[int]) -> None:
        self.dropped += len(self._frames) - len(indices)
        self._frames = [self._frames[index] for index in indices]
        self._slots = [self._slots[index] for index in indices]
        self._octets = sum(map(len, self._frames))


class Flusher:
    """Flushes, once per turn of the reactor, every outbox in which something waits.

    :ivar clock: seconds, monotonic.
    :ivar limit: octets that may wait for one client.
    :ivar piece: octets that may wait for one client until the end of the turn.
    :ivar total_limit: octets that may wait for all clients whose transports are full.
    :ivar policy: what happens beyond these limits.
    :ivar held: octets that wait for clients whose transports are full, here and at most in these.
    :ivar at_end_of_turn: calls its argument when all input of this turn of the reactor was processed.
    :ivar dropped: messages the policy did not let through, of all clients since the start.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at_end_of_turn: Callable[[Callable[[], None]], object],
        failed: Callable[[Outbox, Exception], None],
        settings: OutboxSettings | None = None,
    ) -> None:
        """
        :param at_end_of_turn: calls its argument when all input of this turn of the reactor was processed.
        :param failed: is called with an outbox whose sink raised, and the exception.
        """
        self.clock = clock
        self.settings = settings or OutboxSettings()
        self.dropped = 0
        self.at_end_of_turn = at_end_of_turn
        self._failed = failed
        self._waiting: list[Outbox] = []
        self._first: list[Callable[[], None]] = []
        self._due = False
        self.held = 0
        self._held: dict[Outbox, int] = {}

    @property
    def settings(self) -> OutboxSettings:
        """The limits and the policy; new ones count at once, also for clients that are connected."""
        return self._settings

    @settings.setter
    def settings(self, settings: OutboxSettings) -> None:
        self._settings = settings
        self.limit = settings.OUTBOX_BYTES
        self.piece = min(PIECE, self.limit)  # read for each message and client
        self.total_limit = settings.OUTBOX_TOTAL_BYTES
        self.policy: Policy = settings.SLOW_CLIENTS

    def holds(self, outbox: Outbox) -> None:
        """What a client costs whose transport is full, or was until now, has changed."""
        self._count(outbox)
        if self.held > self.total_limit and outbox.blocked:
            self._relieve()

    def _count(self, outbox: Outbox) -> None:
        octets = outbox.held
        self.held += octets - self._held.pop(outbox, 0)
        if octets:
            self._held[outbox] = octets

    def _relieve(self) -> None:
        """Let the largest give way, until there is some room: sorting takes long, so it should not happen each time."""
        self._reduce(sorted(self._held, key=self._held.__getitem__, reverse=True), Outbox.give_way)
        now = self.clock()
        self._reduce(sorted(self._held, key=lambda outbox: outbox.cost(now), reverse=True), Outbox.cut_off)

    def _reduce(self, outboxes: Sequence[Outbox], reduce: Callable[[Outbox], None]) -> None:
        for outbox in outboxes:
            if self.held <= self.total_limit * _RELIEVED:
                return
            reduce(outbox)
            self._count(outbox)

    def add(self, outbox: Outbox) -> None:
        """An outbox has something to write."""
        self._waiting.append(outbox)
        if not self._due:
            self._come()

    def first(self, call: Callable[[], None]) -> None:
        """Have something done at the end of this turn that fills outboxes, just before they are flushed."""
        self._first.append(call)
        if not self._due:
            self._come()

    def _come(self) -> None:
        self._due = True
        self.at_end_of_turn(self._flush)

    def _flush(self) -> None:
        first, self._first = self._first, []
        for call in first:
            call()
        waiting, self._waiting = self._waiting, []
        self._due = False
        for outbox in waiting:
            try:
                outbox.flush()
            except Exception as error:  # noqa: BLE001  (one broken client is reported and stops nobody else)
                self._failed(outbox, error)
