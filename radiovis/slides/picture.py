"""A slide's picture: its format, its size, and whether a radio can show it."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

WIDTH, HEIGHT, MOST_OCTETS = 320, 240, 51_200
"""The simple profile of TS 101 499 v3.1.1, ch. 9.1.2 (contract §4)."""
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_SIZE = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length: TEM, RST0 to RST7, SOI.
_NO_FRAME = frozenset((0xC4, 0xC8, 0xCC))  # DHT, JPG and DAC, which are among the SOF markers.
_LOWER_CASE = 0x20  # A bit in the first letter of an ancillary PNG chunk's name.

Image.MAX_IMAGE_PIXELS = WIDTH * HEIGHT
"""Pillow refuses to open a picture with more than twice as many pixels. This holds for the whole process, in which only
this module decodes pictures. It is a second check in addition to the one in :func:`decoding_fault`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The properties in the head of a picture.

    :ivar kind: the MIME type of its octets; empty if they are neither PNG nor JPEG.
    """

    kind: str
    width: int
    height: int
    octets: int

    def __str__(self) -> str:
        name = {"image/png": "PNG", "image/jpeg": "JPEG"}.get(self.kind, "no PNG or JPEG")
        size = f"{self.width}x{self.height} " if self.kind else ""
        return f"{size}{name}, {self.octets / 1000:.1f} kB"

    def complaints(self, content_type: str | None) -> Iterator[str]:
        """The reasons why a radio may not show it.

        :param content_type: the server's Content-Type; None if there is none.
        """
        if not self.kind:
            yield "it is neither PNG nor JPEG"
            return
        if (self.width, self.height) != (WIDTH, HEIGHT):
            yield f"it is {self.width}x{self.height}, radios expect {WIDTH}x{HEIGHT}"
        if self.octets > MOST_OCTETS:
            yield f"it has {self.octets} octets, radios take {MOST_OCTETS}"
        if content_type is None:
            yield "it is served without a Content-Type"
        elif content_type.partition(";")[0].strip().lower() != self.kind:
            yield f"it is served as {content_type}, and is {self.kind}"


def look_at(content: bytes) -> Picture:
    """Read the head of a picture."""
    if content.startswith(_PNG) and content[12:16] == b"IHDR" and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return Picture("image/png", width, height, len(content))
    if content.startswith(b"\xff\xd8\xff"):
        size = _jpeg_size(content)
        if size is not None:
            return Picture("image/jpeg", *size, len(content))
    return Picture("", 0, 0, len(content))


def decoding_fault(content: bytes) -> str:
    """The reason why a picture cannot be decoded; empty if it can. Blocks for some milliseconds.

    Check its size first: decoding takes memory for as many pixels as its head claims. The size is checked once more
    here, before any pixel is decoded, because a picture may contain a second size, which only a decoder finds.
    """
    try:
        with Image.open(io.BytesIO(_essential(content)), formats=("PNG", "JPEG")) as image:
            if image.size != (WIDTH, HEIGHT):
                return "it does not decode: it names a second size, {}x{}".format(*image.size)
            image.load()
    except Image.DecompressionBombError:  # Pillow's text mentions an attack.
        return "it does not decode: it names a second size"
    except UnidentifiedImageError:  # Pillow's text names a Python object.
        return "it does not decode: there is no picture behind its head"
    except Exception as error:  # noqa: BLE001 - untrusted octets: Pillow raises many kinds of exceptions.
        return f"it does not decode: {error or type(error).__name__}"
    return ""


def _essential(content: bytes) -> bytes:
    """A PNG without its ancillary chunks, because Pillow decompresses texts: a thousand octets may become a
    megabyte.
    """
    if not content.startswith(_PNG):
        return content
    kept, at = [_PNG], len(_PNG)
    while at + 8 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if not content[at + 4] & _LOWER_CASE:
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height from the first SOF segment (ITU T.81, annex B)."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _NO_SIZE or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
