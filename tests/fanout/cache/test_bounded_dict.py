from __future__ import annotations

from twisted.trial import unittest

from fanout.cache.bounded_dict import BoundedDict


class CountTests(unittest.TestCase):
    def test_the_entry_set_longest_ago_is_removed_first(self) -> None:
        known: BoundedDict[str, int] = BoundedDict(2)
        known["a"] = 1
        known["b"] = 2
        known["a"] = 3
        known["c"] = 4
        self.assertEqual(dict(known), {"a": 3, "c": 4})

    def test_reading_an_entry_does_not_make_it_newer(self) -> None:
        known: BoundedDict[str, int] = BoundedDict(2)
        known["a"] = known["b"] = 1
        self.assertEqual((known["a"], known.get("a"), "a" in known), (1, 1, True))
        known["c"] = 1
        self.assertEqual(list(known), ["b", "c"])

    def test_iteration_starts_with_the_oldest(self) -> None:
        known: BoundedDict[str, int] = BoundedDict(3)
        for key in "abca":
            known[key] = len(known)
        self.assertEqual(list(known), ["b", "c", "a"])
        self.assertEqual(known.popitem(), ("b", 1))
        self.assertEqual(next(iter(known.values())), 2)

    def test_a_smaller_limit_takes_effect_when_an_entry_is_set(self) -> None:
        known: BoundedDict[int, None] = BoundedDict(10)
        for key in range(10):
            known[key] = None
        known.limit = 3
        self.assertEqual(len(known), 10)
        known[10] = None
        self.assertEqual(list(known), [8, 9, 10])

    def test_missing_keys(self) -> None:
        known: BoundedDict[str, int] = BoundedDict(1)
        self.assertIsNone(known.get("a"))
        self.assertEqual(known.get("a", 5), 5)
        self.assertEqual(known.pop("a", 6), 6)
        self.assertRaises(KeyError, lambda: known["a"])
        self.assertRaises(KeyError, known.pop, "a")
        self.assertRaises(KeyError, known.popitem)

    def test_a_value_of_none_is_an_entry(self) -> None:
        known: BoundedDict[str, None] = BoundedDict(1)
        known["a"] = None
        self.assertIn("a", known)
        self.assertIsNone(known.pop("a"))
        self.assertNotIn("a", known)


class WeightTests(unittest.TestCase):
    def setUp(self) -> None:
        self.known: BoundedDict[str, bytes] = BoundedDict(100, weigh=len, weight_limit=10)

    def test_the_oldest_are_removed_until_the_weight_fits(self) -> None:
        self.known["a"] = self.known["b"] = self.known["c"] = b"123"
        self.known["d"] = b"12345"
        self.assertEqual(list(self.known), ["c", "d"])
        self.assertEqual(self.known.weight, 8)

    def test_a_value_heavier_than_the_limit_is_not_kept(self) -> None:
        self.known["a"] = b"123"
        self.known["b"] = b"123"
        self.known["a"] = b"12345678901"
        self.assertEqual(dict(self.known), {"b": b"123"})
        self.assertEqual(self.known.weight, 3)

    def test_replacing_and_removing_adjusts_the_weight(self) -> None:
        self.known["a"] = b"123456"
        self.known["a"] = b"1234567890"
        self.assertEqual(self.known.weight, 10)
        self.known["a"] = b"1"
        self.known["b"] = b"22"
        del self.known["a"]
        self.assertEqual(self.known.weight, 2)
        self.assertEqual(self.known.pop("b"), b"22")
        self.assertEqual(self.known.weight, 0)
        self.known["a"] = b"1"
        self.known.clear()
        self.assertEqual((self.known.weight, len(self.known)), (0, 0))

    def test_the_number_is_limited_as_well(self) -> None:
        self.known.limit = 1
        self.known["a"] = self.known["b"] = b"1"
        self.assertEqual((list(self.known), self.known.weight), (["b"], 1))
