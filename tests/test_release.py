"""``make release``: what it refuses, what it builds, and that it sets the tag last."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar

from tests.processes import ROOT
from tests.test_packaging import NOT_COPIED

SECONDS = 120
IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
NO_INSTALL = "import sys; from tools import release; release.install = lambda *_: None; sys.exit(release.main([]))"
"""tests/test_packaging.py installs the wheel; here it would need a connection to PyPI."""


class TestRelease(unittest.TestCase):
    clone: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.mkdtemp(prefix="radiovis-release-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.clone = Path(folder, "clone")
        shutil.copytree(ROOT, cls.clone, ignore=NOT_COPIED)
        (cls.clone / ".gitignore").write_text("build/\ndist/\n*.egg-info/\n__pycache__/\n")
        cls.git("init", "--quiet")
        cls.commit()

    @classmethod
    def git(cls, *words: str) -> str:
        command = ("git", *IDENTITY, *words)
        return subprocess.run(command, cwd=cls.clone, check=True, capture_output=True, text=True).stdout

    @classmethod
    def commit(cls) -> None:
        cls.git("add", "--all")
        cls.git("commit", "--quiet", "--message", "A state")

    def release(self) -> tuple[int, str]:
        done = subprocess.run(
            (sys.executable, "-c", NO_INSTALL),
            cwd=self.clone,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={"PATH": "/usr/bin:/bin", "GIT_COMMITTER_NAME": "Test", "GIT_COMMITTER_EMAIL": "test@example.org"},
        )
        return done.returncode, done.stdout + done.stderr

    def prepare(self, version: str, changelog: str) -> None:
        (self.clone / "fanout" / "__init__.py").write_text(f'"""The engine."""\n\n__version__ = "{version}"\n')
        (self.clone / "CHANGELOG.md").write_text(f"# Changelog\n\nThe form.\n\n{changelog}")

    def test_a_release_that_is_not_ready_is_refused_with_all_reasons(self) -> None:
        self.prepare("9.9.9.dev0", "## Unreleased\n\n### Upgrading\n\n- Nothing.\n")
        code, said = self.release()
        self.assertEqual(code, 1)
        for reason in ("Files are changed", "9.9.9.dev0; a release has three numbers", "'## 9.9.9.dev0 - YYYY-MM-DD'"):
            self.assertIn(reason, said)
        self.prepare("9.9.8", "## 9.9.8 - 2026-11-30\n\n### Added\n\n- Something.\n")
        self.assertIn("is 'Added', not 'Upgrading'", self.release()[1])

    def test_a_release_builds_both_archives_and_sets_the_tag_once(self) -> None:
        self.prepare("9.9.9", "## 9.9.9 - 2026-11-30\n\n### Upgrading\n\n- Nothing.\n")
        self.commit()
        code, said = self.release()
        self.assertEqual((code, self.git("tag")), (0, "v9.9.9\n"), said)
        self.assertEqual(
            sorted(each.name for each in (self.clone / "dist").iterdir()),
            ["radiovis-9.9.9-py3-none-any.whl", "radiovis-9.9.9.tar.gz"],
        )
        code, said = self.release()
        self.assertEqual(code, 1)
        self.assertIn("The tag v9.9.9 exists", said)
