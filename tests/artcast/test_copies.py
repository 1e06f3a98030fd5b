from __future__ import annotations

from twisted.trial import unittest

from artcast.copies import Copies


class Rule(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.copies = Copies(lambda: self.now, 5)

    def heard(self, way: str, value: bytes = b"1", source: str = "a:1", key: str = "k") -> bool:
        """Whether it is taken for news."""
        return not self.copies.is_copy(way, source, key, value)

    def test_the_same_value_by_another_way_is_a_copy(self) -> None:
        self.assertEqual([self.heard(way) for way in ("port", "bus B", "bus C", "port")], [True, False, False, True])

    def test_the_way_by_which_it_came_first_is_its_way(self) -> None:
        self.assertEqual([self.heard(way) for way in ("bus B", "port", "bus B", "port")], [True, False, True, False])

    def test_another_value_key_or_source_is_no_copy(self) -> None:
        self.assertTrue(self.heard("port"))
        self.assertTrue(self.heard("bus", value=b"2"))
        self.assertTrue(self.heard("bus", key="l"))
        self.assertTrue(self.heard("bus", source="a:2"))

    def test_when_its_way_is_silent_another_one_takes_over(self) -> None:
        self.assertTrue(self.heard("port"))
        self.now += 4.9
        self.assertFalse(self.heard("bus"))
        self.now += 0.1
        self.assertTrue(self.heard("bus"))
        self.assertFalse(self.heard("port"))

    def test_what_is_remembered_is_bounded_in_time_and_number(self) -> None:
        copies = Copies(lambda: self.now, 5, values=10)
        for number in range(1000):
            copies.is_copy("port", "a:1", "k", b"%d" % number)
        self.assertEqual(len(copies._heard), 10)
        self.now += 5
        copies.is_copy("port", "a:1", "k", b"last")
        self.assertEqual(len(copies._heard), 1)
