"""The settings and limits of HTTP requests, of requests that wait for messages, and of WebSockets.

They are in a separate file, so that a command that only reads settings does not import Twisted's web server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fanout.hub.outbox import OutboxSettings
from fanout.settings.field import FILLED, HOSTS, MAX_PORT, SettingsGroup, constant, setting

BODY_BYTES = 16_384
"""Octets of a request's body, unless the application of the server sets more. The longest publish needs 2,000."""
BODIES_BYTES = 33_554_432
"""Octets of the bodies of all requests of a listener, including bodies that are not complete: 2,000 bodies of
BODY_BYTES. One address may use half of them (:class:`~fanout.cache.bounded_dict.SharedBudget`)."""
LONGEST_BODIES = 4
"""How many bodies of the maximum length always fit into the limit of all bodies, if an application accepts long
ones."""
ANSWERS_BYTES = 67_108_864
"""Octets of all answers above 64 KiB that the clients of a listener have not read: 256 of the longest messages. One
address may use half of them. Files and lists do not count, because they are sent piece by piece."""
POLL_BYTES = 1_048_576
"""Octets of an answer to a poll, like OUTBOX_BYTES for other clients. The client asks for the rest with its last id."""
REQUEST_SECONDS: float = 30
"""Seconds for a complete request, from the opening of the connection or from the previous answer; so an idle connection
is closed after the same time. A request of a few hundred octets takes well under one second. An idle connection of a
browser counts for MAX_CONNECTIONS."""
MAX_TOPICS = 16
"""Topics of one poll or event stream. Most clients ask for two; each topic is a subscription."""
CATCH_UP_SECONDS: float = 2
"""Seconds that a poll waits for the message of its last_id, which another node may have received earlier. The broker
delivers to all nodes within milliseconds. A client whose last_id no node knows any more waits for this time."""
COMMENT_SECONDS: float = 15
"""Seconds of silence after which an event stream gets a comment. Proxies close silent connections after 30 to 60 s."""
MESSAGE_BYTES = 1_048_576
"""Octets of one WebSocket message, which may contain several STOMP frames of at most MAX_FRAME_BYTES each. Messages are
not kept in memory, so this limit only refuses clients that behave unreasonably."""
PING_SECONDS: float = 25
"""Seconds without input from a WebSocket client before it is pinged. Proxies close silent connections after 60 s, some
after 30 s."""
PONG_SECONDS: float = 30
"""Seconds without input after the Ping before a WebSocket is closed. A phone may need some seconds to wake up."""


class HttpSettings(SettingsGroup):
    """HTTP."""

    retired: ClassVar[Mapping[str, str]] = {
        "HTTP_CATCH_UP_SECONDS": constant(CATCH_UP_SECONDS, "s"),
        "HTTP_COMMENT_SECONDS": constant(COMMENT_SECONDS, "s"),
        "HTTP_MAX_TOPICS": constant(MAX_TOPICS, "topics"),
        "HTTP_BODY_BYTES": constant(BODY_BYTES, "octets"),
        "HTTP_REQUEST_TIMEOUT": constant(REQUEST_SECONDS, "s"),
    }

    HTTP_IP: str = setting(
        "0.0.0.0",  # noqa: S104
        "The one address to listen on for HTTP; :: is every address, IPv6 too.",
        why="Set it to 127.0.0.1 if only a proxy on the same machine should reach the port.",
        pattern=FILLED,
    )
    HTTP_PORT: int = setting(
        8080,
        "The port to listen on for HTTP: polls, streams, publishing, pages; 0 = none.",
        why="Change it if another program uses the port, or set it to 0 for a node that only serves STOMP.",
        ge=0,
        le=MAX_PORT,
    )
    HTTP_POLL_TIMEOUT: float = setting(
        12,
        "How long a poll is held if there is no new message.",
        "s",
        why="Raise it if all your clients wait longer, to get fewer requests; some clients wait for at most 15 s.",
        ge=1,
        le=300,
        reload=True,
    )
    HTTP_MAX_LISTENERS: int = setting(
        10_000,
        "Limit of polls and event streams that are held at a time; further ones get a 503.",
        "clients",
        why="Raise it with MAX_CONNECTIONS if most of your listeners use HTTP.",
        ge=1,
        reload=True,
    )


class HttpServerSettings(HttpSettings, OutboxSettings):
    """All settings that polls and event streams read."""


class WebSocketSettings(SettingsGroup):
    """WebSocket."""

    retired: ClassVar[Mapping[str, str]] = {
        "WEBSOCKET_MESSAGE_BYTES": constant(MESSAGE_BYTES, "octets"),
        "WEBSOCKET_PING_SECONDS": constant(PING_SECONDS, "s"),
        "WEBSOCKET_PONG_SECONDS": constant(PONG_SECONDS, "s"),
    }

    WEBSOCKET_ORIGINS: str = setting(
        "",
        "Origins whose scripts may open a WebSocket, such as https://www.example.org, with commas; empty = all.",
        why="Set it if only your own web pages should use the node.",
        pattern=HOSTS,
        reload=True,
    )
