from __future__ import annotations

from twisted.trial import unittest

from fanout.metrics.prometheus import Measure, Metrics, reference
from radiovis.admin.metrics import ENGINE
from tests.prometheus import parse


class Part:
    """Something with numbers, which tells whether they were read."""

    def __init__(self) -> None:
        self.reads = 0
        self.value = 1.0

    def read(self) -> float:
        self.reads += 1
        return self.value


TABLE = (
    Measure("gauge", "part_value", "A value.", lambda part: part.read()),
    Measure("counter", "part_done_total", "By outcome.", lambda part: {"good": 3, "bad": 1}, ("outcome",)),
    Measure("gauge", "part_pairs", "By two.", lambda part: {("a", 'quoted "b"\n'): 2}, ("one", "two")),
)


class TestMetrics(unittest.TestCase):
    def setUp(self) -> None:
        self.part = Part()
        self.metrics = Metrics()
        self.metrics.add(TABLE, self.part)

    def test_values_are_those_of_the_moment(self) -> None:
        self.assertEqual(parse(self.metrics.text())["part_value"], {(): 1.0})
        self.part.value = 7
        self.assertEqual(parse(self.metrics.text())["part_value"], {(): 7.0})

    def test_nothing_is_read_before_somebody_asks(self) -> None:
        self.assertEqual(self.part.reads, 0)
        self.metrics.text()
        self.assertEqual(self.part.reads, 1)

    def test_labels(self) -> None:
        found = parse(self.metrics.text())
        self.assertEqual(found["part_done_total"], {(("outcome", "good"),): 3.0, (("outcome", "bad"),): 1.0})
        self.assertEqual(found["part_pairs"], {(("one", "a"), ("two", 'quoted "b"\n')): 2.0})

    def test_the_process_tells_of_itself(self) -> None:
        found = parse(self.metrics.text())
        self.assertGreater(found["process_resident_memory_bytes"][()], 1e6)
        self.assertGreater(found["process_open_fds"][()], 2)

    def test_two_processes_in_one_share_nothing(self) -> None:
        other = Metrics()
        other.add(TABLE, Part())
        self.part.value = 5
        self.assertEqual(parse(other.text())["part_value"], {(): 1.0})

    def test_a_name_belongs_to_one(self) -> None:
        with self.assertRaises(ValueError):
            self.metrics.add(TABLE, Part())

    def test_a_part_that_fails_is_no_silent_zero(self) -> None:
        self.metrics.add((Measure("gauge", "broken", "Fails.", lambda part: 1 / 0),), self.part)
        with self.assertRaises(ZeroDivisionError):
            self.metrics.text()


class TestReference(unittest.TestCase):
    def test_a_row_for_each(self) -> None:
        page = reference({"Parts": TABLE})
        self.assertIn("| `part_done_total` | counter | `outcome` | By outcome. |", page)
        self.assertIn("| `process_open_fds` | gauge | Number of open file descriptors. |", page)


class TestNames(unittest.TestCase):
    """What Prometheus' own linter asks of names and help."""

    def test_conventions(self) -> None:
        for table in ENGINE.values():
            for measure in table:
                with self.subTest(name=measure.name):
                    self.assertRegex(measure.name, r"^fanout_[a-z_]+$")
                    self.assertEqual(measure.name.endswith("_total"), measure.kind == "counter")
                    self.assertRegex(measure.help, r"^[A-Zm].*\.$")
                    self.assertNotRegex(measure.name, "gauge|counter|milli|kilo|minute")
