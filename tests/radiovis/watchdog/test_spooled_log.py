"""The log to PlugIt, with its spool on a real disk; the API is a scripted one, or a real HTTP server."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial import unittest
from twisted.web.client import Agent

from radiovis.directory.interface import DirectoryError
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_calls import PlugItCalls
from radiovis.watchdog.log import Entry, LogError, LogFull
from radiovis.watchdog.spool import SpoolError
from radiovis.watchdog.spooled_log import ADOPT_SECONDS, SpooledLog
from tests.radiovis.directory.plugit_server import RunningPlugIt

TOPIC = "/topic/fm/4e1/4000/09580/text"
HEADERS = (("message-id", "3aa7"), ("when", "1000"))


def entry(number: int, serial: str = "", body: bytes | None = None) -> Entry:
    return Entry(TOPIC, b"TEXT %d" % number if body is None else body, HEADERS, 1000 + number, serial)


def serial(number: int) -> str:
    return f"fanout-{'a' * 32}-{number}"


def turn() -> Deferred[None]:
    """The reactor's next turn."""
    return deferLater(reactor, 0)  # type: ignore[arg-type]


def ready(log: SpooledLog) -> Deferred[None]:
    """Before it takes messages."""
    return Deferred.fromCoroutine(log.ready())


class ClockedReactor(Clock):
    """Timers by hand, threads for real."""

    callFromThread = staticmethod(reactor.callFromThread)  # type: ignore[attr-defined]


class ScriptedStore:
    """A log API that keeps everything in a list, or fails as told.

    :ivar down: what it fails with; empty while it is well.
    :ivar refused: a body it always refuses.
    :ivar gate: while it is set, calls wait for it.
    """

    def __init__(self) -> None:
        self.logs: list[bytes] = []
        self.topics: list[tuple[str, Sequence[tuple[str, str]], int]] = []
        self.down = ""
        self.refused: bytes | None = None
        self.gate: Deferred[None] | None = None
        self.attempts = 0
        self.cleanups: list[int] = []
        self._expected: list[tuple[int, Deferred[None]]] = []
        self._attempted: list[Deferred[None]] = []

    async def add_log(self, topic: str, body: bytes, headers: Sequence[tuple[str, str]], timestamp: int) -> None:
        self.attempts += 1
        attempted, self._attempted = self._attempted, []
        for each in attempted:
            reactor.callLater(0, each.callback, None)  # type: ignore[attr-defined]
        if self.gate is not None:
            await self.gate
        if self.down or body == self.refused:
            raise DirectoryError(self.down or "add_log at host: HTTP status 500")
        self.logs.append(body)
        self.topics.append((topic, headers, timestamp))
        for count, expected in list(self._expected):
            if len(self.logs) >= count:
                self._expected.remove((count, expected))
                expected.callback(None)

    async def cleanup_logs(self, max_age: int) -> None:
        if self.down:
            raise DirectoryError(self.down)
        self.cleanups.append(max_age)

    def when_logged(self, count: int) -> Deferred[None]:
        logged: Deferred[None] = Deferred()
        if len(self.logs) >= count:
            logged.callback(None)
        else:
            self._expected.append((count, logged))
        return logged

    def when_attempted(self) -> Deferred[None]:
        """Fires just after the next attempt."""
        attempted: Deferred[None] = Deferred()
        self._attempted.append(attempted)
        return attempted


class _SpooledCase(unittest.TestCase):
    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "spool"
        self.store = ScriptedStore()
        self.reactor: Any = ClockedReactor()
        self.reactor.advance(1_795_294_643)

    async def open(self, store: Any = None, **settings: Any) -> SpooledLog:
        log = SpooledLog(store or self.store, self.folder, self.reactor, max_age=86400, delay=0, **settings)
        log.start()
        self.addCleanup(log.stop)
        await log._opening  # type: ignore[misc]
        return log

    async def add(self, log: SpooledLog, *entries: Entry) -> None:
        added = [log.add(each) for each in entries]
        self.reactor.advance(0)
        await gatherResults(added, consumeErrors=True)

    async def refused(self, log: SpooledLog, one: Entry) -> str:
        added = log.add(one)
        self.reactor.advance(0)
        return str(await self.assertFailure(added, LogFull))


class TestSending(_SpooledCase):
    async def test_entries_arrive_in_order(self) -> None:
        log = await self.open()
        await self.add(log, *(entry(i) for i in range(500)))
        await self.store.when_logged(500)
        self.assertEqual(self.store.logs, [b"TEXT %d" % i for i in range(500)])
        self.assertEqual(self.store.topics[0], (TOPIC, list(HEADERS), 1000))

    async def test_safe_is_before_sent(self) -> None:
        self.store.gate = Deferred()
        log = await self.open()
        await self.add(log, *(entry(i) for i in range(3)))
        self.assertEqual((self.store.logs, log.state().waiting, log.state().error), ([], 3, ""))
        self.store.gate.callback(None)
        await self.store.when_logged(3)

    async def test_any_octets_and_any_header_pass_through_the_spool(self) -> None:
        log = await self.open()
        body = bytes(range(256)) * 4096
        await self.add(log, Entry("/t\udcff", body, (("n\n", "é\ud800\x00"),), 5), entry(1))
        await self.store.when_logged(2)
        self.assertEqual(self.store.logs, [body, b"TEXT 1"])
        self.assertEqual(self.store.topics[0], ("/t?", [("n\n", "é?\x00")], 5))

    async def test_an_outage_of_30_seconds_under_load_loses_nothing_and_keeps_the_order(self) -> None:
        log = await self.open()
        began = int(self.reactor.seconds())
        self.store.down = "add_log at host: Connection refused"
        for second in range(30):
            await self.add(log, *(entry(second * 100 + i) for i in range(100)))
            self.reactor.advance(1)
        state = log.state()
        self.assertEqual((state.waiting, state.error), (3000, "add_log at host: Connection refused"))
        # The first call fails when the disk's thread has read its entry, at whatever second the clock has come to.
        self.assertIn(state.since, range(began, began + 30))
        self.assertLess(self.store.attempts, 15, "an API that is down is not stormed")
        self.store.down = ""
        self.reactor.advance(15)
        await self.store.when_logged(3000)
        await log.stop()
        self.assertEqual(self.store.logs, [b"TEXT %d" % i for i in range(3000)])
        self.assertEqual((log.state().waiting, log.state().error, log.state().since), (0, "", None))

    async def test_an_api_that_fails_now_and_then_gets_each_entry_once_and_in_order(self) -> None:
        log = await self.open(first_pause=0, longest_pause=0)
        add_log, calls = self.store.add_log, 0

        async def shaky(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls % 7 in (1, 2, 4):
                raise DirectoryError("HTTP status 503")
            await add_log(*arguments)

        self.patch(self.store, "add_log", shaky)
        await self.add(log, *(entry(i) for i in range(200)))
        done = self.store.when_logged(200)
        while not done.called:
            self.reactor.advance(0)
            await turn()
        self.assertEqual(self.store.logs, [b"TEXT %d" % i for i in range(200)])

    async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(self) -> None:
        with capture_logs() as logs:
            log = await self.open()
            self.store.down = "down"
            attempted = self.store.when_attempted()
            await self.add(log, entry(0))
            await attempted
            for _ in range(5):
                self.reactor.advance(15)
            self.store.down = ""
            self.reactor.advance(15)
            await self.store.when_logged(1)
        self.assertEqual([line["event"] for line in logs], ["log.failing", "log.well"])
        self.assertGreater(logs[1]["after_seconds"], 15)

    async def test_one_entry_the_api_never_takes_is_set_aside_and_the_others_arrive(self) -> None:
        self.store.refused = b"TEXT 1"
        log = await self.open(first_pause=1, longest_pause=1)
        with capture_logs() as logs:
            attempted = self.store.when_attempted()
            await self.add(log, *(entry(i) for i in range(3)))
            await attempted
            done = self.store.when_logged(2)
            while not done.called:
                self.reactor.advance(1)
                await turn()
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 2"])
        kept = (self.folder / "refused").read_text()
        self.assertEqual(json.loads(kept)[1], "TEXT 1")
        self.assertIn("log.entry_refused", [line["event"] for line in logs])
        await log.stop()
        self.assertEqual(log.state().waiting, 0)

    async def test_no_entry_is_set_aside_while_nothing_works(self) -> None:
        log = await self.open(first_pause=1, longest_pause=1)
        self.store.down = "HTTP status 500"
        attempted = self.store.when_attempted()
        await self.add(log, entry(0))
        await attempted
        for _ in range(100):
            self.reactor.advance(1)
        self.assertEqual((self.store.attempts, log.state().waiting), (101, 1))
        self.store.down = ""
        self.reactor.advance(1)
        self.assertEqual(self.store.logs, [b"TEXT 0"])

    async def test_a_fault_of_ours_stops_nothing(self) -> None:
        log = await self.open()
        add_log = self.store.add_log

        async def faulty(*arguments: Any) -> None:
            self.patch(self.store, "add_log", add_log)
            raise RuntimeError("a fault")

        self.patch(self.store, "add_log", faulty)
        with capture_logs() as logs:
            await self.add(log, entry(0), entry(1))
            while log.state().error != "RuntimeError: a fault":
                await turn()
        self.assertEqual([line["event"] for line in logs], ["log.sender_failed", "log.failing"])
        self.reactor.advance(15)
        await self.store.when_logged(2)
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 1"])


class TestRestart(_SpooledCase):
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
        self.store.gate = Deferred()
        log = await self.open()
        attempted = self.store.when_attempted()
        await self.add(log, entry(0), entry(1))
        await attempted
        stopped = log.stop()
        self.assertNoResult(stopped)
        self.store.gate.callback(None)
        await stopped
        self.assertEqual(self.store.logs, [b"TEXT 0"])
        self.store.gate = None
        await self.open()
        await self.store.when_logged(2)
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 1"])

    async def test_stop_does_not_wait_for_an_api_that_hangs(self) -> None:
        self.store.gate = Deferred()
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
        self.store.gate = None
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


class TestTwoInOneFolder(_SpooledCase):
    async def test_nobody_waits_for_another_one_that_hangs(self) -> None:
        self.store.gate = Deferred()
        hanging = await self.open()
        await self.add(hanging, entry(0))
        other = ScriptedStore()
        second = await self.open(other)
        await ready(second)
        await self.add(second, entry(1))
        await other.when_logged(1)
        self.assertEqual((self.store.logs, other.logs), ([], [b"TEXT 1"]))
        self.store.gate.callback(None)
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


class TestCopies(_SpooledCase):
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


class TestFull(_SpooledCase):
    async def test_a_full_spool_refuses_and_takes_again_when_the_api_is_back(self) -> None:
        self.store.down = "down"
        log = await self.open(max_bytes=20_000)
        taken = 0
        while not log.state().error.startswith("the spool"):
            added = log.add(entry(taken, body=b"%04d" % taken * 100))
            self.reactor.advance(0)
            try:
                await added
            except LogFull as error:
                self.assertRegex(str(error), "full: [0-9]+ octets of 20000 wait")
            else:
                taken += 1
        self.assertGreater(taken, 30)
        self.store.down = ""
        self.reactor.advance(15)
        await self.store.when_logged(taken)
        await self.add(log, entry(taken, body=b"after"))
        await self.store.when_logged(taken + 1)
        self.assertEqual(self.store.logs, [*(b"%04d" % i * 100 for i in range(taken)), b"after"])
        self.assertEqual(log.state().error, "")

    async def test_before_it_is_open_nothing_is_taken(self) -> None:
        log = SpooledLog(self.store, self.folder, self.reactor, max_age=1)
        self.assertIn("not open yet", await self.refused(log, entry(0)))


class TestCleanup(_SpooledCase):
    async def test_the_api_is_asked(self) -> None:
        log = await self.open()
        self.assertEqual(await log.cleanup(3600), 0)
        self.assertEqual(self.store.cleanups, [3600])

    async def test_an_api_that_is_down(self) -> None:
        log = await self.open()
        self.store.down = "cleanup_logs at host: refused"
        error = await self.assertFailure(log.cleanup(3600), LogError)
        self.assertEqual(str(error), "cleanup_logs at host: refused")


class TestOverHttp(_SpooledCase):
    async def test_a_real_api_that_answers_503_for_a_while(self) -> None:
        self.reactor = reactor
        server = RunningPlugIt(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        plugit = PlugIt(PlugItCalls(HTTPClient(Agent(reactor)), server.url, reactor, attempts=1))
        server.api.failures = 2
        log = SpooledLog(plugit, self.folder, reactor, max_age=60, first_pause=0.05)
        self.addCleanup(log.stop)
        log.start()
        await log._opening  # type: ignore[misc]
        await gatherResults([log.add(entry(i)) for i in range(20)])
        await server.api.when_asked(22)
        await server.when_free()
        self.assertEqual([each["message"] for each in server.api.logs], [f"TEXT {i}" for i in range(20)])
        self.assertEqual(json.loads(server.api.logs[0]["headers"]), [list(each) for each in HEADERS])
