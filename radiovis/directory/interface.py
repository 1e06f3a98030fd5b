"""The seam between the server and whatever knows the stations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class DirectoryError(Exception):
    """The directory could not answer: unreachable, too slow, or its answer made no sense. The text says which."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A registered topic prefix.

    :ivar topic: prefix with leading ``/topic/`` and trailing ``/``, for example ``/topic/fm/4e1/4000/09580/``;
        the directory's own spelling.
    :ivar id: the directory's number for it; asked for its default with :meth:`Directory.default`.
    :ivar listed: whether ``get_all_vis_channels`` lists it (contract §3): the watchdog looks after listed channels,
        and a radio tuned to a listed frequency stays on it though the station also registered ``*``.
    :ivar name: the station's, for people to read; empty where the directory has none, as PlugIt.
    """

    topic: str
    id: int
    listed: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Default:
    """What the watchdog shows on a silent channel. Any part may be missing (``None``), and is then not sent.

    :ivar image: absolute URL of the slide.
    :ivar text: radio text, without the ``TEXT`` word.
    :ivar link: click-through URL.
    """

    image: str | None = None
    text: str | None = None
    link: str | None = None


class Directory(Protocol):
    """Knows the stations. Every method may raise :class:`DirectoryError`; none blocks the reactor."""

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Whether this login may publish from this address.

        :param login: ``<station id>.<name>``.
        :param address: the client's IPv4 or IPv6 address in text form, without port.
        """
        ...

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes a station may publish to; empty for an unknown station.

        :param station: the station id, the part of the login before the first dot.
        """
        ...

    async def gcc(self, country: str) -> str | None:
        """The global country code (three hex digits, lower case) of an ISO 3166 alpha-2 code; None if unknown."""
        ...

    async def topics(self) -> tuple[Channel, ...]:
        """Every registered channel of every station."""
        ...

    async def default(self, channel: int) -> Default | None:
        """What a silent channel shows; None when it has no default."""
        ...


class LogStore(Protocol):
    """Keeps what was published, for the stations to look at. Methods may raise :class:`DirectoryError`."""

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        """Keep a message.

        :param timestamp: Unix time in seconds.
        """
        ...

    async def cleanup_logs(self, max_age: int) -> None:
        """Drop what is older than this many seconds."""
        ...
