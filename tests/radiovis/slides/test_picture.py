"""The size of a slide is read from its head, whatever that looks like."""

from __future__ import annotations

import io
import tracemalloc
import unittest
import zlib

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radiovis.slides.picture import decoding_fault, look_at
from tests.radiovis.slides.slide_server import chunk, decoy_jpeg, decoy_png


def drawn(kind: str, size: tuple[int, int], **options: object) -> bytes:
    octets = io.BytesIO()
    Image.new("RGB", size, "red").save(octets, kind, **options)
    return octets.getvalue()


class SecondSizes(unittest.TestCase):
    """A picture whose head has a radio's size, and which makes a decoder take memory for another one."""

    def test_they_are_not_decoded(self) -> None:
        for picture in (decoy_png(13_000), decoy_jpeg(13_000), decoy_png(400), decoy_jpeg(321)):
            found = look_at(picture)
            self.assertEqual((found.width, found.height), (320, 240))
            tracemalloc.start()
            fault = decoding_fault(picture)
            taken = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertTrue(fault.startswith("it does not decode: it names a second size"), fault)
            self.assertLess(taken, 2_000_000)

    def test_texts_are_not_decompressed(self) -> None:
        picture = drawn("PNG", (320, 240))
        texts = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 40
        picture = picture[:33] + texts + picture[33:]
        self.assertLess(len(picture), 51_200)
        tracemalloc.start()
        self.assertEqual(decoding_fault(picture), "")
        self.assertLess(tracemalloc.get_traced_memory()[1], 2_000_000)
        tracemalloc.stop()

    def test_a_png_begins_with_its_head(self) -> None:
        picture = drawn("PNG", (320, 240))
        self.assertEqual(look_at(picture[:8] + chunk(b"tEXt", picture[16:29]) + picture[8:]).kind, "")


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
