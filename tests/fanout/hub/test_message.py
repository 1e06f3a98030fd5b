"""When two messages are the same, and their ids."""

from __future__ import annotations

import os
from uuid import RFC_4122, UUID

from twisted.trial import unittest

from fanout.hub.message import Message, new_id


class Same(unittest.TestCase):
    def test_only_the_same_object_is(self) -> None:
        """A station may well send one slide twice, and the radio is to be shown it twice."""
        first, second = (Message("/topic/a", b"SHOW x", "id", 1) for _ in range(2))
        self.assertFalse(first == second)
        self.assertTrue(first != second)
        self.assertEqual(len({first, second, first}), 2)
        self.assertIn(first, [second, first])
        self.assertNotIn(first, [second])

    def test_nobody_changes_one_that_others_hold(self) -> None:
        with self.assertRaises(AttributeError):
            Message("/topic/a", b"SHOW x", "id", 1).body = b""  # type: ignore[misc]


class NewIds(unittest.TestCase):
    def test_each_is_another_random_uuid_in_its_usual_spelling(self) -> None:
        ids = {new_id() for _ in range(10_000)}
        self.assertEqual(len(ids), 10_000)
        for each in ids:
            uuid = UUID(each)
            self.assertEqual((str(uuid), uuid.version, uuid.variant), (each, 4, RFC_4122))

    def test_a_forked_process_gives_others(self) -> None:
        """Workers of one machine begin as copies of one process."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, new_id().encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            self.assertNotEqual(pipe.read(), new_id())
