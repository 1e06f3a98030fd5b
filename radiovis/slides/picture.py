"""What a receiver finds out about a slide: its format, its size, and whether a radio can show it."""

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
_NO_FRAME = frozenset((0xC4, 0xC8, 0xCC))  # Among the SOF markers: DHT, JPG, DAC.


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's head. :ivar kind: the MIME type its octets show; empty when they are no PNG or JPEG."""

    kind: str
    width: int
    height: int
    octets: int

    def __str__(self) -> str:
        name = {"image/png": "PNG", "image/jpeg": "JPEG"}.get(self.kind, "no PNG or JPEG")
        size = f"{self.width}x{self.height} " if self.kind else ""
        return f"{size}{name}, {self.octets / 1000:.1f} kB"

    def complaints(self, content_type: str | None) -> Iterator[str]:
        """What a radio may not like about it.

        :param content_type: what the server calls it; None when it says nothing.
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
    if content.startswith(_PNG) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return Picture("image/png", width, height, len(content))
    if content.startswith(b"\xff\xd8\xff"):
        size = _jpeg_size(content)
        if size is not None:
            return Picture("image/jpeg", *size, len(content))
    return Picture("", 0, 0, len(content))


def decoding_fault(content: bytes) -> str:
    """Why a picture cannot be drawn; empty when it can. Blocks for some milliseconds.

    Look at its size first: drawing takes memory for as many dots as it claims to have.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            image.load()
    except UnidentifiedImageError:  # Its text names an object of ours.
        return "it does not decode: there is no picture behind its head"
    except Exception as error:  # noqa: BLE001 - octets of a stranger: Pillow raises all kinds of things.
        return f"it does not decode: {error or type(error).__name__}"
    return ""


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height, which stand in the first SOF segment (ITU T.81, annex B)."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _NO_SIZE or marker == 0xFF:
            place += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            return width, height
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
