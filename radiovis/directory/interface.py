"""What the server asks of a directory of stations: the interface, and its value types.

Three directories exist: PlugIt, the stations file, and the one of ``--test`` mode.

:class:`Directory` is the interface. :class:`OutageReport`, :class:`CertificateLogins` and :class:`LogStore` are
optional abilities of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

LONGEST_PREFIX = 512
"""Characters. The longest real ones (``/topic/id/<fqdn>/<service>/``) stay below 300."""
MAX_TEXT = 128
"""Bytes of a radio text that receivers reserve (contract §4, "Bodies")."""
MAX_URL = 512
"""Bytes of a URL that receivers reserve (contract §4, "Bodies")."""


class DirectoryError(Exception):
    """The directory could not answer: unreachable, too slow, or an invalid answer. The text says which."""


def checked_prefix(topic: str) -> str:
    """A topic prefix as directories write it, with its trailing ``/``.

    :raises ValueError: it is not a topic; the text names the fault.
    """
    if not topic.startswith("/topic/") or not topic.strip("/").partition("/")[2]:
        raise ValueError(f"{topic[:80]!r} is no topic: it must begin with /topic/ and go on")
    if re.search(r"[\s\x00-\x1f\x7f-\x9f]", topic):
        raise ValueError(f"{topic[:80]!r} has a space or control character in it")
    if len(topic) > LONGEST_PREFIX:
        raise ValueError(f"{topic[:80]!r}… is longer than {LONGEST_PREFIX} characters")
    return topic if topic.endswith("/") else topic + "/"


@dataclass(frozen=True, slots=True)
class Channel:
    """A registered topic prefix.

    :ivar topic: prefix with leading ``/topic/`` and trailing ``/``, for example ``/topic/fm/4e1/4000/09580/``, in the
        directory's spelling.
    :ivar id: the directory's number of the channel, for :meth:`Directory.default`.
    :ivar listed: whether ``get_all_vis_channels`` lists it (contract §3). The watchdog looks after listed channels. A
        radio on a listed frequency gets its messages even if the station also registered ``*``.
    :ivar name: of the station, for people; empty if the directory has none, as PlugIt.
    """

    topic: str
    id: int
    listed: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Default:
    """What the watchdog shows on a stale channel. A part that is None is not sent.

    :ivar image: absolute URL of the slide.
    :ivar text: radio text, without the ``TEXT`` word.
    :ivar link: click-through URL.
    """

    image: str | None = None
    text: str | None = None
    link: str | None = None


class Directory(Protocol):
    """The stations and their channels. Every method may raise :class:`DirectoryError`; none blocks the reactor."""

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
        """What a stale channel shows; None if it has no default."""
        ...


@runtime_checkable
class OutageReport(Protocol):
    """Optional ability of a directory: it tells whether it fails. Ask for it with ``isinstance``."""

    @property
    def down(self) -> bool:
        """Whether the directory failed when it was asked last."""
        ...


@runtime_checkable
class CertificateLogins(Protocol):
    """Optional ability of a directory: stations log in with a client certificate. Ask for it with ``isinstance``."""

    def check_certificate(self, login: str, certificates: Sequence[bytes], address: str) -> bool:
        """Whether this login may publish from this address, with this certificate in place of a password.

        :param certificates: the client's, then those between it and its authority, in DER.
        """
        ...


class LogStore(Protocol):
    """Keeps published messages for the stations to look at. Methods may raise :class:`DirectoryError`."""

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        """Keep a message.

        :param timestamp: Unix time in seconds.
        """
        ...

    async def cleanup_logs(self, max_age: int) -> None:
        """Drop the messages older than this many seconds."""
        ...
