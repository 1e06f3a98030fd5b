"""The journal under the real reactor, with real files."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial import unittest

from fanout.journal.journal import Journal, JournalError, JournalSettings, Record, Selection
from fanout.journal.records import COLUMNS

EVERYTHING = Selection("", 0, 2**40, prefix=True)


def record(number: int, body: bytes = b"TEXT x", topic: str = "/t") -> Record:
    return Record(topic, body, (("when", str(number)),), number)


class _JournalCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "journal.sqlite"
        self.journal = self.open()

    def open(self, **limits: float) -> Journal:
        journal = Journal(reactor, JournalSettings(JOURNAL_FILE=str(self.path)), **limits)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(journal.stop()))
        return journal

    async def add(self, *records: Record) -> None:
        await gatherResults([self.journal.add(each) for each in records])


class TestJournal(_JournalCase):
    async def test_what_was_added_is_answered(self) -> None:
        await self.add(record(1), record(2, topic="/u"))
        self.assertEqual([each.timestamp for each in await self.journal.between(EVERYTHING)], [1, 2])
        self.assertEqual(await self.journal.last_alive(["/t", "/none"]), {"/t": 1})

    async def test_a_burst_shares_its_transactions_and_keeps_its_order(self) -> None:
        writes: list[int] = []
        add = self.journal._ledger.add

        def counting(records: Sequence[Record]) -> None:
            writes.append(len(records))
            add(records)

        self.patch(self.journal._ledger, "add", counting)
        await self.add(*(Record("/t", b"%d" % i, (), 7) for i in range(1000)))
        self.assertLess(len(writes), 5)
        self.assertEqual(sum(writes), 1000)
        self.assertEqual(
            [each.body for each in await self.journal.between(EVERYTHING)], [b"%d" % i for i in range(1000)]
        )

    async def test_waiting_counts_what_is_not_yet_on_the_disk(self) -> None:
        added = [self.journal.add(record(i)) for i in range(3)]
        self.assertEqual(self.journal.waiting, 3)
        await gatherResults(added)
        self.assertEqual(self.journal.waiting, 0)

    async def test_it_is_there_after_a_restart(self) -> None:
        self.journal.add(record(1))
        self.journal.add(record(2))
        await self.journal.stop()
        self.journal = self.open()
        self.assertEqual(len(await self.journal.between(EVERYTHING)), 2)

    async def test_a_closed_journal_says_so(self) -> None:
        await self.journal.stop()
        await self.journal.stop()
        for asked in (self.journal.add(record(1)), self.journal.between(EVERYTHING), self.journal.last_alive([])):
            error = await self.assertFailure(asked, JournalError)
            self.assertIn("closed", str(error))

    async def test_a_failed_write_fails_its_records_and_the_next_ones_are_tried(self) -> None:
        self.journal = Journal(reactor, JournalSettings(JOURNAL_FILE=str(self.path.parent / "none" / "j")))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.journal.stop()))
        await self.assertFailure(self.journal.add(record(1)), JournalError)
        (self.path.parent / "none").mkdir()
        await self.journal.add(record(2))
        self.assertEqual([each.timestamp for each in await self.journal.between(EVERYTHING)], [2])

    async def test_not_more_questions_at_once_than_allowed(self) -> None:
        self.journal = self.open(max_calls=2)
        asked = [self.journal.last_alive([]) for _ in range(2)]
        error = await self.assertFailure(self.journal.last_alive([]), JournalError)
        self.assertIn("try again later", str(error))
        await gatherResults(asked)
        self.assertEqual(await self.journal.last_alive([]), {})

    async def test_cleanup_lets_new_records_in_between(self) -> None:
        self.journal = self.open(delay=0)
        await self.add(*(record(i) for i in range(5000)))
        cleaned = Deferred.fromCoroutine(self.journal.cleanup(4500))
        await self.journal.add(record(9999))
        self.assertFalse(cleaned.called, "the new record did not wait for all five steps")
        self.assertEqual(await cleaned, 4500)
        self.assertEqual(len(await self.journal.between(EVERYTHING)), 501)

    async def test_damage_does_not_stop_it(self) -> None:
        await self.journal.stop()
        self.path.write_bytes(b"no database at all\n" * 100)
        self.journal = self.open()
        with capture_logs() as logs:
            await self.journal.add(record(1))
        self.assertEqual([line["event"] for line in logs], ["journal.damaged"])
        self.assertEqual(len(await self.journal.between(EVERYTHING)), 1)

    async def test_a_lowered_limit_is_taken_while_it_runs(self) -> None:
        await self.add(*(record(i, b"x" * 1000) for i in range(2000)))
        self.journal.settings = JournalSettings(JOURNAL_FILE=str(self.path), JOURNAL_MAX_BYTES=2**20)
        await self.add(record(9999))
        kept = await self.journal.between(EVERYTHING)
        self.assertLess(len(kept), 1000)
        self.assertEqual(kept[-1].timestamp, 9999)


class TestCsv(_JournalCase):
    async def test_every_record_comes_back_from_the_file(self) -> None:
        odd = [b"", bytes(range(1, 256)), b'a,"b"\r\nc\n;d', "TEXT café €".encode(), b"=1+1", b"\xff\xfe"]
        records = [
            Record('/topic/é,"/x', body, (("link", 'http://l/?a="1",2'), ("n", "é")), 1000 + i, f"s{i}")
            for i, body in enumerate(odd)
        ]
        await self.add(*records)
        out: list[bytes] = []
        self.assertEqual(await self.journal.export_csv(EVERYTHING, out.append), len(odd))
        text = io.TextIOWrapper(io.BytesIO(b"".join(out)), "utf-8", "surrogateescape", newline="")
        rows = list(csv.DictReader(text))
        back = [
            Record(
                row["topic"],
                row["body"].encode("utf-8", "surrogateescape"),
                tuple((name, value) for name, value in json.loads(row["headers"])),
                int(row["timestamp"]),
                row["serial"],
            )
            for row in rows
        ]
        self.assertEqual(back, records)
        self.assertEqual(rows[0]["time"], "1970-01-01T00:16:40Z")

    async def test_an_empty_selection_is_a_header(self) -> None:
        out: list[bytes] = []
        self.assertEqual(await self.journal.export_csv(Selection("/none", 0, 1), out.append), 0)
        self.assertEqual(out, [",".join(COLUMNS).encode() + b"\r\n"])

    async def test_it_goes_on_only_when_the_reader_does(self) -> None:
        await self.add(*(record(i) for i in range(2500)))
        turns: list[Deferred[None]] = []
        came: list[Deferred[None]] = [Deferred() for _ in range(4)]

        def write(octets: bytes) -> Deferred[None]:
            turn: Deferred[None] = Deferred()
            turns.append(turn)
            came[len(turns) - 1].callback(None)
            return turn

        exported = Deferred.fromCoroutine(self.journal.export_csv(EVERYTHING, write))
        for i in range(4):
            await came[i]
            await self.journal.last_alive([])  # Whatever the export asked the thread before is answered by now.
            self.assertEqual(len(turns), i + 1)
            turns[i].callback(None)
        self.assertEqual(await exported, 2500)
