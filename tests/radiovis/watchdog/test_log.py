"""The log of ``--test``, the cleanup of old entries by the leader, and what all logs share."""

from __future__ import annotations

import json

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue, maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial import unittest

from radiovis.settings import WatchdogSettings
from radiovis.watchdog.log import (
    ADDRESS,
    DatagramLog,
    Entry,
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
