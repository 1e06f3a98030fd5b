"""What keeps the test run itself honest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial import unittest

from tests import services
from tests.__main__ import SERVERS, executable_files

ROOT = Path(__file__).parent.parent


class TestFilesTests(unittest.TestCase):
    def test_none_is_executable_as_nosetests_would_skip_it(self) -> None:
        self.assertEqual(executable_files(), [])

    def test_every_folder_with_tests_is_a_package(self) -> None:
        folders = {file.parent for file in (ROOT / "tests").rglob("*.py")}
        self.assertEqual([folder for folder in folders if not (folder / "__init__.py").exists()], [])

    def test_no_production_code_is_named_like_a_test(self) -> None:
        collected = re.compile(r"^\s*(?:async )?(?:def|class) (?:\w*_)?[Tt]est", re.MULTILINE)
        for package in ("fanout", "radiovis"):
            for file in (ROOT / package).rglob("*.py"):
                self.assertNotRegex(file.name, r"(?:^|_)test")
                self.assertIsNone(collected.search(file.read_text()), file)


class PinsTests(unittest.TestCase):
    def test_every_requirement_is_pinned(self) -> None:
        for name in ("requirements.txt", "requirements-dev.txt"):
            for line in (ROOT / name).read_text().splitlines():
                if line and not line.startswith(("#", "-r ")):
                    self.assertRegex(line, r"^[\w.\[\]-]+==[\w.]+$", name)


def ran(command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class LastLineTests(unittest.TestCase):
    """``python -m tests`` as CI sees it, on test files of its own."""

    def outcome(self, code: str, **environ: str) -> tuple[int, str]:
        """Exit code and last line."""
        nowhere = dict.fromkeys(SERVERS, "127.0.0.1:1")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "test_it.py"
            file.write_text("import unittest\nclass It(unittest.TestCase):\n" + code)
            done = ran([sys.executable, "-m", "tests", str(file)], nowhere | environ)
        return done.returncode, done.stdout.splitlines()[-1]

    def test_passed_failed_skipped(self) -> None:
        code = """
    def test_good(self): pass
    def test_bad(self): self.fail()
    def test_error(self): raise ValueError
    @unittest.skip("no")
    def test_skipped(self): pass
"""
        self.assertEqual(self.outcome(code), (1, "1 passed, 2 failed, 1 skipped"))

    def test_all_good_and_the_servers_are_there(self) -> None:
        code = """
    def test_servers(self):
        import socket
        from tests import services
        for server in (services.rabbitmq(), services.memcached()):
            socket.create_connection((server.host, server.port)).close()
"""
        addresses = {
            variable: f"{server.host}:{server.port}"
            for variable, server in zip(SERVERS, (services.rabbitmq(), services.memcached()), strict=True)
        }
        self.assertEqual(self.outcome(code, **addresses), (0, "1 passed, 0 failed"))

    def test_none_at_all_is_a_failure(self) -> None:
        self.assertEqual(self.outcome("    pass\n"), (1, "0 passed, 0 failed"))

    def test_a_file_that_cannot_be_imported_is_a_failure(self) -> None:
        self.assertEqual(self.outcome("    import no_such_module\n"), (1, "0 passed, 1 failed"))


class ClassCleanupTests(unittest.TestCase):
    """Plain ``nosetests``, as developers call it."""

    CODE = """
import unittest
import twisted.trial.unittest
import tests
class First(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(cls.tell, "cleaned")
        if cls.__name__ == "Second": raise ValueError("bad beginning")
    @classmethod
    def tearDownClass(cls): cls.tell("ends")
    @classmethod
    def tell(cls, word): open("{told}", "a").write(cls.__name__ + " " + word + "\\n")
    def test_it(self): self.tell("runs")
class Second(First): pass
class Third(First, twisted.trial.unittest.TestCase): pass
class Fourth(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.addClassCleanup(cls().fail, "bad cleanup")
    def test_it(self): pass
"""

    def test_they_run_behind_each_class_also_when_its_beginning_failed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file, told = Path(folder) / "test_it.py", Path(folder) / "told"
            file.write_text(self.CODE.replace("{told}", str(told)))
            nosetests = Path(sys.executable).parent / "nosetests"
            done = ran([sys.executable, str(nosetests), str(file)], {"PYTHONPATH": str(ROOT)})
            lines = told.read_text().splitlines()
        whole = ["runs", "ends", "cleaned"]
        self.assertEqual(
            lines,
            [*(f"First {word}" for word in whole), "Second cleaned", *(f"Third {word}" for word in whole)],
        )
        self.assertIn("Ran 3 tests", done.stderr)
        for problem in ("ValueError: bad beginning", "AssertionError: bad cleanup", "errors=2"):
            self.assertIn(problem, done.stderr)
