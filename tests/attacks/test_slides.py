"""Pictures that make a node which looks at them take much more memory than they have octets."""

from __future__ import annotations

import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from tests.attacks.case import AttackCase, size
from tests.radio import Frame, Radio, frame
from tests.radiovis.slides.slide_server import chunk, decoy_jpeg, decoy_png, drawn
from tests.services import HOST

TOPIC = "/topic/id/tests._ebu.nowhere/topic1/slides/image"


def texts() -> bytes:
    """A good PNG with 40 texts of a megabyte each."""
    picture = drawn()
    return picture[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 40 + picture[33:]


class Slides(BaseHTTPRequestHandler):
    """Every path leads to the same picture, so that none is remembered."""

    picture: ClassVar[bytes]

    def do_GET(self) -> None:
        self.send_response(200)
        kind = "image/png" if self.picture.startswith(b"\x89PNG") else "image/jpeg"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(self.picture)))
        self.end_headers()
        self.wfile.write(self.picture)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class TestSlides(AttackCase):
    settings: ClassVar = {"PREFLIGHT": "warn", "PREFLIGHT_PRIVATE": "127.0.0.1"}

    def attack_with(self, name: str, picture: bytes, verdict: str) -> None:
        slides = ThreadingHTTPServer((HOST, 0), type("Served", (Slides,), {"picture": picture}))
        self.addCleanup(slides.server_close)
        self.addCleanup(slides.shutdown)
        threading.Thread(target=slides.serve_forever, daemon=True).start()
        with self.attack(name) as figures:
            station = Radio.connect(self.server.address, "1.test", "test", version="1.2")  # 1.0 is told nothing
            self.addCleanup(station.close)
            count = size(8, 90)
            for number in range(count):
                body = f"SHOW http://{HOST}:{slides.server_port}/{number}".encode()
                figures.sent += len(picture)
                station.send(frame("SEND", {"destination": TOPIC, "receipt": str(number)}, body))
            told = [self.told(station.expect("RECEIPT", **{"receipt-id": str(each)})) for each in range(count)]
        late = [each for each in told if "not complete within" in each]  # of a machine that is busy with other work
        self.assertGreater(len(told), len(late), told[0])
        self.assertEqual([each for each in told if each not in late and verdict not in each], [])

    def told(self, receipt: Frame) -> str:
        return receipt.get("preflight-warning") or receipt.get("preflight") or ""

    def test_png_with_a_second_head(self) -> None:
        self.attack_with("PNG with a second head", decoy_png(13_000), "names a second size")

    def test_jpeg_with_a_second_frame(self) -> None:
        self.attack_with("JPEG with a second frame", decoy_jpeg(13_000), "names a second size")

    def test_png_with_texts(self) -> None:
        self.attack_with("PNG with 40 MB of texts", texts(), "ok")
