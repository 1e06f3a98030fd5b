"""Old entries go, by the hand of the leader."""

from __future__ import annotations

from twisted.trial import unittest

from radiovis.watchdog.log import LogError
from radiovis.watchdog.log_cleanup import LogCleanup
from tests.radiovis.watchdog.fakes import FakeLeader, FakeLog


class Cleaning(unittest.TestCase):
    def setUp(self) -> None:
        self.log, self.leader = FakeLog(), FakeLeader()
        self.cleanup = LogCleanup(self.log, self.leader, 86_400)

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
