"""``python -m tests [arguments of nosetests]``: every test, with servers of its own, and one line to end with.

The last line is ``N passed, N failed`` (and ``, N skipped``). The exit code is 0 only if tests ran and none failed.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nose.core import TestProgram
from nose.plugins import Plugin

from tests import services

ROOT = Path(__file__).parent.parent
SERVERS = {"RADIOVIS_TESTS_RABBITMQ": services.RabbitMQ, "RADIOVIS_TESTS_MEMCACHED": services.Memcached}


class Tally(Plugin):  # type: ignore[misc]  # nose has no types.
    """Keeps the result for the last line."""

    name = "tally"
    enabled = True
    passed = failed = skipped = 0

    def options(self, parser: object, env: object) -> None:
        """No options: always on."""

    def configure(self, options: object, conf: object) -> None:
        """Nothing to configure."""

    def finalize(self, result: Any) -> None:
        """Called by nose when all tests have run."""
        self.failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
        self.skipped = len(result.skipped)
        self.passed = max(0, result.testsRun - self.failed - self.skipped)


def executable_files() -> list[Path]:
    """Test files with the executable bit, which nosetests skips without a word."""
    files = [ROOT / "test.py", *(ROOT / "tests").rglob("*.py")]
    return [file for file in files if file.exists() and os.access(file, os.X_OK)]


def run(arguments: list[str]) -> Tally:
    """Run nosetests with both servers up; those the environment does not name are started, and stopped again."""
    tally = Tally()
    with ExitStack() as started:
        for variable, service in SERVERS.items():
            if variable not in os.environ:
                server = started.enter_context(service())
                os.environ[variable] = f"{server.host}:{server.port}"
        TestProgram(argv=["nosetests", *arguments], addplugins=[tally], exit=False)
    return tally


def main(arguments: list[str]) -> int:
    """Run the tests and return the exit code."""
    os.chdir(ROOT)
    if executable := executable_files():
        print("nosetests skips executable files; chmod -x", *executable, file=sys.stderr)
        print("0 passed, 0 failed")
        return 1
    try:
        tally = run(arguments)
    except services.ServiceError as error:
        print(error, file=sys.stderr)
        print("0 passed, 0 failed")
        return 1
    sys.stderr.flush()
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {tally.failed} failed{skipped}", flush=True)
    return 0 if tally.passed and not tally.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
