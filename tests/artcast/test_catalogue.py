from __future__ import annotations

import json

from twisted.trial import unittest

from artcast.catalogue import Catalogue


class Listing(unittest.TestCase):
    def setUp(self) -> None:
        self.times_full = 0
        self.catalogue = Catalogue(3, self.full)

    def full(self) -> None:
        self.times_full += 1

    def test_keys_are_in_order_and_those_only_mentioned_are_bare(self) -> None:
        self.catalogue.mention("b")
        self.catalogue.register("a", {"description": "A"})
        self.catalogue.mention("a")
        self.assertEqual(self.catalogue.entries(), [{"key": "a", "description": "A"}, {"key": "b"}])
        self.assertEqual(json.loads(self.catalogue.as_json()), self.catalogue.entries())

    def test_facts_are_merged_and_the_json_follows(self) -> None:
        self.catalogue.register("a", {"description": "A", "license": None})
        self.assertIn(b"A", self.catalogue.as_json())
        self.catalogue.register("a", {"description": "B", "provenance": "P"})
        self.assertEqual(dict(self.catalogue.facts("a")), {"description": "B", "license": None, "provenance": "P"})
        self.assertIn(b"B", self.catalogue.as_json())
        self.assertEqual(dict(self.catalogue.facts("never heard")), {})

    def test_a_repeated_registration_makes_no_work(self) -> None:
        self.catalogue.register("a", {"description": "A"})
        made = self.catalogue.as_json()
        self.catalogue.register("a", {"description": "A"})
        self.catalogue.mention("a")
        self.assertIs(self.catalogue.as_json(), made)

    def test_an_empty_registration_is_a_mention(self) -> None:
        self.catalogue.register("a", {})
        self.assertEqual(self.catalogue.entries(), [{"key": "a"}])

    def test_a_million_keys_are_capped_and_reported_once(self) -> None:
        for number in range(1000):
            self.catalogue.mention(f"key/{number}")
            self.catalogue.register(f"more/{number}", {"description": "x"})
        self.assertEqual((len(self.catalogue), self.times_full), (3, 1))
        self.catalogue.register("key/0", {"description": "still there"})
        self.assertEqual(dict(self.catalogue.facts("key/0")), {"description": "still there"})
