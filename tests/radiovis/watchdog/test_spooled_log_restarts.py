"""What the log to PlugIt still sends after a restart, of another process too, and what it sends only once."""

from __future__ import annotations

from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial import unittest

from radiovis.watchdog.log import LogFull
from radiovis.watchdog.spool import SpoolError
from radiovis.watchdog.spooled_log import ADOPT_SECONDS, SpooledLog
from tests.radiovis.watchdog.spooled_case import ScriptedStore, SpooledCase, entry, ready, serial, turn


class TestRestart(SpooledCase, unittest.TestCase):
    async def test_what_was_not_sent_is_sent_after_the_next_start_before_anything_new(self) -> None:
        self.store.down = "down"
        log = await self.open()
        await self.add(log, *(entry(i) for i in range(5)))
        await log.stop()
        self.store.down = ""
        log = await self.open()
        await self.add(log, entry(5))
        await self.store.when_logged(6)
        self.assertEqual(self.store.logs, [b"TEXT %d" % i for i in range(6)])

    async def test_many_restarts_in_the_middle_lose_nothing_and_repeat_nothing(self) -> None:
        added = 0
        for _ in range(10):
            log = await self.open(segment_bytes=2000)
            await self.add(log, *(entry(added + i) for i in range(100)))
            added += 100
            await self.store.when_logged(len(self.store.logs) + 37)
            await log.stop()
        log = await self.open()
        await self.store.when_logged(added)
        self.assertEqual(self.store.logs, [b"TEXT %d" % i for i in range(added)])

    async def test_stop_waits_for_the_call_under_way(self) -> None:
        self.store.connection_limit = Deferred()
        log = await self.open()
        attempted = self.store.when_attempted()
        await self.add(log, entry(0), entry(1))
        await attempted
        stopped = log.stop()
        self.assertNoResult(stopped)
        self.store.connection_limit.callback(None)
        await stopped
        self.assertEqual(self.store.logs, [b"TEXT 0"])
        self.store.connection_limit = None
        await self.open()
        await self.store.when_logged(2)
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 1"])

    async def test_stop_does_not_wait_for_an_api_that_hangs(self) -> None:
        self.store.connection_limit = Deferred()
        log = await self.open(grace=3)
        attempted = self.store.when_attempted()
        await self.add(log, entry(0))
        await attempted
        stopped = log.stop()
        await turn()
        self.reactor.advance(2.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        await stopped
        self.store.connection_limit = None
        await self.open()
        await self.store.when_logged(1)

    async def test_a_stop_during_a_pause_is_at_once(self) -> None:
        self.store.down = "down"
        log = await self.open()
        attempted = self.store.when_attempted()
        await self.add(log, entry(0))
        await attempted
        await log.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertIn("not open", await self.refused(log, entry(1)))

    async def test_a_folder_that_cannot_be_used_is_tried_again(self) -> None:
        self.folder.touch()
        log = SpooledLog(self.store, self.folder, self.reactor, max_age=1, delay=0)
        self.addCleanup(log.stop)
        with capture_logs() as logs:
            log.start()
            while not log.state().error:
                await turn()
            self.assertIn("cannot be opened", await self.refused(log, entry(9)))
            self.assertIn("cannot be opened", str(await self.assertFailure(ready(log), LogFull)))
            self.folder.unlink()
            self.reactor.advance(1)
            await log._opening  # type: ignore[misc]
        self.assertEqual([line["event"] for line in logs], ["log.failing", "log.well"])
        await self.add(log, entry(1))
        await self.store.when_logged(1)

    async def test_stop_before_the_spool_could_be_opened(self) -> None:
        self.folder.touch()
        first = SpooledLog(self.store, self.folder, self.reactor, max_age=1)
        first.start()
        await first.stop()
        second = SpooledLog(self.store, self.folder, self.reactor, max_age=1)
        await second.stop()


class TestTwoInOneFolder(SpooledCase, unittest.TestCase):
    async def test_nobody_waits_for_another_one_that_hangs(self) -> None:
        self.store.connection_limit = Deferred()
        hanging = await self.open()
        await self.add(hanging, entry(0))
        other = ScriptedStore()
        second = await self.open(other)
        await ready(second)
        await self.add(second, entry(1))
        await other.when_logged(1)
        self.assertEqual((self.store.logs, other.logs), ([], [b"TEXT 1"]))
        self.store.connection_limit.callback(None)
        await self.store.when_logged(1)

    async def test_what_the_leader_before_left_comes_first_and_once(self) -> None:
        self.store.down = "down"
        former = await self.open()
        await self.add(former, entry(0, serial(0)), entry(1, serial(1)))
        log = await self.open()
        await former.stop()
        await ready(log)
        await self.add(log, entry(1, serial(1)), entry(2, serial(2)))
        self.assertEqual(log.state().waiting, 3)
        self.store.down = ""
        self.reactor.advance(15)
        await self.store.when_logged(3)
        await log.stop()
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 1", b"TEXT 2"])

    async def test_a_standby_sends_what_is_left_behind_within_seconds(self) -> None:
        self.store.down = "down"
        former = await self.open()
        await self.add(former, entry(0))
        standby = await self.open()
        await former.stop()
        self.store.down = ""
        self.reactor.advance(ADOPT_SECONDS)
        await self.store.when_logged(1)
        await standby.stop()
        self.assertEqual((self.store.logs, standby.state().waiting), ([b"TEXT 0"], 0))


class TestCopies(SpooledCase, unittest.TestCase):
    async def test_a_second_copy_is_kept_once_also_after_a_restart(self) -> None:
        log = await self.open()
        await self.add(log, entry(0, serial(1)))
        await self.add(log, entry(0, serial(1)))
        await self.store.when_logged(1)
        await log.stop()
        log = await self.open()
        await self.add(log, entry(0, serial(1)), entry(1, serial(2)))
        await self.store.when_logged(2)
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 1"])

    async def test_a_copy_during_the_write_is_as_safe_as_the_first(self) -> None:
        log = await self.open()
        first, copy = log.add(entry(0, serial(1))), log.add(entry(0, serial(1)))
        first.addErrback(lambda _: None)
        self.assertNoResult(copy)
        self.reactor.advance(0)
        await gatherResults([first, copy])
        log = await self.full(log)
        first, copy = log.add(entry(1, serial(2))), log.add(entry(1, serial(2)))
        self.reactor.advance(0)
        await self.assertFailure(first, LogFull)
        await self.assertFailure(copy, LogFull)

    async def full(self, log: SpooledLog) -> SpooledLog:
        await log.stop()
        return await self.open(max_bytes=10)

    async def test_one_that_was_refused_comes_again_after_later_ones(self) -> None:
        log = await self.open()
        append = log._spools.append

        def refusing(records: list[bytes]) -> None:
            self.patch(log._spools, "append", append)
            raise SpoolError("full")

        self.patch(log._spools, "append", refusing)
        self.assertEqual(await self.refused(log, entry(0, serial(1))), "full")
        await self.add(log, entry(1, serial(2)))
        await self.add(log, entry(0, serial(1)))
        await self.store.when_logged(2)
        self.assertEqual(self.store.logs, [b"TEXT 1", b"TEXT 0"])

    async def test_a_strangers_serial_says_nothing(self) -> None:
        log = await self.open()
        await self.add(log, entry(0, "1"), entry(1, "1"))
        await self.add(log, entry(2, "1"))
        await self.store.when_logged(3)
