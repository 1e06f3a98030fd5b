"""CONNECT and CONNECTED: what two sides agree on before anything else (stomp.md §1).

:class:`Agreement` is the version and the heart-beats; :class:`Heartbeat` keeps them (STOMP 1.1 and 1.2,
"Heart-beating"; stomp.md §5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fanout.stomp.codec import Frame, RemoteProtocolError
from fanout.stomp.dialect import DIALECTS, VERSIONS, Dialect, choose
from fanout.stomp.limits import SessionOptions

_HEART_BEAT = re.compile(r"([0-9]{1,20}),([0-9]{1,20})", re.ASCII)
_SHORTEST, _LONGEST = 1.0, 3600.0  # below: a client could make us write a thousand times a second; above: pointless
_EARLY = 0.8  # of the interval, because a beat takes time to travel
_PATIENCE = 2.0  # intervals without a sign of life before a client counts as gone


class Heartbeat:
    """When each side owes the other a sign of life. Times are seconds on the caller's clock.

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
        """Whether we have sent nothing for so long that a beat is due."""
        return bool(self.send_every) and now - sent_at >= self.send_every * _EARLY

    def missed(self, now: float, heard_at: float) -> bool:
        """Whether the client has sent nothing for so long that it must be gone."""
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


# The ERROR for a client that speaks no version of ours (N4). It is complete here because no version is agreed that
# would say how to write it.
UNSUPPORTED_VERSION = Frame(
    "ERROR",
    (("version", ",".join(VERSIONS)), ("content-type", "text/plain"), ("message", "Unsupported version")),
    f"This server speaks STOMP {', '.join(VERSIONS)}; accept-version names none of them.\n".encode(),
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a CONNECT frame led to."""

    connect: Frame
    dialect: Dialect
    heartbeat: Heartbeat


def version_of(connect: Frame) -> str | None:
    """The version to speak: 1.0 without ``accept-version`` (N2); None when there is no common one (N4)."""
    accepted = connect.get("accept-version")
    return "1.0" if accepted is None else choose(accepted)


def agree(connect: Frame, version: str, session_options: SessionOptions) -> Agreement:
    """Find what the client's wishes and our options have in common.

    :raises RemoteProtocolError: a malformed ``heart-beat``, or a host that is not served.
    """
    dialect = session_options.dialects[version]
    if dialect.lenient:
        return Agreement(connect, dialect, Heartbeat(send_every=session_options.idle_lf))
    host = connect.get("host")
    if session_options.hosts and host is not None and host not in session_options.hosts:
        raise RemoteProtocolError("Unknown host", "The host header names a virtual host that is not served here.")
    return Agreement(
        connect, dialect, Heartbeat.agree(connect.get("heart-beat", "0,0") or "", session_options.heartbeat)
    )


def connected(agreement: Agreement, session_id: str, session_options: SessionOptions) -> Frame:
    """The CONNECTED frame (N5); a plain ``CONNECT`` gets the original's, to the letter."""
    connect, dialect = agreement.connect, agreement.dialect
    headers = []
    for asked, answered in (("request-id", "response-id"), ("receipt", "receipt-id")):
        if (value := connect.get(asked)) is not None:
            headers.append((answered, value))
    headers.append(("session", session_id))
    if connect.get("accept-version") is not None:
        headers.append(("version", dialect.version))
    if not dialect.lenient:
        headers += [("server", session_options.server), ("heart-beat", ",".join(map(str, session_options.heartbeat)))]
    return Frame("CONNECTED", tuple(headers))


assert DIALECTS.keys() == set(VERSIONS)
