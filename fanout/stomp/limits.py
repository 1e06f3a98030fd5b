"""The limits and settings of STOMP, and the values that a session gets from them.

A session gets plain values, because the limits of a server do not apply to every user of the protocol core: a client
accepts larger frames than a server. The defaults of both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import field_validator

from fanout.settings.field import HOSTS, MAX_PORT, SettingsGroup, constant, setting
from fanout.stomp.dialect import DIALECTS, Dialect

CONNECT_SECONDS: float = 10
"""Seconds from the opening of the connection to a complete CONNECT. Clients need well under one second, or a few
seconds over a slow mobile network. A silent connection is closed after this time, because it counts towards
MAX_CONNECTIONS."""
CONNECT_BYTES = 16_384
"""Octets that a client may send before its first frame is complete. The client is not known at that time. A CONNECT has
a few hundred octets, or a few thousand with a long token as its login."""
MAX_HEADER_BYTES = 8_192
"""Octets of the command line or of one header line. ActiveMQ and Apollo allow 10 KiB; the longest header in use is a
link with some hundred octets."""
MAX_HEADERS = 64
"""Header lines in one frame. Publishers send about ten; RabbitMQ, ActiveMQ and Apollo allow 1,000. Each header takes
time to parse, and memory in every copy of the frame."""
FRAME_SECONDS: float = 30
"""Seconds from the first octet of a frame to its last, against clients that send one octet at a time. A frame of 256
KiB arrives in this time at 70 kbit/s."""
MAX_DESTINATION_BYTES = 1_024
"""Octets of a topic, over any protocol. Most topics have less than 100. A topic is used as a key in the hub, in
memcached and in the journal."""
MAX_ID_BYTES = 255
"""Octets of the id of a subscription. Clients use numbers or UUIDs. A server keeps the ids of all subscriptions; with
MAX_HEADER_BYTES each, they would take gigabytes."""
MAX_TRANSACTIONS = 16
"""Transactions that one client may hold open at the same time. Publishers use one or none."""
MAX_TRANSACTION_ACTIONS = 1_024
"""SEND, ACK and NACK frames that wait in one transaction. Its COMMIT executes them together."""
MAX_TRANSACTION_BYTES = 1_048_576
"""Octets of memory of the frames that wait in one transaction: three frames of 256 KiB, or 1,024 of 1,000 octets with
three headers. INPUT_BYTES limits the sum over all clients."""
TRANSACTION_SECONDS: float = 60
"""Seconds from a BEGIN to its COMMIT or ABORT. A publisher that collects frames commits within a second. Without this
limit, a faulty publisher would occupy the memory of its frames for as long as it is connected."""
MAX_UNACKED = 4_096
"""Messages that the server remembers for one client until their ACK, in equal shares of the client's subscriptions.
Above the limit, the oldest messages count as acknowledged. Messages of topics are never redelivered, so this affects
only the ACK of an old message. Each message takes 8 octets, and its id about 100, which all clients share."""
MAX_PENDING_RECEIPTS = 1_000
"""Frames of one client that may wait for the bus. Above this number, the server stops reading from the client. A broker
confirms thousands of messages per second, so this does not delay a client that sends quickly."""
MAX_PENDING_BYTES = 4_194_304
"""Octets of the frames of one client that may wait for the bus: 16 frames of 256 KiB. Above this number, the server
stops reading from the client. MAX_PENDING_RECEIPTS frames of that size would take 250 MiB for one client."""


class StompSettings(SettingsGroup):
    """STOMP."""

    STOMP_IP: str = setting(
        "0.0.0.0",  # noqa: S104
        "The one address to listen on for STOMP; :: is every address, IPv6 too.",
        why="Set it if the machine has several networks, or if clients use IPv6.",
    )
    STOMP_PORT: int = setting(
        61613,
        "The port to listen on for STOMP over TCP; 0 = a free one.",
        why="Change it if a second node runs on the machine; receivers expect 61613.",
        ge=0,
        le=MAX_PORT,
    )
    STOMP_HOSTS: str = setting(
        "",
        "Accepted values of the host header in CONNECT, with commas; empty = any.",
        why="Set it if clients of another service reach this port by mistake; some receivers send no or a wrong host.",
        pattern=HOSTS,
        reload=True,
    )
    HEARTBEAT_MS: str = setting(
        "10000,10000",
        "Heart-beats, two numbers with a comma: how often we send one, and how often we ask clients for one.",
        "ms,ms",
        why="Lower it if a network closes connections silent for 10 s; some clients themselves do after 30 s.",
        pattern=r"^\d{1,7},\d{1,7}$",
        reload=True,
    )
    IDLE_LF_SECONDS: float = setting(
        0,
        "Silence after which a client without heart-beats is sent a line feed; 0 = never.",
        "s",
        why="Set it if a NAT forgets idle connections; one old receiver mistakes the line feed for a frame.",
        ge=0,
        reload=True,
    )
    TRAILING_LF: Literal["auto", "on", "off"] = setting(
        "auto",
        "Line feed after each frame we send; auto = to clients of STOMP 1.1 and later.",
        why="Set it if a client of yours needs the line feed, or fails because of it.",
        reload=True,
    )

    @field_validator("STOMP_IP")
    @classmethod
    def _one_address(cls, value: str) -> str:
        if "," in value or not value.strip():
            raise ValueError("should be one address to listen on, such as 0.0.0.0 or ::")
        return value


class StompLimitSettings(SettingsGroup):
    """Limits of one STOMP client."""

    retired: ClassVar[Mapping[str, str]] = {
        "CONNECT_TIMEOUT": constant(CONNECT_SECONDS, "s"),
        "CONNECT_BYTES": constant(CONNECT_BYTES, "octets"),
        "MAX_HEADER_BYTES": constant(MAX_HEADER_BYTES, "octets"),
        "MAX_HEADERS": constant(MAX_HEADERS, "headers"),
        "FRAME_TIMEOUT": constant(FRAME_SECONDS, "s"),
        "MAX_DESTINATION_BYTES": constant(MAX_DESTINATION_BYTES, "octets"),
        "MAX_TRANSACTIONS": constant(MAX_TRANSACTIONS, "transactions"),
        "MAX_TRANSACTION_ACTIONS": constant(MAX_TRANSACTION_ACTIONS, "frames"),
        "MAX_TRANSACTION_BYTES": constant(MAX_TRANSACTION_BYTES, "octets"),
        "MAX_UNACKED": constant(MAX_UNACKED, "messages"),
        "MAX_PENDING_RECEIPTS": constant(MAX_PENDING_RECEIPTS, "frames"),
    }

    MAX_FRAME_BYTES: int = setting(
        262_144,
        "Largest frame that a STOMP client may send, headers and body.",
        "octets",
        why="Raise it if publishers send pictures instead of links; most frames have less than 1,000 octets.",
        ge=1024,
        reload=True,
    )
    MAX_SUBSCRIPTIONS: int = setting(
        256,
        "Most subscriptions of one STOMP client.",
        "subscriptions",
        why="Raise it if a client listens to all stations; receivers need two, a page with many topics some dozens.",
        ge=1,
        reload=True,
    )


_DEFAULTS = StompLimitSettings()


@dataclass(frozen=True, slots=True)
class StompLimits:
    """Limits of one connection. The constants above give the defaults, their units and their reasons.

    :ivar connect_bytes: octets that a client may send before its first frame is complete.
    :ivar connect_timeout: seconds until the first frame must be complete.
    :ivar frame_bytes: octets of one frame, headers and body. Most messages are a few hundred octets; RabbitMQ's
        STOMP plugin allows 4 MiB of body, ActiveMQ 100 MiB.
    :ivar header_bytes: octets of the command line or of one header line.
    :ivar headers: header lines in one frame.
    :ivar frame_timeout: seconds from the first octet of a frame to its last.
    :ivar destination_bytes: octets of a destination.
    :ivar subscriptions: subscriptions of one client at the same time.
    :ivar transactions: open transactions of one client at the same time.
    :ivar transaction_actions: SEND, ACK and NACK frames waiting in one transaction.
    :ivar transaction_bytes: octets of memory of the frames waiting in one transaction.
    :ivar transaction_seconds: seconds that a transaction may stay open.
    :ivar unacknowledged: messages remembered for an ACK, in equal shares of a client's subscriptions. Above the limit,
        the oldest messages count as acknowledged.
    :ivar pending_answers: frames of one client that may wait for the bus. Above the limit, reading pauses.
    :ivar pending_bytes: octets of the frames of one client that may wait for the bus. Above the limit, reading pauses.
    """

    connect_bytes: int = CONNECT_BYTES
    connect_timeout: float = CONNECT_SECONDS
    frame_bytes: int = _DEFAULTS.MAX_FRAME_BYTES
    header_bytes: int = MAX_HEADER_BYTES
    headers: int = MAX_HEADERS
    frame_timeout: float = FRAME_SECONDS
    destination_bytes: int = MAX_DESTINATION_BYTES
    subscriptions: int = _DEFAULTS.MAX_SUBSCRIPTIONS
    transactions: int = MAX_TRANSACTIONS
    transaction_actions: int = MAX_TRANSACTION_ACTIONS
    transaction_bytes: int = MAX_TRANSACTION_BYTES
    transaction_seconds: float = TRANSACTION_SECONDS
    unacknowledged: int = MAX_UNACKED
    pending_answers: int = MAX_PENDING_RECEIPTS
    pending_bytes: int = MAX_PENDING_BYTES

    @classmethod
    def of(cls, settings: StompLimitSettings) -> StompLimits:
        """The limits with the values of the operator's settings."""
        return cls(frame_bytes=settings.MAX_FRAME_BYTES, subscriptions=settings.MAX_SUBSCRIPTIONS)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What all sessions of a server offer to their clients.

    :ivar server: the ``server`` header of CONNECTED, name/version.
    :ivar heartbeat: milliseconds between the heart-beats that the server can send, and between those it asks for.
    :ivar idle_lf: seconds of silence after which the server sends a LF to a client without heart-beats; 0 for never.
        Some clients are behind a NAT that forgets idle connections; one old receiver takes the LF for a frame.
    :ivar hosts: the virtual hosts that are served; empty for any (stomp.md N6: several clients send the name of their
        socket).
    :ivar dialects: version → its dialect on this server; see :meth:`Dialect.with_trailing_lf`.
    """

    server: str = "fanout"
    heartbeat: tuple[int, int] = (10_000, 10_000)
    idle_lf: float = 0.0
    hosts: frozenset[str] = frozenset()
    dialects: Mapping[str, Dialect] = field(default_factory=lambda: DIALECTS)

    @classmethod
    def of(cls, settings: StompSettings, server: str) -> SessionOptions:
        """The options with the values of the operator's settings.

        :param settings: the settings of STOMP.
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
