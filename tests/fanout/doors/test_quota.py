from __future__ import annotations

from twisted.trial import unittest

from fanout.doors.quota import Quota


class TestQuota(unittest.TestCase):
    def test_only_so_many_in_all(self) -> None:
        quota = Quota(2, 0)
        self.assertEqual([quota.take(each) for each in ("a", "b", "c")], [True, True, False])
        quota.give_back("a")
        self.assertTrue(quota.take("c"))
        self.assertEqual(quota.total, 2)

    def test_only_so_many_of_one_subscriber(self) -> None:
        quota = Quota(100, 2)
        taken = [quota.take(f"2001:db8::{number}") for number in range(3)]
        self.assertEqual(taken, [True, True, False])
        self.assertTrue(quota.take("2001:db8:0:1::1"))

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        quota = Quota()
        for number in range(1_000):
            quota.take(str(number))
            quota.give_back(str(number))
        self.assertEqual((quota.total, len(quota._held)), (0, 0))
