"""docs/log-events.md lists each event of the log once, and no other."""

from __future__ import annotations

import ast
import re
import unittest
from collections import Counter
from pathlib import Path

from tools.log_events import SECTIONS, page

ROOT = Path(__file__).parent.parent
LOGGING = ("debug", "info", "warning", "error", "exception", "warn", "note")
"""Names of methods whose first text is an event."""
_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")


def sources() -> list[ast.Module]:
    """All modules of the engine and the applications."""
    files = (file for top in ("fanout", "radiovis", "artcast", "webserver") for file in (ROOT / top).rglob("*.py"))
    return [ast.parse(file.read_text()) for file in files]


def texts(node: ast.AST) -> set[str]:
    """What looks like an event in this part of the source."""
    found = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return {text for text in found if _EVENT.fullmatch(text)}


def logged() -> set[str]:
    """The first arguments of all calls of the log."""
    calls = (node for module in sources() for node in ast.walk(module) if isinstance(node, ast.Call))
    logging = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in LOGGING)
    return {text for call in logging if call.args for text in texts(call.args[0])}


class TestLogEvents(unittest.TestCase):
    def test_each_event_of_the_source_is_listed_once(self) -> None:
        listed = Counter(event for events in SECTIONS.values() for event in events)
        self.assertEqual([event for event, count in listed.items() if count > 1], [])
        self.assertGreater(len(logged()), 90)
        self.assertEqual(sorted(logged() - listed.keys()), [])

    def test_each_listed_event_is_in_the_source(self) -> None:
        known = {text for module in sources() for text in texts(module)}
        listed = {event for events in SECTIONS.values() for event in events}
        self.assertEqual(sorted(listed - known), [])

    def test_the_page_is_up_to_date(self) -> None:
        written = (ROOT / "docs" / "log-events.md").read_text()
        self.assertEqual(page() + "\n", written, 'run "make settings"')
