"""Only the leader has the log open."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial import unittest

from radiovis.watchdog.leaders_log import LeadersLog
from radiovis.watchdog.log import Entry, LogFull, LogState

ENTRY = Entry("/topic/id/a/text", b"TEXT a", (), 1)


class Kept:
    """A log that remembers what was done to it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.started = self.stopped = False

    def start(self) -> None:
        self.started = True

    def add(self, entry: Entry) -> Deferred[None]:
        self.entries.append(entry)
        return succeed(None)

    def cleanup(self, max_age: int) -> Deferred[int]:
        return succeed(max_age)

    def state(self) -> LogState:
        return LogState(7, "the disk is full", 1)

    def stop(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)


class Leading(unittest.TestCase):
    def setUp(self) -> None:
        self.made: list[Kept] = []
        self.log = LeadersLog(self.make)

    def make(self) -> Kept:
        self.made.append(Kept())
        return self.made[-1]

    async def test_a_standby_has_nothing_open_keeps_nothing_and_is_well(self) -> None:
        self.assertEqual(self.log.state(), LogState(0))
        self.assertEqual(await self.log.cleanup(5), 0)
        self.failureResultOf(self.log.add(ENTRY), LogFull)
        await self.log.stop()
        self.assertEqual(self.made, [])

    async def test_the_leader_opens_it_once_and_keeps_entries(self) -> None:
        self.log.lead()
        self.log.lead()
        await self.log.add(ENTRY)
        self.assertEqual([each.entries for each in self.made], [[ENTRY]])
        self.assertTrue(self.made[0].started)
        self.assertEqual(self.log.state().waiting, 7)
        self.assertEqual(await self.log.cleanup(5), 5)

    async def test_who_leads_no_longer_lets_go_and_opens_another_later(self) -> None:
        self.log.lead()
        self.log.rest()
        self.assertTrue(self.made[0].stopped)
        self.failureResultOf(self.log.add(ENTRY), LogFull)
        self.log.lead()
        await self.log.add(ENTRY)
        self.assertEqual([each.entries for each in self.made], [[], [ENTRY]])
