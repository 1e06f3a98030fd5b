"""What a node by itself holds survives it."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule.disk_store import CANCELS, DiskShelf
from tests.radiovis.schedule.shelves import message


class TestDiskShelf(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "shelf")
        self.taken: list[tuple[Message, int]] = []

    def take(self, each: Message, ticket: int) -> None:
        self.taken.append((each, ticket))

    async def opened(self, most: int = 10) -> DiskShelf:
        shelf = DiskShelf(reactor, self.path, most)
        self.addCleanup(lambda: ensureDeferred(shelf.stop()))
        await shelf.ensure(self.take, lambda: None, room=True)
        return shelf

    async def test_what_is_held_is_given_again_after_a_restart_as_it_was(self) -> None:
        shelf = await self.opened()
        for name in ("a", "b", "c"):
            await shelf.hold(message(name, "2027-01-15T12:00:00Z", b"SHOW \xff\0", when=7))
        shelf.done(self.taken[1][1])
        await shelf.stop()
        self.taken.clear()
        shelf = await self.opened()
        self.assertEqual([each.message_id for each, _ in self.taken], ["a", "c"])
        first, _ = self.taken[0]
        self.assertEqual((first.body, first.when), (b"SHOW \xff\0", 7))
        self.assertEqual(first.headers, message("a", "2027-01-15T12:00:00Z").headers)
        await shelf.stop()

    async def test_so_many_and_no_more_but_cancellations_get_through(self) -> None:
        shelf = await self.opened(most=2)
        held = await DeferredList([shelf.hold(message(name)) for name in "abc"], consumeErrors=True)
        self.assertEqual([good for good, _ in held], [True, True, False])
        self.assertIn("2 messages are held already", held[2][1].getErrorMessage())
        await shelf.hold(message("a", body=b""))
        self.assertGreater(CANCELS, 1)
        for _, ticket in list(self.taken):
            shelf.done(ticket)
        await shelf.hold(message("c"))
        await shelf.stop()

    async def test_what_comes_before_it_was_read_is_held_and_given_once_and_nothing_after_its_end(self) -> None:
        shelf = DiskShelf(reactor, self.path, 10)
        self.addCleanup(lambda: ensureDeferred(shelf.stop()))
        first = shelf.hold(message("a"))
        read = ensureDeferred(shelf.ensure(self.take, lambda: None, room=True))
        await DeferredList([first, read, shelf.hold(message("b"))], fireOnOneErrback=True)
        self.assertEqual([each.message_id for each, _ in self.taken], ["a", "b"])
        self.assertEqual(shelf._count, 2)
        await shelf.stop()
        await self.assertFailure(shelf.hold(message("a")), BusError)

    async def test_a_file_that_is_none_of_ours_is_left_alone(self) -> None:
        with sqlite3.connect(self.path) as other:
            other.execute("CREATE TABLE important (x)")
        other.close()
        shelf = DiskShelf(reactor, self.path, 10)
        self.addCleanup(lambda: ensureDeferred(shelf.stop()))
        with self.assertRaisesRegex(BusError, "another program's database; see SCHEDULE_FILE"):
            await shelf.ensure(self.take, lambda: None, room=True)

    async def assert_cannot_be_used(self, path: str) -> None:
        shelf = DiskShelf(reactor, path, 10)
        self.addCleanup(lambda: ensureDeferred(shelf.stop()))
        with self.assertRaisesRegex(BusError, "cannot be used"):
            await shelf.ensure(self.take, lambda: None, room=True)

    async def test_a_file_that_has_no_folder(self) -> None:
        await self.assert_cannot_be_used("/nowhere/held.sqlite")

    def test_a_file_that_is_no_database(self) -> Deferred[None]:
        Path(self.path).write_bytes(b"nonsense" * 1000)
        return ensureDeferred(self.assert_cannot_be_used(self.path))
