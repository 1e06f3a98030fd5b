"""Heart-beats (STOMP 1.1 and 1.2, "Heart-beating"; stomp.md §5)."""

from __future__ import annotations

import re

from fanout.stomp.errors import RemoteProtocolError

_HEART_BEAT = re.compile(r"([0-9]{1,20}),([0-9]{1,20})", re.ASCII)
_SHORTEST, _LONGEST = 1.0, 3600.0  # below: a client could make us write a thousand times a second; above: pointless
_EARLY = 0.8  # of the interval, because a beat takes time to travel
_PATIENCE = 2.0  # intervals of silence before a client counts as gone


class Heartbeat:
    """Who owes whom a sign of life, and when. Times are seconds on the caller's clock.

    :ivar send_every: how often we must be heard; 0 when the client does not care.
    :ivar expect_every: how often we must hear the client; 0 when it promised nothing.
    """

    __slots__ = ("expect_every", "send_every")

    def __init__(self, send_every: float = 0.0, expect_every: float = 0.0) -> None:
        self.send_every = send_every
        self.expect_every = expect_every

    @classmethod
    def agree(cls, theirs: str, ours: tuple[int, int]) -> Heartbeat:
        """Both sides' wishes brought together.

        :param theirs: the ``heart-beat`` header of CONNECT: what the client can send, what it wants, in milliseconds.
        :param ours: the same for us.
        :raises RemoteProtocolError: the header is not two non-negative integers.
        """
        match = _HEART_BEAT.fullmatch(theirs)
        if match is None:
            raise RemoteProtocolError(
                "Malformed heart-beat", "heart-beat must be two whole numbers of milliseconds, such as 10000,10000."
            )
        can_send, wants = int(match[1]), int(match[2])
        return cls(_interval(ours[0], wants), _interval(can_send, ours[1]))

    def owed(self, now: float, sent_at: float) -> bool:
        """Whether we have been silent long enough for a beat."""
        return bool(self.send_every) and now - sent_at >= self.send_every * _EARLY

    def missed(self, now: float, heard_at: float) -> bool:
        """Whether the client has been silent so long that it must be gone."""
        return bool(self.expect_every) and now - heard_at > self.expect_every * _PATIENCE

    def next_look(self, sent_at: float, heard_at: float) -> float | None:
        """When something may have to be done next; None for never."""
        if not self.send_every:
            return heard_at + self.expect_every * _PATIENCE if self.expect_every else None
        owed = sent_at + self.send_every * _EARLY
        return min(owed, heard_at + self.expect_every * _PATIENCE) if self.expect_every else owed


def _interval(sender_can: int, receiver_wants: int) -> float:
    """Seconds between beats in one direction; 0 when either side does not take part."""
    if not sender_can or not receiver_wants:
        return 0.0
    return min(max(max(sender_can, receiver_wants) / 1000, _SHORTEST), _LONGEST)
