"""The log to PlugIt, with its spool on a real disk; the API is a scripted one, or a real HTTP server."""

from __future__ import annotations

import json
from typing import Any

from structlog.testing import capture_logs
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial import unittest
from twisted.web.client import Agent

from radiovis.directory.interface import DirectoryError
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_http import PlugItCalls
from radiovis.settings import Settings
from radiovis.watchdog.log import Entry, LogError, LogFull
from radiovis.watchdog.spooled_log import SpooledLog
from tests.radiovis.directory.plugit_server import RunningPlugIt
from tests.radiovis.watchdog.spooled_case import HEADERS, TOPIC, SpooledCase, entry, turn


class TestSending(SpooledCase, unittest.TestCase):
    async def test_entries_arrive_in_order(self) -> None:
        log = await self.open()
        await self.add(log, *(entry(i) for i in range(500)))
        await self.store.when_logged(500)
        self.assertEqual(self.store.logs, [b"TEXT %d" % i for i in range(500)])
        self.assertEqual(self.store.topics[0], (TOPIC, list(HEADERS), 1000))

    async def test_safe_is_before_sent(self) -> None:
        self.store.connection_limit = Deferred()
        log = await self.open()
        await self.add(log, *(entry(i) for i in range(3)))
        self.assertEqual((self.store.logs, log.state().waiting, log.state().error), ([], 3, ""))
        self.store.connection_limit.callback(None)
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


class TestFull(SpooledCase, unittest.TestCase):
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


class TestCleanup(SpooledCase, unittest.TestCase):
    async def test_the_api_is_asked(self) -> None:
        log = await self.open()
        self.assertEqual(await log.cleanup(3600), 0)
        self.assertEqual(self.store.cleanups, [3600])

    async def test_an_api_that_is_down(self) -> None:
        log = await self.open()
        self.store.down = "cleanup_logs at host: refused"
        error = await self.assertFailure(log.cleanup(3600), LogError)
        self.assertEqual(str(error), "cleanup_logs at host: refused")


class TestOverHttp(SpooledCase, unittest.TestCase):
    async def test_a_real_api_that_answers_503_for_a_while(self) -> None:
        self.reactor = reactor
        server = RunningPlugIt(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        settings = Settings(RADIODNS_API_URL=server.url, DIRECTORY_ATTEMPTS=1)  # type: ignore[arg-type]
        plugit = PlugIt(PlugItCalls(HTTPClient(Agent(reactor)), settings, reactor), settings)
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
