"""What one session may cost, and what it offers: the values of the settings that a session needs, without pydantic.

The defaults stand here with their reasons; each is a setting with the same meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanout.settings.engine import LimitSettings, StompSettings
from fanout.stomp.dialect import DIALECTS, Dialect


@dataclass(frozen=True, slots=True)
class StompLimits:
    """Bounds for one connection.

    :ivar connect_bytes: octets before the first frame is complete. A CONNECT of an unknown client needs a few hundred.
    :ivar connect_timeout: seconds until the first frame must be complete.
    :ivar frame_bytes: octets of one frame, headers and body. Most messages are a few hundred octets; RabbitMQ's
        STOMP plugin allows 4 MiB of body, ActiveMQ 100 MiB.
    :ivar header_bytes: octets of the command line or of one header line (ActiveMQ: 10 KiB, Apollo: 10 KiB).
    :ivar headers: header lines in one frame (RabbitMQ and ActiveMQ: 1,000; Apollo: 1,000).
    :ivar frame_timeout: seconds for a frame that has begun to be completed.
    :ivar destination_bytes: octets of a destination.
    :ivar subscriptions: live subscriptions of one client. Most clients need two, a page with many topics some dozens.
    :ivar transactions: transactions open at the same time.
    :ivar transaction_actions: SEND, ACK and NACK frames waiting in one transaction.
    :ivar transaction_bytes: octets of the frames waiting in one transaction, headers and bodies.
    :ivar unacknowledged: messages per subscription remembered for an ACK; beyond it the oldest count as acknowledged.
    :ivar pending_answers: frames of one client that wait for the bus; reading pauses above it.
    """

    connect_bytes: int = 16_384
    connect_timeout: float = 10.0
    frame_bytes: int = 262_144
    header_bytes: int = 8_192
    headers: int = 64
    frame_timeout: float = 30.0
    destination_bytes: int = 1_024
    subscriptions: int = 256
    transactions: int = 16
    transaction_actions: int = 1_024
    transaction_bytes: int = 1_048_576
    unacknowledged: int = 4_096
    pending_answers: int = 1_000

    @classmethod
    def of(cls, settings: LimitSettings) -> StompLimits:
        """As the operator wants them."""
        return cls(
            connect_bytes=settings.CONNECT_BYTES,
            connect_timeout=settings.CONNECT_TIMEOUT,
            frame_bytes=settings.MAX_FRAME_BYTES,
            header_bytes=settings.MAX_HEADER_BYTES,
            headers=settings.MAX_HEADERS,
            frame_timeout=settings.FRAME_TIMEOUT,
            destination_bytes=settings.MAX_DESTINATION_BYTES,
            subscriptions=settings.MAX_SUBSCRIPTIONS,
            transactions=settings.MAX_TRANSACTIONS,
            transaction_actions=settings.MAX_TRANSACTION_ACTIONS,
            transaction_bytes=settings.MAX_TRANSACTION_BYTES,
            unacknowledged=settings.MAX_UNACKED,
            pending_answers=settings.MAX_PENDING_RECEIPTS,
        )


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What all sessions of a server offer to their clients.

    :ivar server: the ``server`` header of CONNECTED, name/version.
    :ivar heartbeat: milliseconds between the beats we can send, and between those we want.
    :ivar idle_lf: seconds without a frame after which a client without heart-beats is sent a LF; 0 for never
        (one old receiver mistakes it for a frame; others sit behind a NAT that forgets idle connections).
    :ivar hosts: the virtual hosts served; empty for any (stomp.md N6: several clients send their socket's name).
    :ivar dialects: version → how it is written here; see :meth:`Dialect.with_trailing_lf`.
    """

    server: str = "fanout"
    heartbeat: tuple[int, int] = (10_000, 10_000)
    idle_lf: float = 0.0
    hosts: frozenset[str] = frozenset()
    dialects: Mapping[str, Dialect] = field(default_factory=lambda: DIALECTS)

    @classmethod
    def of(cls, settings: StompSettings, server: str) -> SessionOptions:
        """As the operator wants them.

        :param server: name/version, for the ``server`` header.
        """
        can_send, wants = settings.HEARTBEAT_MS.split(",")
        return cls(
            server=server,
            heartbeat=(int(can_send), int(wants)),
            idle_lf=settings.IDLE_LF_SECONDS,
            hosts=frozenset(host.strip() for host in settings.STOMP_HOSTS.split(",") if host.strip()),
            dialects={version: each.with_trailing_lf(settings.TRAILING_LF) for version, each in DIALECTS.items()},
        )
