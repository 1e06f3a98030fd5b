"""The settings of STOMP, and the values that a session takes from them: its limits, and what it offers.

A session gets plain values, because an operator's bounds do not bind every user of the protocol core: a client accepts
larger frames than a server. The defaults of both are those of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import field_validator

from fanout.settings.field import HOSTS, MAX_PORT, SettingsGroup, setting
from fanout.stomp.dialect import DIALECTS, Dialect


class StompSettings(SettingsGroup):
    """STOMP."""

    STOMP_IP: str = setting("0.0.0.0", "The one address to listen on; :: is every address, IPv6 too.")  # noqa: S104
    STOMP_PORT: int = setting(61613, "The port to listen on; clients expect 61613.", ge=0, le=MAX_PORT)
    STOMP_HOSTS: str = setting(
        "",
        "Accepted values of the host header, with commas; empty accepts any, as some clients send none.",
        pattern=HOSTS,
        reload=True,
    )
    HEARTBEAT_MS: str = setting(
        "10000,10000",
        "Heart-beats: what we send, what we ask for; some clients close a connection after 30 s of silence.",
        "ms,ms",
        pattern=r"^\d{1,7},\d{1,7}$",
        reload=True,
    )
    IDLE_LF_SECONDS: float = setting(
        0,
        "Silence after which a client without heart-beats is sent a LF; 0 = never, as one client mistakes it.",
        "s",
        ge=0,
        reload=True,
    )
    TRAILING_LF: Literal["auto", "on", "off"] = setting(
        "auto", "LF after each frame we send; auto = from STOMP 1.1 on, as some old clients break on it.", reload=True
    )
    LINGER_SECONDS: float = setting(
        1, "How long to read on after an ERROR, so that a TCP reset does not discard the ERROR.", "s", ge=0, le=60
    )

    @field_validator("STOMP_IP")
    @classmethod
    def _one_address(cls, value: str) -> str:
        if "," in value or not value.strip():
            raise ValueError("should be one address to listen on, such as 0.0.0.0 or ::")
        return value


class StompLimitSettings(SettingsGroup):
    """Limits of one STOMP client."""

    CONNECT_TIMEOUT: float = setting(
        10, "Time for a complete CONNECT; clients need well under one second.", "s", ge=0.1, reload=True
    )
    CONNECT_BYTES: int = setting(16_384, "Largest CONNECT frame, headers and body.", "octets", ge=256, reload=True)
    MAX_FRAME_BYTES: int = setting(
        262_144, "Largest frame, headers and body; most have less than 1,000 octets.", "octets", ge=1024, reload=True
    )
    MAX_HEADER_BYTES: int = setting(
        8_192,
        "Longest header line or command line; ActiveMQ and Apollo allow 10 KiB.",
        "octets",
        ge=256,
        reload=True,
    )
    MAX_HEADERS: int = setting(
        64, "Most header lines of one frame; publishers send about ten.", "headers", ge=8, reload=True
    )
    MAX_SUBSCRIPTIONS: int = setting(
        256,
        "Most subscriptions of one client; most clients need two, a page with many topics some dozens.",
        "subscriptions",
        ge=1,
        reload=True,
    )
    MAX_TRANSACTIONS: int = setting(
        16, "Most transactions that one client may hold open.", "transactions", ge=1, reload=True
    )
    MAX_TRANSACTION_ACTIONS: int = setting(
        1_024, "Most frames that wait in one transaction for its COMMIT.", "frames", ge=1, reload=True
    )
    MAX_TRANSACTION_BYTES: int = setting(
        1_048_576,
        "Most octets, of headers and bodies, that wait in one transaction for its COMMIT.",
        "octets",
        ge=1024,
        reload=True,
    )
    MAX_UNACKED: int = setting(
        4_096,
        "Messages of one subscription remembered for an ACK; beyond it the oldest count as acknowledged.",
        "messages",
        ge=1,
        reload=True,
    )
    FRAME_TIMEOUT: float = setting(
        30, "Time for a frame that has begun to be complete, against clients that drip octets.", "s", ge=1, reload=True
    )
    MAX_DESTINATION_BYTES: int = setting(
        1_024, "Longest topic; most have less than 100 octets.", "octets", ge=64, reload=True
    )
    MAX_PENDING_RECEIPTS: int = setting(
        1_000,
        "Frames of one client that may wait for the bus; above it the server stops reading from the client.",
        "frames",
        ge=1,
        reload=True,
    )


_DEFAULTS = StompLimitSettings()


@dataclass(frozen=True, slots=True)
class StompLimits:
    """Bounds for one connection.

    :ivar connect_bytes: octets before the first frame is complete. The client is unknown yet; a CONNECT needs a few
        hundred.
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

    connect_bytes: int = _DEFAULTS.CONNECT_BYTES
    connect_timeout: float = _DEFAULTS.CONNECT_TIMEOUT
    frame_bytes: int = _DEFAULTS.MAX_FRAME_BYTES
    header_bytes: int = _DEFAULTS.MAX_HEADER_BYTES
    headers: int = _DEFAULTS.MAX_HEADERS
    frame_timeout: float = _DEFAULTS.FRAME_TIMEOUT
    destination_bytes: int = _DEFAULTS.MAX_DESTINATION_BYTES
    subscriptions: int = _DEFAULTS.MAX_SUBSCRIPTIONS
    transactions: int = _DEFAULTS.MAX_TRANSACTIONS
    transaction_actions: int = _DEFAULTS.MAX_TRANSACTION_ACTIONS
    transaction_bytes: int = _DEFAULTS.MAX_TRANSACTION_BYTES
    unacknowledged: int = _DEFAULTS.MAX_UNACKED
    pending_answers: int = _DEFAULTS.MAX_PENDING_RECEIPTS

    @classmethod
    def of(cls, settings: StompLimitSettings) -> StompLimits:
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
