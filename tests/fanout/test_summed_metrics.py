from __future__ import annotations

from twisted.trial import unittest

from fanout.summed_metrics import summed

ONE = """# HELP radios_total Radios that came.
# TYPE radios_total counter
radios_total{version="1.0"} 3
radios_total{version="1.2"} 1
# HELP lag_worst_seconds The worst.
# TYPE lag_worst_seconds gauge
lag_worst_seconds 0.5
# HELP topics Topics.
# TYPE topics gauge
topics 7
"""
TWO = """# HELP radios_total Radios that came.
# TYPE radios_total counter
radios_total{version="1.0"} 4
# HELP lag_worst_seconds The worst.
# TYPE lag_worst_seconds gauge
lag_worst_seconds 0.25
# HELP topics Topics.
# TYPE topics gauge
topics 2
"""


class SummedTests(unittest.TestCase):
    def setUp(self) -> None:
        self.lines = summed({"1": ONE, "2": TWO}).decode().splitlines()

    def test_each_process_keeps_its_own(self) -> None:
        for line in (
            'radios_total{version="1.0",worker="1"} 3.0',
            'radios_total{version="1.0",worker="2"} 4.0',
            'topics{worker="2"} 2.0',
        ):
            self.assertIn(line, self.lines)

    def test_sums_by_label_also_of_what_only_one_has(self) -> None:
        for line in ('radios_total{version="1.0"} 7.0', 'radios_total{version="1.2"} 1.0', "topics 9.0"):
            self.assertIn(line, self.lines)

    def test_no_sum_of_what_cannot_be_added_up(self) -> None:
        worst = [line for line in self.lines if line.startswith("lag_worst")]
        self.assertEqual(worst, ['lag_worst_seconds{worker="1"} 0.5', 'lag_worst_seconds{worker="2"} 0.25'])

    def test_every_metric_is_explained_once(self) -> None:
        self.assertEqual(len([line for line in self.lines if line.startswith("# HELP")]), 3)

    def test_nobody_answers(self) -> None:
        self.assertEqual(summed({}), b"")
