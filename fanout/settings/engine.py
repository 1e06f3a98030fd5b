"""The settings of the engine. What an application adds stands in the application's own settings file."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr, field_validator

from fanout.settings.field import JsonDict, SettingsGroup, setting

MAX_PORT = 65_535
SHORTEST_TOKEN = 16
HOSTS = r"^$|^[^\s,]+(\s*,\s*[^\s,]+)*$"


def _level_name(value: object) -> object:
    """``logging.DEBUG`` in a config.py, or its name in any case."""
    if isinstance(value, int):
        return logging.getLevelName(value)
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level_name)]


class StompSettings(SettingsGroup):
    """STOMP."""

    STOMP_IP: str = setting("0.0.0.0", "The one address to listen on; :: is every address, IPv6 too.")  # noqa: S104
    STOMP_PORT: int = setting(61613, "The port to listen on; receivers expect 61613.", ge=0, le=MAX_PORT)
    STOMP_HOSTS: str = setting(
        "",
        "Names of the host header to serve, with commas; empty serves any, as old receivers send none.",
        pattern=HOSTS,
    )
    HEARTBEAT_MS: str = setting(
        "10000,10000",
        "Heart-beats offered: what we send, what we ask for; some clients give up after 30 s of silence.",
        "ms,ms",
        pattern=r"^\d{1,7},\d{1,7}$",
    )
    IDLE_LF_SECONDS: float = setting(
        0,
        "Send clients without heart-beats a LF after this silence; 0 = never, as one receiver mistakes it.",
        "s",
        ge=0,
    )
    TRAILING_LF: Literal["auto", "on", "off"] = setting(
        "auto", "LF behind each frame we send; auto = from STOMP 1.1 on, as some old receivers break on it."
    )
    LINGER_SECONDS: float = setting(
        1, "How long to read on after an ERROR, so that a reset does not erase it on its way.", "s", ge=0, le=60
    )

    @field_validator("STOMP_IP")
    @classmethod
    def _one_address(cls, value: str) -> str:
        if "," in value or not value.strip():
            raise ValueError("should be one address to listen on, such as 0.0.0.0 or ::")
        return value


class LimitSettings(SettingsGroup):
    """Limits."""

    CONNECT_TIMEOUT: float = setting(10, "Time for a complete CONNECT; radios need well under one second.", "s", ge=0.1)
    CONNECT_BYTES: int = setting(
        16_384, "What may arrive before the CONNECT is complete: nobody is known yet.", "octets", ge=256
    )
    MAX_FRAME_BYTES: int = setting(
        262_144,
        "One frame, headers and body; a slide is a URL, so the largest real ones are far below.",
        "octets",
        ge=1024,
    )
    MAX_HEADER_BYTES: int = setting(
        8_192, "One header line, or the command line; ActiveMQ and Apollo allow 10 KiB.", "octets", ge=256
    )
    MAX_HEADERS: int = setting(64, "Header lines of one frame; publishers send about ten.", "headers", ge=8)
    MAX_SUBSCRIPTIONS: int = setting(
        256, "Subscriptions of one client; a radio needs two, a wall of slides some dozens.", "subscriptions", ge=1
    )
    MAX_SUBSCRIPTIONS_PER_ADDRESS: int = setting(
        50_000,
        "Likewise, of all clients of one address, 0 = no limit; two for each connection it may have, and some walls.",
        "subscriptions",
        ge=0,
    )
    MAX_SUBSCRIPTIONS_TOTAL: int = setting(
        200_000, "Likewise, of all clients; each takes about 1 KB of memory.", "subscriptions", ge=1
    )
    MAX_TRANSACTIONS: int = setting(16, "Transactions one client may hold open.", "transactions", ge=1)
    MAX_TRANSACTION_ACTIONS: int = setting(1_024, "Frames that wait in one transaction for its COMMIT.", "frames", ge=1)
    MAX_TRANSACTION_BYTES: int = setting(
        1_048_576, "Frames, headers and bodies, that wait in one transaction for its COMMIT.", "octets", ge=1024
    )
    MAX_UNACKED: int = setting(
        4_096,
        "Messages of one subscription remembered for an ACK; beyond it the oldest count as acknowledged.",
        "messages",
        ge=1,
    )
    FRAME_TIMEOUT: float = setting(
        30, "Time for a frame that has begun to be complete, against clients that drip octets.", "s", ge=1
    )
    MAX_DESTINATION_BYTES: int = setting(
        1_024, "Length of a topic; the longest registered form has 60.", "octets", ge=64
    )
    MAX_LAST_MESSAGES: int = setting(
        100_000, "Topics whose last message is kept in memory; the one least recently published goes.", "topics", ge=1
    )
    MAX_LAST_MESSAGES_BYTES: int = setting(
        67_108_864, "Likewise, their size; a node shares its machine with others.", "octets", ge=262_144
    )
    MAX_PENDING_RECEIPTS: int = setting(
        1_000, "Frames of one client that wait for the bus; reading from it pauses above.", "frames", ge=1
    )
    OUTBOX_BYTES: int = setting(
        1_048_576, "What may wait for one client that reads slowly, before SLOW_CLIENTS decides.", "octets", ge=4096
    )
    OUTBOX_TOTAL_BYTES: int = setting(
        268_435_456,
        "What may wait for all slow clients together; beyond it those that cost most give way first.",
        "octets",
        ge=65_536,
    )
    SLOW_CLIENTS: Literal["newest", "drop", "queue"] = setting(
        "newest",
        "A full outbox: newest keeps one message per topic, drop drops what comes, queue ends the client.",
    )
    WRITE_TIMEOUT: float = setting(
        60, "A client that has read nothing for so long, while there was something to read, is cut off.", "s", ge=1
    )
    TCP_KEEPALIVE_SECONDS: int = setting(
        60,
        "Silence after which TCP asks if a client is there; gone after twice that. 0 = the system's.",
        "s",
        ge=0,
    )
    DRAIN_SECONDS: float = setting(
        5,
        "Over how long clients are let go before the end: not all should come back at once.",
        "s",
        ge=0,
        le=300,
    )
    LOGIN_FAILURES: int = setting(
        5, "Failed logins of one address that are free; from then on it has to wait between them.", "logins", ge=1
    )
    LOGIN_PAUSE_SECONDS: float = setting(1, "How long it has to wait: guessing passwords takes for ever.", "s", ge=0)
    LOGIN_QUEUE_SECONDS: float = setting(
        10, "Logins of such an address that would have to wait longer are refused at once.", "s", ge=0
    )
    LOGIN_FORGET_SECONDS: float = setting(300, "Time without a failed login after which all is forgotten.", "s", ge=1)
    LOGIN_FAILURES_PER_NAME: int = setting(
        20, "Failed logins of one name, from anywhere, that are free; then strangers to it are slowed.", "logins", ge=1
    )
    LOGIN_STRANGER_SECONDS: float = setting(
        3, "How long they wait, never for ever: who knows the password gets in, and a known address at once.", "s", ge=0
    )
    ACCEPT_SLICE: int = setting(
        50,
        "New connections let in before those inside get their messages: so a herd does not hold them up.",
        "connections",
        ge=1,
    )
    MAX_CONNECTIONS: int = setting(
        18_000,
        "Clients of one node, of all protocols; keep it below the process's limit of open files.",
        "connections",
        ge=1,
    )
    MAX_CONNECTIONS_PER_ADDRESS: int = setting(
        10_000,
        "Clients of one address, 0 = no limit; high, as a mobile operator's NAT or a proxy hides thousands of radios.",
        "connections",
        ge=0,
    )
    CONNECT_BURST: int = setting(
        10_000, "Connections one address may open at once: all behind a NAT come back together.", "connections", ge=1
    )
    CONNECT_RATE: float = setting(
        1_000, "Connections a second it may open beyond that, 0 = no limit; a NAT of pollers needs most.", "1/s", ge=0
    )

    def doubts(self) -> tuple[str, ...]:
        """A client that is sent one frame of the largest size, and is slow, would be cut off or get none."""
        lines = []
        if self.OUTBOX_BYTES < self.MAX_FRAME_BYTES:
            lines.append(
                f"OUTBOX_BYTES = {self.OUTBOX_BYTES} is less than MAX_FRAME_BYTES = {self.MAX_FRAME_BYTES}: "
                "one large slide counts as a client that reads too slowly."
            )
        if self.OUTBOX_TOTAL_BYTES < self.OUTBOX_BYTES:
            lines.append(
                f"OUTBOX_TOTAL_BYTES = {self.OUTBOX_TOTAL_BYTES} is less than OUTBOX_BYTES = {self.OUTBOX_BYTES}, "
                "so the latter has no meaning."
            )
        return tuple(lines)


class StompServerSettings(LimitSettings, StompSettings):
    """What a STOMP server reads."""


class BrokerSettings(SettingsGroup):
    """RabbitMQ."""

    RABBITMQ_HOST: str = setting("127.0.0.1", "The broker all nodes share.")
    RABBITMQ_PORT: int = setting(5672, "Its AMQP port.", ge=1, le=MAX_PORT)
    RABBITMQ_TLS: bool = setting(False, "Connect with TLS, and check that it is RABBITMQ_HOST; often at port 5671.")
    RABBITMQ_CA: str = setting("", "Who vouches for its certificate (PEM file); empty = whom this system trusts.")
    RABBITMQ_USER: str = setting("guest", "The user to log in as; RabbitMQ lets guest in from its own machine only.")
    RABBITMQ_PASSWORD: SecretStr = setting(SecretStr("guest"), "The password of RABBITMQ_USER.")
    RABBITMQ_VHOST: str = setting("/", "The virtual host.")
    RABBITMQ_EXCHANGE: str = setting("amq.fanout", "The fan-out exchange nodes and devices publish to; it must exist.")
    RABBITMQ_PREFETCH: int = setting(
        1_000, "Messages the broker sends ahead; more is faster, and memory of this node.", "messages", ge=1, le=65_535
    )
    RABBITMQ_OUTBOX: int = setting(
        10_000, "Published messages not yet confirmed; beyond it publishers are refused.", "messages", ge=1
    )
    RABBITMQ_OUTBOX_BYTES: int = setting(67_108_864, "Likewise, their size.", "octets", ge=65_536)
    RABBITMQ_OUTBOX_SECONDS: float = setting(
        60, "How long a message waits for the broker before its publisher is told that it failed.", "s", ge=1
    )
    RABBITMQ_RESEND_SECONDS: float = setting(
        30,
        "Messages confirmed so shortly before the broker was lost are sent again: it may have lost them.",
        "s",
        ge=0,
    )
    RABBITMQ_HEARTBEAT: int = setting(
        10, "AMQP heart-beat: a dead broker is noticed after twice this.", "s", ge=1, le=600
    )
    RABBITMQ_CONNECT_TIMEOUT: float = setting(10, "Time for a connection to the broker, login included.", "s", ge=0.1)
    RABBITMQ_RETRY_SECONDS: float = setting(
        0.2, "First pause before connecting again; it doubles each time.", "s", ge=0.01
    )
    RABBITMQ_RETRY_MAX_SECONDS: float = setting(
        3, "Longest pause before connecting again; afterwards as long is waited for the other nodes.", "s", ge=0.1
    )


class RabbitMQSettings(BrokerSettings):
    """RabbitMQ or not."""

    RABBITMQ_LOOPBACK: bool = setting(False, "Use no broker: this node hears only its own clients.")
    RABBITMQ_DEBUG: bool = setting(True, "Kept from the original, where it made its AMQP library talk; no effect.")


class MemcachedSettings(SettingsGroup):
    """memcached and Beaker."""

    MEMCACHED_HOST: str = setting(
        "127.0.0.1",
        "host[:port], several with commas; empty = none, and the nodes share no last slides.",
        pattern=HOSTS,
    )
    MEMCACHED_TIMEOUT: float = setting(
        0.2, "Time for one answer; a slow cache must not delay radios.", "s", ge=0.01, le=10
    )
    CACHE_OPTS: JsonDict = setting(
        {"cache.type": "memory"}, "Options of Beaker for the directory's answers of the last minute."
    )


class HttpSettings(SettingsGroup):
    """HTTP."""

    HTTP_IP: str = setting("0.0.0.0", "The one address to listen on for HTTP.")  # noqa: S104
    HTTP_PORT: int = setting(
        8080, "The port to listen on for HTTP: polls, streams, publishing, pages; 0 = none.", ge=0, le=MAX_PORT
    )
    HTTP_POLL_TIMEOUT: float = setting(
        12, "How long a poll is held; below 15, as Samsung's receivers wait no longer.", "s", ge=1, le=300
    )
    HTTP_CATCH_UP_SECONDS: float = setting(
        2, "How long a poll waits for the last_id it names, if another node was faster to hear it.", "s", ge=0, le=60
    )
    HTTP_COMMENT_SECONDS: float = setting(
        15, "Silence after which an event stream gets a comment; proxies cut silent ones after 30 to 60.", "s", ge=1
    )
    HTTP_MAX_TOPICS: int = setting(16, "Topics of one poll; a receiver asks for two.", "topics", ge=1, le=256)
    HTTP_MAX_LISTENERS: int = setting(
        10_000, "Polls and event streams held at a time; those beyond get a 503.", "clients", ge=1
    )
    HTTP_BODY_BYTES: int = setting(16_384, "Body of a request; the longest publish needs 2,000.", "octets", ge=1024)
    HTTP_REQUEST_TIMEOUT: float = setting(
        30, "Time for a request to be complete; also how long an idle connection is kept.", "s", ge=1
    )
    HISTORY_MESSAGES: int = setting(
        1_000, "Messages of one topic kept for polls and streams that come back.", "messages", ge=1
    )
    HISTORY_SECONDS: float = setting(600, "Likewise, for how long.", "s", ge=1)
    HISTORY_BYTES: int = setting(33_554_432, "Likewise, the size of all topics'.", "octets", ge=65_536)


class HttpServerSettings(HttpSettings, LimitSettings):
    """What an HTTP server reads."""


class AdminSettings(SettingsGroup):
    """For operators."""

    ADMIN_IP: str = setting(
        "127.0.0.1", "The one address to listen on for metrics, health and pages of operators; others need a token."
    )
    ADMIN_PORT: int = setting(8081, "The port to listen on for them; 0 = none.", ge=0, le=MAX_PORT)
    ADMIN_TLS_PORT: int = setting(
        0,
        "A second port for them, with TLS, or the only one; 0 = none. Needs TLS_CERTIFICATE and ADMIN_TOKEN.",
        ge=0,
        le=MAX_PORT,
    )
    ADMIN_TOKEN: SecretStr = setting(
        SecretStr(""),
        "Who reads them has to know it, as bearer token or password; empty = anybody on this machine.",
    )
    ADMIN_RATES_SECONDS: int = setting(
        1_800, "How far back messages per second can be seen; a point for every 5 s.", "s", ge=60, le=86_400
    )

    @field_validator("ADMIN_TOKEN")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
            raise ValueError(f"should be {SHORTEST_TOKEN} characters or more, of ASCII and without spaces")
        return value


class WebSocketSettings(SettingsGroup):
    """WebSocket."""

    WEBSOCKET_ORIGINS: str = setting(
        "",
        "Web pages whose scripts may connect, such as https://www.example.org, with commas; empty = all, like radios.",
        pattern=HOSTS,
    )
    WEBSOCKET_MESSAGE_BYTES: int = setting(
        1_048_576, "One message; it may hold several frames, each of at most MAX_FRAME_BYTES.", "octets", ge=1024
    )
    WEBSOCKET_PING_SECONDS: float = setting(
        25, "Silence of a client before it is pinged, 0 = never; many proxies end what is silent for 60 s.", "s", ge=0
    )
    WEBSOCKET_PONG_SECONDS: float = setting(
        30, "Silence after the ping before it is cut off; a phone may take long to wake up.", "s", ge=1
    )


class WebSocketServerSettings(WebSocketSettings, StompSettings):
    """What a WebSocket server reads."""


class LogSettings(SettingsGroup):
    """Logs."""

    LOG_LEVEL: LogLevel = setting(
        "INFO", "Least important line to write; the original's DEBUG is for a developer, not for thousands of radios."
    )
    LOG_FORMAT: Literal["auto", "console", "json"] = setting(
        "auto", "console for people, json for machines; auto = console on a terminal, otherwise json."
    )
