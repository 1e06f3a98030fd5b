"""What others wrote and we ship: each file is in THIRD-PARTY.md, unchanged, with its license beside it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHIPPED = ("fanout", "radiovis", "artcast", "webserver", "examples", "demo", "deploy")
VENDORED = "vendor"
"""Folders of this name hold what others wrote."""
_ROW = re.compile(r"^\| `([^`]+)` \| (.+?) \| ([\w.-]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)
_NOTICE = re.compile(
    rb"copyright \(c\)|\(c\) \d{4}|@license|@preserve|spdx-license|released under|licensed under|all rights reserved",
    re.IGNORECASE,
)
_FONTS = (".woff", ".woff2", ".ttf", ".otf", ".eot")


def files() -> list[Path]:
    """Everything that is shipped."""
    listed = subprocess.run(["git", "ls-files", "-z", *SHIPPED], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


class ThirdParty(unittest.TestCase):
    def setUp(self) -> None:
        self.listed = {row[0]: row[1:] for row in _ROW.findall((ROOT / "THIRD-PARTY.md").read_text())}

    def test_the_list_is_what_is_shipped(self) -> None:
        shipped = {str(file.relative_to(ROOT)) for file in files() if VENDORED in file.parts}
        self.assertTrue(shipped)
        self.assertEqual(self.listed.keys(), shipped)

    def test_nothing_was_changed(self) -> None:
        for name, (_, _, digest) in self.listed.items():
            with self.subTest(name):
                self.assertEqual(hashlib.sha256((ROOT / name).read_bytes()).hexdigest(), digest)

    def test_the_version_is_that_of_the_file(self) -> None:
        head = (ROOT / "radiovis/http/vendor/uplot/uPlot.iife.min.js").read_bytes()[:200].decode()
        version = re.search(r"uPlot \(v([\d.]+)\)", head)
        assert version is not None
        for name, (what, _, _) in self.listed.items():
            self.assertTrue(what.startswith(f"uPlot {version[1]},"), name)

    def test_each_folder_has_its_license(self) -> None:
        for name, (_, name_of_license, _) in self.listed.items():
            text = (ROOT / name).parent.joinpath("LICENSE").read_text()
            self.assertIn(name_of_license, text, name)

    def test_nothing_else_is_of_others(self) -> None:
        for file in files():
            if VENDORED in file.parts:
                continue
            with self.subTest(file=str(file.relative_to(ROOT))):
                self.assertNotIn(file.suffix, _FONTS)
                content = file.read_bytes()
                self.assertIsNone(_NOTICE.search(content))
                if file.suffix == ".json":
                    self.assertNotIn("$schema", json.loads(content))
