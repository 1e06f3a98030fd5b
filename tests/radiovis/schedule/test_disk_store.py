"""What a node by itself holds survives it."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.schedule.disk_store import CANCELS, DiskSlideStore
from radiovis.settings import SlideSettings
from tests.radiovis.schedule.stores import message


class TestDiskStore(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "store")
        self.taken: list[tuple[Message, int]] = []

    def take(self, each: Message, ticket: int) -> None:
        self.taken.append((each, ticket))

    def store(self, path: str, most: int = 10) -> DiskSlideStore:
        store = DiskSlideStore(reactor, SlideSettings(SCHEDULE_FILE=path), most=most)
        self.addCleanup(lambda: ensureDeferred(store.stop()))
        return store

    async def opened(self, most: int = 10) -> DiskSlideStore:
        store = self.store(self.path, most)
        await store.ensure(self.take, lambda: None, room=True)
        return store

    async def test_what_is_held_is_given_again_after_a_restart_as_it_was(self) -> None:
        store = await self.opened()
        for name in ("a", "b", "c"):
            await store.hold(message(name, "2027-01-15T12:00:00Z", b"SHOW \xff\0", when=7))
        store.done(self.taken[1][1])
        await store.stop()
        self.taken.clear()
        store = await self.opened()
        self.assertEqual([each.message_id for each, _ in self.taken], ["a", "c"])
        first, _ = self.taken[0]
        self.assertEqual((first.body, first.when), (b"SHOW \xff\0", 7))
        self.assertEqual(first.headers, message("a", "2027-01-15T12:00:00Z").headers)
        await store.stop()

    async def test_so_many_and_no_more_but_cancellations_get_through(self) -> None:
        store = await self.opened(most=2)
        held = await DeferredList([store.hold(message(name)) for name in "abc"], consumeErrors=True)
        self.assertEqual([good for good, _ in held], [True, True, False])
        self.assertIn("2 messages are held already", held[2][1].getErrorMessage())
        await store.hold(message("a", body=b""))
        self.assertGreater(CANCELS, 1)
        for _, ticket in list(self.taken):
            store.done(ticket)
        await store.hold(message("c"))
        await store.stop()

    async def test_what_comes_before_it_was_read_is_held_and_given_once_and_nothing_after_its_end(self) -> None:
        store = self.store(self.path)
        first = store.hold(message("a"))
        read = ensureDeferred(store.ensure(self.take, lambda: None, room=True))
        await DeferredList([first, read, store.hold(message("b"))], fireOnOneErrback=True)
        self.assertEqual([each.message_id for each, _ in self.taken], ["a", "b"])
        self.assertEqual(store._count, 2)
        await store.stop()
        await self.assertFailure(store.hold(message("a")), BusError)

    async def test_a_file_that_is_none_of_ours_is_left_alone(self) -> None:
        with sqlite3.connect(self.path) as other:
            other.execute("CREATE TABLE important (x)")
        other.close()
        store = self.store(self.path)
        with self.assertRaisesRegex(BusError, "another program's database; see SCHEDULE_FILE"):
            await store.ensure(self.take, lambda: None, room=True)

    async def test_a_burst_shares_its_transactions_and_keeps_its_order(self) -> None:
        store = await self.opened(most=500)
        writes: list[int] = []
        add = store._rows.add

        def counting(adding: Sequence[Any]) -> None:
            writes.append(len(adding))
            add(adding)

        self.patch(store._rows, "add", counting)
        await DeferredList([store.hold(message(str(i))) for i in range(500)], fireOnOneErrback=True)
        self.assertLess(len(writes), 5)
        self.assertEqual([each.message_id for each, _ in self.taken], [str(i) for i in range(500)])
        self.assertEqual(sorted({ticket for _, ticket in self.taken}), [ticket for _, ticket in self.taken])

    async def test_a_text_that_cannot_be_kept_fails_no_other(self) -> None:
        store = await self.opened()
        held = await DeferredList([store.hold(message(name)) for name in ("a", "\udcff", "b")], consumeErrors=True)
        self.assertEqual([good for good, _ in held], [True, False, True])
        held[1][1].trap(BusError)
        self.assertEqual([each.message_id for each, _ in self.taken], ["a", "b"])

    async def assert_cannot_be_used(self, path: str) -> None:
        store = self.store(path)
        with self.assertRaisesRegex(BusError, "cannot be used"):
            await store.ensure(self.take, lambda: None, room=True)

    async def test_a_file_that_has_no_folder(self) -> None:
        await self.assert_cannot_be_used("/nowhere/held.sqlite")

    def test_a_file_that_is_no_database(self) -> Deferred[None]:
        Path(self.path).write_bytes(b"nonsense" * 1000)
        return ensureDeferred(self.assert_cannot_be_used(self.path))
