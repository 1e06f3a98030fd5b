"""What is installed is pinned by content: packages by their hashes, container images by their digests."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.services import HOST, free_port
from tools.lock_requirements import pins

ROOT = Path(__file__).parent.parent
DIGEST = "sha256:" + "0123456789abcdef" * 4


class Lock(unittest.TestCase):
    text = (ROOT / "requirements.lock").read_text()

    def test_it_has_every_pin_and_no_other(self) -> None:
        self.assertEqual(pins(self.text), pins((ROOT / "requirements.txt").read_text()), "run: make lock")

    def test_every_pin_has_hashes(self) -> None:
        for entry in re.split(r"\n(?=\S)", self.text.partition("requirements.lock\n")[2].strip()):
            with self.subTest(entry.partition(" ")[0]):
                pin, *hashes = entry.split(" \\\n")
                self.assertRegex(pin, r"^[\w.\[\]-]+==[\w.]+$")
                self.assertTrue(hashes)
                for each in hashes:
                    self.assertRegex(each.strip(), r"^--hash=sha256:[0-9a-f]{64}$")

    def test_the_image_installs_nothing_else(self) -> None:
        commands = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
        installs = re.findall(r"pip .*?install .*?$", commands, re.MULTILINE)
        self.assertEqual(len(installs), 2)
        self.assertRegex(installs[0], r"--require-hashes --no-deps -r /src/requirements\.lock$")
        self.assertIn("--no-deps /src", installs[1])


class Registry(BaseHTTPRequestHandler):
    """Knows every image, and wants a token, as Docker's does."""

    def do_HEAD(self) -> None:
        if self.headers["authorization"] != "Bearer given":
            self.send_response(401)
            realm = f"http://{HOST}:{self.server.server_port}/token"  # type: ignore[attr-defined]
            self.send_header("www-authenticate", f'Bearer realm="{realm}",service="r",scope="{self.path}"')
        else:
            self.send_response(200)
            self.send_header("docker-content-digest", DIGEST)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"token": "given"}')

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Images(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.files = []
        for name in ("Dockerfile", "docker-compose.yml"):
            self.files.append(Path(folder.name) / name)
            self.files[-1].write_text(re.sub("@sha256:[0-9a-f]{64}", "", (ROOT / name).read_text()))

    def pin(self, port: int) -> int:
        command = [sys.executable, "-m", "tools.pin_images", *map(str, self.files)]
        environ = {"REGISTRY_URL": f"http://{HOST}:{port}", "no_proxy": "*"}
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, timeout=120, check=False).returncode

    def test_every_image_gets_its_digest_once(self) -> None:
        registry = ThreadingHTTPServer((HOST, 0), Registry)
        self.addCleanup(registry.server_close)
        self.addCleanup(registry.shutdown)
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        for _ in range(2):
            self.assertEqual(self.pin(registry.server_port), 0)
            text = "".join(file.read_text() for file in self.files)
            self.assertEqual(text.count(f"FROM python:3.13-slim-bookworm@{DIGEST}"), 2)
            for line in re.findall(r"^\s*image: .*$", text, re.MULTILINE):
                self.assertTrue(line.endswith((DIGEST, " radiovis")), line)

    def test_where_no_registry_is_reached_nothing_changes(self) -> None:
        before = [file.read_text() for file in self.files]
        self.assertEqual(self.pin(free_port()), 1)
        self.assertEqual([file.read_text() for file in self.files], before)
