"""A station, its slide and its text, as a page may show them.

Anybody with a station's password decides what stands in a message, so a page shows no more of it than an address of the
web and plain text. The template escapes them.
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

    :ivar topic: its topics without the last part, with the slash; the hub's spelling.
    :ivar given_name: the directory's; empty where it has none.
    """

    topic: str
    given_name: str = ""

    @property
    def service(self) -> str:
        """The service identifier: the topic without ``/topic/``, as it stands in the address of the page."""
        return self.topic.removeprefix("/topic/").rstrip("/")

    @property
    def name(self) -> str:
        """What to call it."""
        return self.given_name or self.resolved

    @property
    def resolved(self) -> str:
        """Where to find it on a dial: ``FM 95.80 MHz``, or as much as the topic says."""
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

    :ivar src: its address; None when the message names none that may be shown.
    :ivar link: where a click leads, if anywhere.
    """

    src: str | None
    link: str | None
    when: datetime
    id: str


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text on air."""

    body: str
    when: datetime
    id: str


def slide(message: Message) -> ShownSlide:
    """The slide of a message of an image topic: ``SHOW <url>``."""
    body = message.body.decode(errors="replace")
    link = dict(message.headers).get("link", "")
    return ShownSlide(web_address(body.removeprefix("SHOW ")), web_address(link), _when(message), message.message_id)


def text(message: Message) -> ShownText:
    """The text of a message of a text topic: ``TEXT <words>``, in one line."""
    body = message.body.decode(errors="replace").removeprefix("TEXT ")
    return ShownText(_UNWRITTEN.sub(" ", body[:_MAX_TEXT]).strip(), _when(message), message.message_id)


def web_address(text: str) -> str | None:
    """An address a browser may be sent to: http or https, whole, and nothing else such as ``javascript:``."""
    address = text.strip()
    if len(address) > _MAX_URL or _UNWRITTEN.search(address):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.hostname else None


def _when(message: Message) -> datetime:
    """The publish's time. A device may have written any number there."""
    try:
        return datetime.fromtimestamp(message.when, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
