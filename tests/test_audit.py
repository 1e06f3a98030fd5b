"""The vulnerability check of ``make check``, with an osv.dev of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

from tests.services import HOST, free_port

ROOT = Path(__file__).parent.parent


class Osv(BaseHTTPRequestHandler):
    """Knows of one vulnerability: in version 1.0 of a package called holey."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        bad = asked["package"]["name"] == "holey" and asked["version"] == "1.0"
        known = {"id": "PYSEC-2026-1", "summary": "It is holey.", "affected": [{"package": asked["package"]}]}
        body = json.dumps({"vulns": [known]} if bad else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class AuditTests(unittest.TestCase):
    osv: ClassVar[HTTPServer]

    @classmethod
    def setUpClass(cls) -> None:
        cls.osv = HTTPServer((HOST, 0), Osv)
        threading.Thread(target=cls.osv.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.osv.server_close)
        cls.addClassCleanup(cls.osv.shutdown)

    def audit(self, pins: str, port: int, **environ: str) -> tuple[int, str]:
        """Exit code and what it said."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "requirements.txt"
            file.write_text(pins)
            done = subprocess.run(
                [ROOT / ".ci/audit", Path(sys.executable).parent, file],
                env={**os.environ, "OSV_URL": f"http://{HOST}:{port}/", "NO_PROXY": HOST, **environ},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        return done.returncode, done.stdout + done.stderr

    def test_nothing_known(self) -> None:
        code, said = self.audit("sound==1.0\n", self.osv.server_port, AUDIT="required")
        self.assertEqual((code, said.splitlines()[-1]), (0, "No known vulnerabilities found"))

    def test_one_is_a_failure(self) -> None:
        code, said = self.audit("sound==1.0\nholey==1.0\n", self.osv.server_port)
        self.assertEqual(code, 1)
        self.assertRegex(said, r"holey\s+1\.0\s+PYSEC-2026-1")

    def test_out_of_reach_is_one_line_and_a_failure_only_where_it_is_required(self) -> None:
        began, nobody = time.monotonic(), free_port()
        code, said = self.audit("holey==1.0\n", nobody)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual((code, said.count("\n")), (0, 1))
        self.assertIn("cannot be reached", said)
        self.assertEqual(self.audit("holey==1.0\n", nobody, AUDIT="required")[0], 1)
