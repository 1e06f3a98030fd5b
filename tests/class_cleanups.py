"""What a class gives ``addClassCleanup`` and ``enterClassContext`` runs under nosetests as well, which knows neither.

unittest runs it behind ``tearDownClass``, or behind a ``setUpClass`` that failed. nose calls both itself, but first
looks for names of its own, and what stands there does as unittest. No test has to know.
"""

from __future__ import annotations

import unittest


def _set_up(case: type[unittest.TestCase]) -> None:
    try:
        case.setUpClass()
    except BaseException:
        case.doClassCleanups()
        raise


def _tear_down(case: type[unittest.TestCase]) -> None:
    """:raises Exception: what ``tearDownClass`` or the first bad cleanup raised."""
    try:
        case.tearDownClass()
    finally:
        case.doClassCleanups()
    for _, error, _ in case.tearDown_exceptions:  # type: ignore[attr-defined]
        raise error


def teach_nose() -> None:
    """For every class of tests, those of trial among them."""
    unittest.TestCase.setup_class = classmethod(_set_up)  # type: ignore[attr-defined]
    unittest.TestCase.teardown_class = classmethod(_tear_down)  # type: ignore[attr-defined]
