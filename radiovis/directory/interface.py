"""The interface of a directory of stations, and its value types.

There are three directories: PlugIt, the stations file, and the one of ``--test`` mode. :class:`Directory` is the
interface. :class:`OutageReport`, :class:`CertificateLogins` and :class:`LogStore` are optional abilities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

LONGEST_PREFIX = 512
"""Longest prefix in characters. The longest real ones (``/topic/id/<fqdn>/<service>/``) have less than 300."""
MAX_TEXT = 128
"""Octets of a radio text, without the word ``TEXT`` and its blank, that receivers reserve (contract §4, "Bodies")."""
LONGEST_TEXT_BODY = len(b"TEXT ") + MAX_TEXT
"""Octets of a message with such a text."""
MAX_URL = 512
"""Bytes that receivers reserve for a URL (contract §4, "Bodies")."""


class DirectoryError(Exception):
    """The directory could not answer: it is unreachable, too slow, or its answer is invalid. The text says which."""


def text_fault(text: bytes) -> str:
    """What is wrong with the length of a radio text, and what to do, as the end of a sentence; empty if it fits.

    :param text: as UTF-8, without the word ``TEXT``.
    """
    return f"has {len(text)} octets, radios take {MAX_TEXT}: shorten it" if len(text) > MAX_TEXT else ""


def body_fault(topic: str, body: bytes) -> str:
    """The fault of a message, as of :func:`text_fault`; empty for a message that is not a text of RadioVIS."""
    is_text = topic.startswith("/topic/") and topic.endswith("/text") and body.startswith(b"TEXT ")
    return text_fault(body.removeprefix(b"TEXT ")) if is_text else ""


def checked_prefix(topic: str) -> str:
    """A topic prefix as directories write it, with its trailing ``/``.

    :raises ValueError: the text is not a topic; the error names the fault.
    """
    if not topic.startswith("/topic/") or not topic.strip("/").partition("/")[2]:
        raise ValueError(f"{topic[:80]!r} is not a topic: it must begin with /topic/ and continue after that")
    if re.search(r"[\s\x00-\x1f\x7f-\x9f]", topic):
        raise ValueError(f"{topic[:80]!r} contains a space or control character")
    if len(topic) > LONGEST_PREFIX:
        raise ValueError(f"{topic[:80]!r}… is longer than {LONGEST_PREFIX} characters")
    return topic if topic.endswith("/") else topic + "/"


@dataclass(frozen=True, slots=True)
class Channel:
    """A registered topic prefix.

    :ivar topic: prefix with leading ``/topic/`` and trailing ``/``, for example ``/topic/fm/4e1/4000/09580/``, in the
        directory's spelling.
    :ivar id: the directory's number of the channel, for :meth:`Directory.default`.
    :ivar listed: whether ``get_all_vis_channels`` lists it (contract §3). The watchdog handles listed channels. A radio
        on a listed frequency gets its messages even if the station also registered ``*``.
    :ivar name: the station's name for people; empty if the directory has none, like PlugIt.
    """

    topic: str
    id: int
    listed: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Default:
    """The messages that the watchdog sends on a stale channel. A part that is None is not sent.

    :ivar image: absolute URL of the slide.
    :ivar text: radio text, without the word ``TEXT``.
    :ivar link: URL that is opened by a click.
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
        """The topic prefixes to which a station may publish; empty for an unknown station.

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
        """The default of a stale channel; None if it has none."""
        ...


@runtime_checkable
class OutageReport(Protocol):
    """Optional ability of a directory that can report its own failure. Ask for it with ``isinstance``."""

    @property
    def down(self) -> bool:
        """Whether the directory failed when it was last asked."""
        ...


@runtime_checkable
class CertificateLogins(Protocol):
    """Optional ability of a directory whose stations may log in with a client certificate. Ask for it with
    ``isinstance``.
    """

    def check_certificate(self, login: str, certificates: Sequence[bytes], address: str) -> bool:
        """Whether this login may publish from this address, with this certificate instead of a password.

        :param certificates: the client's certificate, then the intermediate ones, in DER.
        """
        ...


class LogStore(Protocol):
    """Stores published messages for the stations to look at. Methods may raise :class:`DirectoryError`."""

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        """Store a message.

        :param timestamp: Unix time in seconds.
        """
        ...

    async def cleanup_logs(self, max_age: int) -> None:
        """Drop the messages older than this number of seconds."""
        ...
