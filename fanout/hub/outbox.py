"""The octets that wait for one client: limited, and joined into one write per turn of the reactor.

**Responsibilities.** Everything that is sent to a client goes through its :class:`Outbox`: messages, which arrive at
any time, and *answers* (RECEIPT, ERROR, heart-beats), which the client must get. The outbox keeps both in one order,
joins the frames of one turn into one write, and decides what happens when the client reads too slowly. One
:class:`Flusher` serves all outboxes: it flushes them at the end of the turn, knows the limits, and keeps the sum below
its limit.

**The states of an outbox**::

              offer                    end of the turn: one write
      IDLE ───────────> WAITING ──────────────────────────────────> IDLE
                           │
                           │ block: the transport is full
                           v
                        BLOCKED ── unblock: the rest is written ──> IDLE
                           │
                           │ above the limit: the policy; if that is not enough, cut_off
                           v
                        the client is gone (close)

``block`` may also be called in IDLE, and from within the write itself. While BLOCKED nothing is written; octets wait
here and not in the transport, which has no limit.

**The limits.** For a client that does not read, at most ``OUTBOX_BYTES`` wait here, and in its transport the octets of
one write: :data:`PIECE` and one frame. More than one piece is written at once, not at the end of the turn, and the rest
in such pieces when the transport has room again. All clients together may use ``OUTBOX_TOTAL_BYTES``, here and in their
transports: :class:`Flusher` counts the octets in each blocked outbox, and all octets of the write that filled its
transport. (The socket has taken some of these; we cannot know how many, and until ``unblock`` there are no more.) Above
this limit messages are dropped first, from the outboxes with the most octets. If that is not enough, clients are
disconnected, beginning with those that have used the most, in octets multiplied by time. The policy ``SLOW_CLIENTS``
decides what happens to messages:

======= ==========================================================================================
newest  only the newest message of each subscription is kept; it replaces the missed ones
drop    messages that do not fit are dropped, the latest first
queue   everything is kept up to the limit, then the client is disconnected
======= ==========================================================================================

**Invariants.**

- Frames are written in the order in which they were queued; the policy removes messages and never reorders them.
- An answer is never dropped. A client that sends requests and does not read the answers is disconnected.
- Octets that were passed to a transport cannot be taken back. The client can be disconnected, which frees them.
- ``octets`` is the sum of the frames; ``_frames`` and ``_slots`` have the same length.
- The first frame in an outbox that is not blocked puts the outbox on the flusher's list. The outbox is in ``_held``
  exactly when it is blocked and something waits, here or in its transport. So an idle client costs the flusher nothing.
- If a sink raises, the other clients are not affected.

**Why not write at once?** A write is a system call, and the most expensive part of a delivery. A busy publisher sends
many messages to a client in one turn; one write for all of them makes the fan-out fast. If a message is known to be the
only one of the turn, :meth:`Outbox.pass_on` does write at once. **Why not the transport's buffer?** Nothing can be
removed from it: a client that reads again after a minute would get a minute of old messages before the current one.

A frame may be shared by thousands of outboxes (``bytes`` of a cohort), so nothing here copies or changes frames until
they are joined for the write.

Sans-IO; the end of a turn is a callback from the owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from fanout.settings.field import SettingsGroup, setting

PIECE = 16_384
"""Octets passed to a transport in one write, not counting the last frame: one record of TLS. So 18,000 clients
(MAX_CONNECTIONS) with frames of their own have at most 300 MB waiting for the end of a turn."""
_RELIEVED = 0.875
"""Part of the total limit to which the waiting octets are reduced when the limit is exceeded."""

Policy = Literal["newest", "drop", "queue"]


class OutboxSettings(SettingsGroup):
    """Slow clients."""

    OUTBOX_BYTES: int = setting(
        1_048_576,
        "Limit of the octets that wait for one slow client; above it SLOW_CLIENTS applies.",
        "octets",
        why="Raise it together with MAX_FRAME_BYTES; lower it if many slow clients take too much memory.",
        ge=4096,
        reload=True,
    )
    OUTBOX_TOTAL_BYTES: int = setting(
        268_435_456,
        "Limit of the octets that wait for all slow clients together; above it messages are dropped, then clients.",
        "octets",
        why="Adapt it to the memory of the machine.",
        ge=65_536,
        reload=True,
    )
    SLOW_CLIENTS: Policy = setting(
        "newest",
        "If an outbox is full: newest keeps one message per topic, drop drops new ones, queue disconnects.",
        why="Set it to queue if clients must never miss a message without noticing, such as recorders.",
        reload=True,
    )
    WRITE_TIMEOUT: float = setting(
        60,
        "Time after which a client is disconnected if it reads none of the octets that wait for it.",
        "s",
        why="Raise it if phones should stay connected when they lose their network for more than a minute.",
        ge=1,
        reload=True,
    )

    def doubts(self) -> tuple[str, ...]:
        """A warning if the limit for all clients is below the limit for one."""
        if self.OUTBOX_TOTAL_BYTES >= self.OUTBOX_BYTES:
            return super().doubts()
        doubt = (
            f"OUTBOX_TOTAL_BYTES = {self.OUTBOX_TOTAL_BYTES} is less than OUTBOX_BYTES = {self.OUTBOX_BYTES}, "
            "so the latter has no effect."
        )
        return (*super().doubts(), doubt)


class Sink(Protocol):
    """Writes the octets of an outbox."""

    def write(self, data: bytes) -> None:
        """Write octets. May call :meth:`Outbox.block` before it returns."""
        ...

    def cut_off(self) -> None:
        """Close the connection after this call has returned, because the client does not read."""
        ...


class _Nobody:
    """The sink of a client that is disconnected."""

    def write(self, data: bytes) -> None:
        """Do nothing: the client is disconnected."""

    def cut_off(self) -> None:
        """Do nothing: the client is disconnected."""


_NOBODY = _Nobody()


class Outbox:
    """The frames that wait for one client.

    :ivar blocked: whether the transport is full; nothing is written until :meth:`unblock`.
    :ivar sent_at: when octets were last written, in seconds of the flusher's clock.
    :ivar dropped: how many messages the policy has dropped.
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
        self._slots: list[object] = []  # for each frame: its slot, or None for an answer
        self._octets = 0
        self._handed = 0  # while blocked: octets of the write that filled the transport
        self._kept = 0  # while blocked: how many frames cannot be dropped
        self.blocked = False
        self.sent_at = flusher.clock()
        self.dropped = 0

    def send(self, data: bytes) -> None:
        """Queue frames that must not be dropped."""
        self.offer(None, data)

    def offer(self, slot: object, data: bytes) -> None:
        """Queue a message.

        :param slot: under the policy ``newest`` a message replaces older ones with an equal slot.
        :param data: its octets.
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
        """Like :meth:`offer`, but write at once if nothing waits. Use it if no other frame will be queued in this
        turn.
        """
        if self._frames or self.blocked:
            self.offer(slot, data)
            return
        self.sent_at = self._flusher.clock()
        self._sink.write(data)
        if self.blocked:
            self._hand_over(len(data))  # type: ignore[unreachable]  # the sink has called block

    def has_room(self, octets: int) -> bool:
        """Whether this number of octets can be written or queued without dropping anything."""
        return not self.blocked and self._octets + octets <= self._flusher.limit

    def flush(self) -> None:
        """Write the waiting frames in one piece. The flusher calls this at the end of the turn, and the owner before a
        close.

        The frames are at most one piece: more than that would have been written before.
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
        """How many octets wait."""
        return self._octets

    @property
    def held(self) -> int:
        """How many octets the client costs because it does not read: those that wait here, and at most those in its
        transport.
        """
        return self._octets + self._handed if self.blocked else 0

    def cost(self, now: float) -> tuple[float, int]:
        """The cost of the client so far: its octets multiplied by the seconds since the last write, and the octets."""
        held = self.held
        return held * (now - self.sent_at), held

    def block(self) -> None:
        """The transport is full."""
        self.blocked = True
        if self._frames:
            self._flusher.holds(self)

    def unblock(self) -> None:
        """The transport has room again: write the waiting frames."""
        self.blocked = False
        self._handed = self._kept = 0
        self._flusher.holds(self)
        try:
            while self._frames and not self.blocked:
                self._write_piece()
        except Exception:
            self.clear()  # the flusher has no record of it
            raise

    def clear(self) -> None:
        """Drop the waiting frames."""
        self._forget()
        if self.blocked:
            self._flusher.holds(self)

    def close(self) -> None:
        """The client is disconnected: drop the waiting frames and the sink. Outbox and sink refer to each other, and
        would stay in memory until Python's garbage collector finds the cycle.
        """
        self.clear()
        if self.blocked:
            self.unblock()
        self._sink = _NOBODY

    def give_way(self) -> None:
        """Drop messages because all clients together use too much and this one more than others. Under the policy
        ``newest`` only the newest messages are kept, otherwise half of the octets.
        """
        if len(self._frames) != self._kept:
            before = self._octets
            self._drop(before if self._flusher.policy == "newest" else before // 2)
            self._kept = len(self._frames) if self._octets == before else 0

    def cut_off(self) -> None:
        """Close the connection of a client that uses too much. When it reconnects it gets the retained messages."""
        self._handed = 0
        self._forget()
        self._sink.cut_off()

    def _forget(self) -> None:
        self._frames.clear()
        self._slots.clear()
        self._octets = 0

    def _shrink(self) -> None:
        """More than one piece waits: write it. If that is not possible, enforce the limit."""
        limit = self._flusher.limit
        if self._octets > limit:
            self._drop(limit)
        if self._octets > limit:
            self.cut_off()
        elif self._octets > PIECE:
            self.flush()

    def _write_piece(self) -> None:
        """Write the first frames, up to and including the one with which they are more than a piece."""
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
        """The last write, of this number of octets, has filled the transport."""
        self._handed = octets
        self._flusher.holds(self)

    def _drop(self, limit: int) -> None:
        """Drop messages by the policy until at most this number of octets waits."""
        policy, dropped = self._flusher.policy, self.dropped
        if policy == "newest":
            self._keep_newest(limit)
        elif policy == "drop":
            self._drop_latest(limit)
        self._flusher.dropped += self.dropped - dropped

    def _drop_latest(self, limit: int) -> None:
        """Drop messages from the end until the rest fits. Usually this is the message that was just queued. If an
        answer was just queued, older messages are dropped for it: a heart-beat of one octet must not disconnect its
        client.
        """
        index = len(self._frames)
        while self._octets > limit and index:
            index -= 1
            if self._slots[index] is not None:
                self._octets -= len(self._frames[index])
                self.dropped += 1
                del self._frames[index], self._slots[index]

    def _keep_newest(self, limit: int) -> None:
        """Keep the answers, and the newest message of each slot. If that is still too much, keep the newest of
        these.
        """
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
    """Flushes every outbox with waiting frames, once per turn of the reactor.

    :ivar clock: a monotonic clock in seconds.
    :ivar limit: octets that may wait for one client.
    :ivar piece: octets that may wait for one client until the end of the turn.
    :ivar total_limit: octets that may wait for all clients whose transports are full.
    :ivar policy: what happens above these limits.
    :ivar held: octets that wait for clients whose transports are full: those here, and at most those in the transports.
    :ivar at_end_of_turn: calls its argument when all input of this turn of the reactor was processed.
    :ivar dropped: how many messages of all clients the policy has dropped since the start.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at_end_of_turn: Callable[[Callable[[], None]], object],
        failed: Callable[[Outbox, Exception], None],
        settings: OutboxSettings | None = None,
    ) -> None:
        """
        :param clock: a monotonic clock in seconds.
        :param at_end_of_turn: calls its argument when all input of this turn of the reactor was processed.
        :param failed: called with an outbox whose sink raised, and the exception.
        :param settings: the limits and the policy.
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
        """The limits and the policy. New ones take effect at once, for connected clients too."""
        return self._settings

    @settings.setter
    def settings(self, settings: OutboxSettings) -> None:
        self._settings = settings
        self.limit = settings.OUTBOX_BYTES
        self.piece = min(PIECE, self.limit)  # read for each message and client
        self.total_limit = settings.OUTBOX_TOTAL_BYTES
        self.policy: Policy = settings.SLOW_CLIENTS

    def holds(self, outbox: Outbox) -> None:
        """Count again the octets of a client whose transport is full, or was full until now."""
        self._count(outbox)
        if self.held > self.total_limit and outbox.blocked:
            self._relieve()

    def _count(self, outbox: Outbox) -> None:
        octets = outbox.held
        self.held += octets - self._held.pop(outbox, 0)
        if octets:
            self._held[outbox] = octets

    def _relieve(self) -> None:
        """Reduce the largest outboxes until there is some room: sorting takes long, so it should not happen each
        time.
        """
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
        """Note that an outbox has something to write."""
        self._waiting.append(outbox)
        if not self._due:
            self._come()

    def first(self, call: Callable[[], None]) -> None:
        """Make a call at the end of this turn, just before the outboxes are flushed, because it fills outboxes."""
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
