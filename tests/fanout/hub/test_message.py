"""When two messages are the same."""

from __future__ import annotations

from twisted.trial import unittest

from fanout.hub.message import Message


class Same(unittest.TestCase):
    def test_only_the_same_object_is(self) -> None:
        """A publisher may send one value twice, and subscribers get it twice."""
        first, second = (Message("/topic/a", b"SHOW x", "id", 1) for _ in range(2))
        self.assertFalse(first == second)
        self.assertTrue(first != second)
        self.assertEqual(len({first, second, first}), 2)
        self.assertIn(first, [second, first])
        self.assertNotIn(first, [second])

    def test_nobody_changes_one_that_others_hold(self) -> None:
        with self.assertRaises(AttributeError):
            Message("/topic/a", b"SHOW x", "id", 1).body = b""  # type: ignore[misc]
