"""What can be said of a message without asking anybody: its words, its lengths, its address. Sans-IO."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from fanout.message import Message
from radiovis.directory.stations import MAX_TEXT, MAX_URL

_KINDS = {"text": "TEXT", "image": "SHOW"}
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def body_complaints(message: Message) -> Iterator[str]:
    """What receivers cannot use about the body (contract §4, "Bodies"); an empty one shows nothing, and is fine."""
    expected = _KINDS.get(message.topic.rpartition("/")[2])
    word, _, rest = message.body.partition(b" ")
    if not message.body or expected is None:
        return
    if word.decode(errors="replace") != expected:
        yield f"its body does not begin with {expected}"
    elif expected == "TEXT":
        yield from _text_complaints(rest)
    else:
        yield from _url_complaints(rest)


def slide_url(message: Message) -> str | None:
    """The address of its slide, if it has one that can be fetched."""
    if not message.topic.endswith("/image") or not message.body.startswith(b"SHOW "):
        return None
    if any(_url_complaints(message.body[5:])):
        return None
    return message.body[5:].decode().strip()


def _text_complaints(text: bytes) -> Iterator[str]:
    if len(text) > MAX_TEXT:
        yield f"its text has {len(text)} octets, radios take {MAX_TEXT}"
    try:
        text.decode()
    except UnicodeDecodeError:
        yield "its text is not UTF-8"


def _url_complaints(octets: bytes) -> Iterator[str]:
    if len(octets) > MAX_URL:
        yield f"its URL has {len(octets)} octets, radios take {MAX_URL}"
        return
    try:
        text = octets.decode("ascii").strip()
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # Which is also not to be ASCII, and a port that is none.
        yield "its URL is none"
        return
    if not usable or _BLANK_OR_CONTROL.search(text):
        yield "its URL is none that begins with http:// or https://"
    elif url.username is not None:
        yield "its URL holds a login, which receivers do not send"
