"""The negotiation with CONNECT and CONNECTED (stomp.md §1).

:class:`Agreement` is its result: the version and the heart-beats. :class:`Heartbeat` says when heart-beats are due
(STOMP 1.1 and 1.2, "Heart-beating"; stomp.md §5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fanout.stomp.codec import Frame, RemoteProtocolError
from fanout.stomp.dialect import DIALECTS, VERSIONS, Dialect, choose
from fanout.stomp.limits import SessionOptions

_HEART_BEAT = re.compile(r"([0-9]{1,20}),([0-9]{1,20})", re.ASCII)
_SHORTEST, _LONGEST = 1.0, 3600.0  # Seconds. A client could otherwise ask for a thousand heart-beats per second.
_EARLY = 0.8  # Fraction of the interval after which a heart-beat is sent, because it takes time to arrive.
_PATIENCE = 2.0  # Intervals of silence after which a client counts as disconnected.


class Heartbeat:
    """When each side must send a heart-beat. Times are seconds on the caller's clock.

    :ivar send_every: seconds after which we must send; 0 if the client wants no heart-beats.
    :ivar expect_every: seconds after which the client must send; 0 if it sends no heart-beats.
    """

    __slots__ = ("expect_every", "send_every")

    def __init__(self, send_every: float = 0.0, expect_every: float = 0.0) -> None:
        self.send_every = send_every
        self.expect_every = expect_every

    @classmethod
    def agree(cls, theirs: str, ours: tuple[int, int]) -> Heartbeat:
        """The intervals that follow from the values of both sides.

        :param theirs: the ``heart-beat`` header of the other side: milliseconds between the heart-beats that it can
            send, and between those that it wants.
        :param ours: the same two values of our side.
        :raises RemoteProtocolError: when the header is not two non-negative integers.
        """
        match = _HEART_BEAT.fullmatch(theirs)
        if match is None:
            raise RemoteProtocolError(
                "Malformed heart-beat", "heart-beat must be two whole numbers of milliseconds, such as 10000,10000."
            )
        can_send, wants = int(match[1]), int(match[2])
        return cls(_interval(ours[0], wants), _interval(can_send, ours[1]))

    def owed(self, now: float, sent_at: float) -> bool:
        """Whether a heart-beat is due. :param sent_at: the time in seconds when we last sent octets."""
        return bool(self.send_every) and now - sent_at >= self.send_every * _EARLY

    def missed(self, now: float, heard_at: float) -> bool:
        """Whether the other side missed its heart-beats. :param heard_at: the time in seconds when it last sent
        octets.
        """
        return bool(self.expect_every) and now - heard_at > self.expect_every * _PATIENCE

    def next_look(self, sent_at: float, heard_at: float) -> float | None:
        """The time in seconds when :meth:`owed` or :meth:`missed` may next be true; None for never."""
        if not self.send_every:
            return heard_at + self.expect_every * _PATIENCE if self.expect_every else None
        owed = sent_at + self.send_every * _EARLY
        return min(owed, heard_at + self.expect_every * _PATIENCE) if self.expect_every else owed


def _interval(sender_can: int, receiver_wants: int) -> float:
    """Seconds between heart-beats in one direction; 0 if either side does not want them."""
    if not sender_can or not receiver_wants:
        return 0.0
    return min(max(max(sender_can, receiver_wants) / 1000, _SHORTEST), _LONGEST)


# The ERROR for a client that supports none of our versions (N4). It is a complete frame, as there is no dialect yet.
UNSUPPORTED_VERSION = Frame(
    "ERROR",
    (("version", ",".join(VERSIONS)), ("content-type", "text/plain"), ("message", "Unsupported version")),
    f"This server speaks STOMP {', '.join(VERSIONS)}; accept-version names none of them.\n".encode(),
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of the negotiation: the CONNECT frame, the dialect and the heart-beats."""

    connect: Frame
    dialect: Dialect
    heartbeat: Heartbeat


def version_of(connect: Frame) -> str | None:
    """The version of the session: 1.0 without ``accept-version`` (N2); None if there is no common version (N4)."""
    accepted = connect.get("accept-version")
    return "1.0" if accepted is None else choose(accepted)


def agree(connect: Frame, version: str, session_options: SessionOptions) -> Agreement:
    """Find the dialect and the heart-beats from the client's CONNECT and our options.

    :raises RemoteProtocolError: when ``heart-beat`` is malformed, or the ``host`` is not served.
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
    """The CONNECTED frame (N5). The answer to a CONNECT without further headers is exactly that of the original."""
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
