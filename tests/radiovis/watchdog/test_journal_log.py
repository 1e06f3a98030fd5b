"""The log in the journal."""

from __future__ import annotations

import tempfile
from pathlib import Path

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial import unittest

from fanout.journal.journal import Journal, JournalSettings, Selection
from radiovis.watchdog.journal_log import JournalLog
from radiovis.watchdog.log import Entry, LogError, LogFull

TOPIC = "/topic/fm/4e1/4000/09580/text"
SERIAL = f"fanout-{'a' * 32}-1"


def entry(timestamp: int, serial: str = "", body: bytes = b"TEXT caf\xc3\xa9\xff") -> Entry:
    return Entry(TOPIC, body, (("message-id", "3aa7"), ("when", "1")), timestamp, serial)


class TestJournalLog(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.now = 100_000.5
        self.log = self.open(self.folder / "journal.sqlite")

    def open(self, path: Path) -> JournalLog:
        self.journal = Journal(reactor, JournalSettings(JOURNAL_FILE=str(path)))
        log = JournalLog(self.journal, lambda: self.now)
        self.addCleanup(log.stop)
        return log

    async def kept(self) -> list[tuple[int, bytes]]:
        found = await self.journal.between(Selection(TOPIC, 0, 2**40))
        return [(each.timestamp, each.body) for each in found]

    async def test_entries_are_kept_as_they_are(self) -> None:
        await self.log.add(entry(5))
        (record,) = await self.journal.between(Selection(TOPIC, 0, 10))
        self.assertEqual((record.body, record.headers), (entry(5).body, entry(5).headers))

    async def test_a_copy_is_kept_once_and_a_strangers_serial_says_nothing(self) -> None:
        await gatherResults([self.log.add(entry(1, SERIAL)), self.log.add(entry(2, SERIAL))])
        await gatherResults([self.log.add(entry(3, "1")), self.log.add(entry(4, "1"))])
        self.assertEqual([timestamp for timestamp, _ in await self.kept()], [1, 3, 4])

    async def test_cleanup_drops_what_is_older(self) -> None:
        await gatherResults([self.log.add(entry(100_000 - age)) for age in (0, 59, 60, 61, 3600)])
        self.assertEqual(await self.log.cleanup(60), 2)
        self.assertEqual(sorted(timestamp for timestamp, _ in await self.kept()), [99_940, 99_941, 100_000])

    async def test_a_journal_that_cannot_be_written_is_log_full_and_over_when_it_can(self) -> None:
        log = self.open(self.folder / "none" / "journal.sqlite")
        with capture_logs() as logs:
            for _ in range(3):
                error = await self.assertFailure(log.add(entry(1)), LogFull)
                self.assertIn("its folder must exist", str(error))
            self.now += 30
            self.assertEqual((log.state().error, log.state().since), (str(error), 100_000))
            await self.assertFailure(log.cleanup(1), LogError)
            (self.folder / "none").mkdir()
            await log.add(entry(1))
        self.assertEqual((log.state().error, log.state().since), ("", None))
        self.assertEqual([line["event"] for line in logs], ["log.failing", "log.well"])

    async def test_stop_writes_what_waits(self) -> None:
        added: list[Deferred[None]] = [self.log.add(entry(i)) for i in range(3)]
        self.assertEqual(self.journal.waiting, 3)
        await self.log.stop()
        await gatherResults(added)
        await self.assertFailure(self.log.add(entry(9)), LogFull)
        self.open(self.folder / "journal.sqlite")
        self.assertEqual(len(await self.kept()), 3)
