from __future__ import annotations

from pathlib import Path

from twisted.trial import unittest

from radiovis.admin.metrics import ENGINE, RADIOVIS, page

ROOT = Path(__file__).parents[3]


class TestPage(unittest.TestCase):
    def test_the_manual_is_up_to_date(self) -> None:
        self.assertEqual(
            (ROOT / "docs" / "metrics.md").read_text(), page(), 'docs/metrics.md is old: run "make settings"'
        )

    def test_every_metric_is_in_it_once(self) -> None:
        names = [measure.name for table in (*ENGINE.values(), *RADIOVIS.values()) for measure in table]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertEqual(page().count(f"`{name}`"), 1, name)
