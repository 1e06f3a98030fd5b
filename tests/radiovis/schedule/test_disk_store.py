"""What a node by itself holds survives it."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
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

    def write(self, octets: bytes) -> None:
        Path(self.path).write_bytes(octets)

    def octets(self, path: str = "") -> bytes:
        return Path(path or self.path).read_bytes()

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

    async def test_a_file_that_is_no_database_is_moved_aside(self) -> None:
        self.write(b"nonsense" * 1000)
        with capture_logs() as logs:
            store = await self.opened()
        (line,) = logs
        self.assertEqual((line["event"], line["kept"]), ("schedule.damaged", 0))
        self.assertTrue(self.octets(line["moved_to"]).startswith(b"nonsense"))
        await store.hold(message("a"))

    async def held(self, count: int) -> bytes:
        """The octets of a file in which so many messages are held."""
        store = await self.opened(most=count + 1)
        await DeferredList([store.hold(message(f"{i:05d}", body=b"SHOW " + b"x" * 500)) for i in range(count)])
        store.done(self.taken[3][1])
        await store.stop()
        self.taken.clear()
        return self.octets()

    async def test_damage_costs_only_the_messages_in_damaged_pages_and_none_is_sent_that_was_dropped(self) -> None:
        whole = await self.held(40)
        names = [f"{i:05d}" for i in range(40) if i != 3]
        for page in range(len(whole) // 4096):
            damaged = whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :]
            self.write(damaged)
            with capture_logs():
                store = await self.opened(most=100)
            found = [each.message_id for each, _ in self.taken]
            in_page = whole[page * 4096 :][:4096]
            self.assertEqual(found, [name for name in names if name in found])
            self.assertTrue(all(name.encode() in in_page for name in set(names) - set(found)), page)
            await store.hold(message("new"))
            self.assertEqual(len({ticket for _, ticket in self.taken}), len(self.taken))
            await store.stop()
            self.taken.clear()

    async def test_a_slide_with_a_flipped_bit_is_not_sent(self) -> None:
        whole = await self.held(5)
        self.write(whole.replace(b"SHOW xxx", b"SHOW xyx", 1))
        with capture_logs() as logs:
            await self.opened()
        self.assertEqual((len(self.taken), logs[0]["unreadable_rows"]), (3, 1))

    async def test_a_file_of_version_1_is_migrated(self) -> None:
        await self.held(5)
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executescript("ALTER TABLE held DROP COLUMN checksum; PRAGMA user_version = 1")
        with capture_logs() as logs:
            store = await self.opened()
        self.assertEqual([line["event"] for line in logs], ["schedule.migrated"])
        self.assertEqual(len(self.taken), 4)
        await store.hold(message("new"))
        self.assertEqual(self.taken[-1][1], 6)
