from __future__ import annotations

from twisted.trial import unittest

from fanout.metrics.health import Condition, Health


class TestHealth(unittest.TestCase):
    def setUp(self) -> None:
        self.bus = Condition("bus", True, "connected")
        self.cache = Condition("cache", True, "answers", needed=False)
        self.health = Health([lambda: self.bus, lambda: self.cache])

    def test_all_is_well(self) -> None:
        report = self.health.report()
        self.assertTrue(self.health.ready)
        self.assertEqual((report["ready"], report["reasons"], report["degraded"]), (True, [], []))
        self.assertEqual(report["conditions"]["bus"], {"well": True, "needed": True, "reason": "connected"})

    def test_what_is_needed_is_missing(self) -> None:
        self.bus = Condition("bus", False, "refused")
        report = self.health.report()
        self.assertFalse(self.health.ready)
        self.assertEqual((report["ready"], report["reasons"], report["degraded"]), (False, ["bus: refused"], []))

    def test_what_is_not_needed_is_missing(self) -> None:
        self.cache = Condition("cache", False, "silent", needed=False)
        report = self.health.report()
        self.assertTrue(self.health.ready)
        self.assertEqual((report["ready"], report["reasons"], report["degraded"]), (True, [], ["cache: silent"]))

    def test_a_condition_in_words(self) -> None:
        self.assertEqual(str(self.cache), "cache: answers")

    def test_nothing_is_remembered(self) -> None:
        self.bus = Condition("bus", False, "refused")
        self.assertFalse(self.health.ready)
        self.bus = Condition("bus", True, "connected")
        self.assertTrue(self.health.ready)

    def test_draining(self) -> None:
        self.health.draining = True
        self.assertFalse(self.health.ready)
        self.assertEqual(self.health.report()["reasons"], ["draining: shutting down"])
