from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.cache.bounded_dict import BoundedDict, OwnerWeights, SharedBudget, SharedDict


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


class TestSharedDict(unittest.TestCase):
    """An entry belongs to the first character of its key."""

    def shared(self, limit: int = 100, weight_limit: int = 100) -> SharedDict[str, str]:
        return SharedDict(limit, owner_of=lambda key, _: key[0], weigh=len, weight_limit=weight_limit)

    def test_the_owner_with_most_loses_its_oldest(self) -> None:
        shared = self.shared()
        shared["a1"] = "x"
        for number in range(50):
            shared[f"b{number}"] = "x" * 10
        self.assertEqual(list(shared), ["a1", *(f"b{number}" for number in range(41, 50))])
        self.assertEqual((shared.weight, shared.displaced, shared.owners), (91, 41, 2))

    def test_the_owner_with_most_entries_if_there_are_too_many(self) -> None:
        shared = self.shared(limit=5, weight_limit=10_000)
        shared["a1"] = "x" * 5_000
        for number in range(10):
            shared[f"b{number}"] = "x"
        self.assertEqual(list(shared), ["a1", "b6", "b7", "b8", "b9"])

    def test_a_small_owner_finds_room_when_it_is_full(self) -> None:
        shared = self.shared()
        for number in range(10):
            shared[f"b{number}"] = "x" * 10
        shared["a"] = "x" * 10
        self.assertEqual(list(shared), [*(f"b{number}" for number in range(1, 10)), "a"])

    def test_of_owners_with_one_entry_each_the_oldest_goes(self) -> None:
        shared = self.shared(limit=3)
        for key in "abc":
            shared[key] = "x"
        shared["a"] = "y"
        shared["d"] = "x"
        self.assertEqual(list(shared), ["c", "a", "d"])

    def test_an_entry_may_change_its_owner_and_its_weight(self) -> None:
        owners = {"first": "a", "second": "b", "large": "b"}
        shared: SharedDict[str, str] = SharedDict(
            9, owner_of=lambda _, value: owners[value], weigh=len, weight_limit=10
        )
        shared["k"] = "first"
        shared["k"] = "second"
        self.assertEqual((dict(shared), shared.weight, shared.owners), ({"k": "second"}, 6, 1))
        shared["k"] = "large"
        self.assertEqual((shared.weight, shared.owners), (5, 1))
        shared.clear()
        self.assertEqual((len(shared), shared.weight, shared.owners), (0, 0, 0))

    def test_an_entry_that_is_too_heavy_alone_is_not_kept(self) -> None:
        shared = self.shared()
        shared["a"] = "x"
        shared["a"] = "x" * 101
        self.assertEqual((dict(shared), shared.weight, shared.owners), ({}, 0, 0))

    @settings(deadline=None)  # a shared machine has been seen to stall
    @given(st.lists(st.tuples(st.sampled_from(["a1", "a2", "b1", "b2", "c"]), st.integers(1, 40)), max_size=60))
    def test_the_sums_are_right_after_any_changes(self, changes: list[tuple[str, int]]) -> None:
        shared = self.shared(limit=4)
        for key, weight in changes:
            shared[key] = "x" * weight
            self.assertLessEqual(len(shared), 4)
            self.assertLessEqual(shared.weight, 100)
        self.assertEqual(shared.weight, sum(map(len, shared.values())))
        self.assertEqual(shared.owners, len({key[0] for key in shared}))


class TestOwnerWeights(unittest.TestCase):
    @settings(deadline=None)  # a shared machine has been seen to stall
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10**6)), min_size=1, max_size=50))
    def test_the_heaviest_has_most_but_for_a_fifth(self, changes: list[tuple[int, int]]) -> None:
        weights, plain = OwnerWeights(), Counter[int]()
        for owner, by in changes:
            weights.change(owner, by)
            plain[owner] += by
        self.assertGreaterEqual(weights[weights.heaviest()], 0.8 * max(plain.values()))
        for owner, weight in plain.items():
            weights.change(owner, -weight)
        self.assertEqual(len(weights), 0)
        self.assertRaises(ValueError, weights.heaviest)


class TestSharedBudget(unittest.TestCase):
    def fill(self, budget: SharedBudget[str], owner: str) -> int:
        taken = 0
        while budget.take(owner, 1):
            taken += 1
        return taken

    def test_an_owner_alone_gets_half_and_leaves_room_for_others(self) -> None:
        budget: SharedBudget[str] = SharedBudget(120)
        self.assertEqual([self.fill(budget, owner) for owner in "abc"], [60, 30, 15])
        self.assertEqual((budget.used, budget.refused), (105, 3))
        self.assertFalse(budget.take("a", 1))
        self.assertTrue(budget.take("d", 5))

    def test_what_is_given_back_can_be_taken_again(self) -> None:
        budget: SharedBudget[str] = SharedBudget(100)
        self.assertTrue(budget.take("a", 50))
        self.assertFalse(budget.take("a", 1))
        budget.give_back("a", 50)
        self.assertTrue(budget.take("a", 50))
        budget.clear()
        self.assertEqual((budget.used, budget.take("a", 50)), (0, True))
