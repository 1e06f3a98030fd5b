"""A station, its slide and its text, as a page may show them.

Messages are not trusted, because they come from many publishers. So a page only shows web addresses and plain text, and
its template escapes both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from fanout.hub.message import Message

_MAX_URL = 2_048  # characters; receivers take 512 (contract §4)
_MAX_TEXT = 1_024  # characters; receivers take 128 octets
_FREQUENCY = re.compile(r"[0-9]{5}")
_SYSTEMS = {"fm": "FM", "dab": "DAB", "drm": "DRM", "amss": "AMSS", "hd": "HD Radio", "id": "Internet"}
_UNWRITTEN = re.compile(r"[\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Station:
    """One channel on the wall.

    :ivar topic: the topic prefix, which ends with a slash, in the hub's spelling.
    :ivar given_name: the name in the directory; empty if it has none.
    """

    topic: str
    given_name: str = ""

    @property
    def service(self) -> str:
        """The service identifier: the topic prefix without ``/topic/`` and the last slash."""
        return self.topic.removeprefix("/topic/").rstrip("/")

    @property
    def name(self) -> str:
        """The name to show: that of the directory, or otherwise :attr:`resolved`."""
        return self.given_name or self.resolved

    @property
    def resolved(self) -> str:
        """The system and frequency, such as ``FM 95.80 MHz``, as far as they follow from the topic."""
        parts = self.service.split("/")
        system = _SYSTEMS.get(parts[0])
        if system is None:
            return self.service
        if parts[0] != "fm" or len(parts) < 4:
            return " ".join([system, *parts[1:]])
        if _FREQUENCY.fullmatch(parts[3]):  # in units of 10 kHz (TS 103 270, 5.1.1.2)
            return f"FM {int(parts[3]) / 100:.2f} MHz"
        return f"FM, any frequency ({parts[1]} {parts[2]})"


@dataclass(frozen=True, slots=True)
class ShownSlide:
    """A picture on air.

    :ivar src: the address of the picture; None if the message has no address that may be shown.
    :ivar link: the address that a click opens; None if there is none that may be shown.
    :ivar when: the time at which it was published.
    :ivar id: the id of the message.
    """

    src: str | None
    link: str | None
    when: datetime
    id: str


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text on air.

    :ivar body: the text, in one line.
    :ivar when: the time at which it was published.
    :ivar id: the id of the message.
    """

    body: str
    when: datetime
    id: str


def slide(message: Message) -> ShownSlide:
    """The slide of a message on an image topic: ``SHOW <url>``."""
    body = message.body.decode(errors="replace")
    link = dict(message.headers).get("link", "")
    return ShownSlide(web_address(body.removeprefix("SHOW ")), web_address(link), _when(message), message.message_id)


def text(message: Message) -> ShownText:
    """The text of a message on a text topic, ``TEXT <words>``, as one line."""
    body = message.body.decode(errors="replace").removeprefix("TEXT ")
    return ShownText(_UNWRITTEN.sub(" ", body[:_MAX_TEXT]).strip(), _when(message), message.message_id)


def web_address(text: str) -> str | None:
    """The address if a page may contain it: an absolute URL with http or https, not with ``javascript:``, for example.
    Otherwise None.
    """
    address = text.strip()
    if len(address) > _MAX_URL or _UNWRITTEN.search(address):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.hostname else None


def _when(message: Message) -> datetime:
    """The time of a publish. An invalid number, which another program may have sent, becomes the year 1970."""
    try:
        return datetime.fromtimestamp(message.when, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
