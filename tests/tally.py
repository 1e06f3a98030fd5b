"""How many tests passed, failed and were skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nose.core import TestProgram
from nose.plugins import Plugin


@dataclass(frozen=True)
class Tally:
    """The result of some tests; as text, the last line of a run."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"

    @property
    def good(self) -> bool:
        """Whether tests ran and none failed."""
        return self.passed > 0 and not self.failed


class _Counter(Plugin):  # type: ignore[misc]  # nose has no types.
    """Keeps what nose counted."""

    name = "counter"
    enabled = True
    tally = Tally()

    def options(self, parser: object, env: object) -> None:
        """No options: always on."""

    def configure(self, options: object, conf: object) -> None:
        """Nothing to configure."""

    def finalize(self, result: Any) -> None:
        """Called by nose when all tests have run."""
        failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
        skipped = len(result.skipped)
        self.tally = Tally(max(0, result.testsRun - failed - skipped), failed, skipped)


def nosetests(arguments: list[str]) -> Tally:
    """Run nosetests in this process."""
    counter = _Counter()
    TestProgram(argv=["nosetests", *arguments], addplugins=[counter], exit=False)
    return counter.tally
