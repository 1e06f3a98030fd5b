"""The size of a slide is read from its head, whatever that looks like."""

from __future__ import annotations

import io
import unittest

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radiovis.slides.picture import look_at


def drawn(kind: str, size: tuple[int, int], **options: object) -> bytes:
    octets = io.BytesIO()
    Image.new("RGB", size, "red").save(octets, kind, **options)
    return octets.getvalue()


class Sizes(unittest.TestCase):
    def test_as_pillow_draws_them(self) -> None:
        for size in ((320, 240), (1, 1), (640, 3)):
            for kind, mime, options in (
                ("PNG", "image/png", {}),
                ("JPEG", "image/jpeg", {}),
                ("JPEG", "image/jpeg", {"progressive": True, "comment": b"\xff\xc0" * 99, "exif": b"Exif\0\0" * 50}),
            ):
                found = look_at(drawn(kind, size, **options))
                self.assertEqual((found.kind, found.width, found.height), (mime, *size))

    def test_complaints(self) -> None:
        good = look_at(drawn("JPEG", (320, 240)))
        self.assertEqual(list(good.complaints("Image/JPEG; x=y")), [])
        self.assertEqual(list(good.complaints(None)), ["it is served without a Content-Type"])
        self.assertEqual(list(look_at(b"GIF89a").complaints("image/gif")), ["it is neither PNG nor JPEG"])

    @given(
        st.binary(max_size=200), st.sampled_from((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\0"))
    )
    def test_anything_else_is_no_picture_or_one_and_never_an_error(self, rest: bytes, head: bytes) -> None:
        self.assertEqual(look_at(head + rest).octets, len(head + rest))
