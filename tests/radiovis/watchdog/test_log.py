"""The log of ``--test``, the cleanup of old entries by the leader, and what all logs share."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, gatherResults, maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial import unittest

from fanout.journal.journal import Journal, JournalSettings, Selection
from radiovis.settings import WatchdogSettings
from radiovis.watchdog.log import (
    ADDRESS,
    DatagramLog,
    Entry,
    JournalLog,
    LogCleanup,
    LogError,
    LogFull,
    LogState,
    RecentSerials,
    own_serial,
)
from tests.radiovis.watchdog.fakes import FakeLeader, FakeLog


class _Listener(DatagramProtocol):
    def __init__(self) -> None:
        self.datagrams: DeferredQueue[bytes] = DeferredQueue()

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.datagrams.put(datagram)


class TestDatagramLog(unittest.TestCase):
    def setUp(self) -> None:
        self.listener = _Listener()
        port = reactor.listenUDP(0, self.listener, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.log = DatagramLog(reactor, ("127.0.0.1", port.getHost().port))
        self.addCleanup(self.log.stop)

    def test_the_address_of_the_original(self) -> None:
        self.assertEqual(ADDRESS, ("127.0.0.1", 61422))

    async def test_an_entry_is_the_datagram_of_the_original(self) -> None:
        entry = Entry("/topic/x/text", "TEXT café".encode(), (("link", "http://l/?a=1"), ("when", "1")), 1795294643)
        await self.log.add(entry)
        self.assertEqual(
            json.loads(await self.listener.datagrams.get()),
            {
                "topic": "/topic/x/text",
                "headers": r'[["link","http://l/?a=1"],["when","1"]]',
                "message": "TEXT café",
                "type": "log",
                "timestamp": 1795294643,
            },
        )

    async def test_cleanup_is_the_datagram_of_the_original(self) -> None:
        self.assertEqual(await self.log.cleanup(86400), 0)
        self.assertEqual(await self.listener.datagrams.get(), b'{"max_age":86400,"type":"cleanup_logs"}')

    async def test_octets_that_are_no_text(self) -> None:
        await self.log.add(Entry("/t\udcff", b"\xff", (("n", "\ud800"),), 1))
        came = json.loads(await self.listener.datagrams.get())
        self.assertEqual((came["message"], json.loads(came["headers"])), ("\ufffd", [["n", "\ud800"]]))

    async def test_what_is_too_large_is_said_and_the_next_one_comes(self) -> None:
        with capture_logs() as logs:
            await self.log.add(Entry("/t", b"x" * 2**20, (), 1))
        self.assertEqual([line["event"] for line in logs], ["log.not_sent"])
        await self.log.add(Entry("/t", b"next", (), 2))
        self.assertEqual(json.loads(await self.listener.datagrams.get())["message"], "next")

    async def test_nobody_has_to_listen_and_nothing_waits(self) -> None:
        log = DatagramLog(reactor, ("127.0.0.1", 1))
        await log.add(Entry("/t", b"x", (), 1))
        await log.add(Entry("/t", b"x", (), 1))
        self.assertEqual(log.state(), LogState())
        await maybeDeferred(log.stop)
        await self.assertFailure(log.add(Entry("/t", b"x", (), 1)), LogFull)


class Cleaning(unittest.TestCase):
    def setUp(self) -> None:
        self.log, self.leader = FakeLog(), FakeLeader()
        self.cleanup = LogCleanup(self.log, self.leader, WatchdogSettings(FB_LOGS_MAX_AGE=86_400))

    async def test_the_leader_cleans(self) -> None:
        await self.cleanup.clean()
        self.assertEqual(self.log.cleanups, [86_400])

    async def test_a_standby_does_not(self) -> None:
        self.leader.leading = False
        await self.cleanup.clean()
        self.assertEqual(self.log.cleanups, [])

    async def test_a_failure_is_the_supervisors(self) -> None:
        self.log.failing = True
        with self.assertRaises(LogError):
            await self.cleanup.clean()


def serial(number: int) -> str:
    return f"fanout-{'a' * 32}-{number}"


class TestRecentSerials(unittest.TestCase):
    def test_exactly_those_seen(self) -> None:
        serials = RecentSerials()
        serials.add(serial(5))
        self.assertIn(serial(5), serials)
        self.assertNotIn(serial(4), serials, "it may have been refused, and comes again")

    def test_a_strangers_serial_and_none_are_never_known(self) -> None:
        serials = RecentSerials()
        for stranger in ("", "1", serial(1) + "\n"):
            serials.add(stranger)
            self.assertNotIn(stranger, serials)
            self.assertEqual(own_serial(stranger), "")

    def test_the_oldest_are_forgotten(self) -> None:
        serials = RecentSerials(size=3)
        for number in range(5):
            serials.add(serial(number))
        self.assertEqual([number for number in range(5) if serial(number) in serials], [2, 3, 4])


# The log in the journal.

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
