"""The log in PlugIt, behind the retry buffer of the durable queue; the API is a scripted one, or a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from structlog.testing import capture_logs
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial import unittest
from twisted.web.client import Agent

from fanout.bus.consumer_retry import RetryBuffer
from radiovis.directory import plugit_http
from radiovis.directory.interface import DirectoryError
from radiovis.directory.plugit import PlugIt
from radiovis.directory.plugit_http import PlugItCalls
from radiovis.settings import Settings, WatchdogSettings
from radiovis.watchdog.log import Entry, LogError, LogFull
from radiovis.watchdog.plugit_log import LONGEST_PAUSE, REFUSALS, SUSPICIOUS, PlugItLog
from tests.radiovis.directory.plugit_server import RunningPlugIt
from tests.radiovis.watchdog.scripted_store import ScriptedStore

TOPIC = "/topic/fm/4e1/4000/09580/text"
HEADERS = (("message-id", "3aa7"), ("when", "1000"))
SETTINGS = WatchdogSettings(FB_LOGS_MAX_AGE=86_400)


def entry(number: int, serial: str = "", body: bytes | None = None) -> Entry:
    return Entry(TOPIC, b"TEXT %d" % number if body is None else body, HEADERS, 1000 + number, serial)


def serial(number: int) -> str:
    return f"fanout-{'a' * 32}-{number}"


def bodies(count: int) -> list[bytes]:
    return [b"TEXT %d" % number for number in range(count)]


class Case(unittest.TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_795_294_643)
        self.store = ScriptedStore()
        self.log = PlugItLog(self.store, self.clock, SETTINGS, unix_time=self.clock.seconds)
        self.done: list[int] = []
        self.buffer: RetryBuffer[Entry] = RetryBuffer(self.clock, self.log.add)

    def offer(self, *entries: Entry) -> None:
        """As the durable queue does; ``done`` is the acknowledgement."""
        for each in entries:
            self.buffer.offer(each, lambda number=each.timestamp - 1000: self.done.append(number))  # type: ignore[misc]

    def pass_time(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end and not until():
            self.clock.advance(0.5)


class Sending(Case):
    def test_entries_arrive_in_order_and_are_acknowledged_in_order(self) -> None:
        self.offer(*map(entry, range(500)))
        self.assertEqual((self.store.logs, self.done), (bodies(500), list(range(500))))
        self.assertEqual(self.store.topics[0], (TOPIC, list(HEADERS), 1000))

    def test_nothing_is_acknowledged_before_plugit_has_accepted_it(self) -> None:
        self.store.hanging = Deferred()
        self.offer(*map(entry, range(3)))
        self.assertEqual((self.store.attempts, self.done, self.buffer.waiting), (1, [], 3))
        hanging, self.store.hanging = self.store.hanging, None
        hanging.callback(None)
        self.assertEqual((self.store.logs, self.done), (bodies(3), [0, 1, 2]))
        self.assertEqual(self.store.most, 1)

    def test_any_octets_and_any_header_get_through(self) -> None:
        body = bytes(range(256)) * 4096
        self.offer(Entry("/t\udcff", body, (("n\n", "é\ud800\x00"),), 5), entry(1))
        self.assertEqual(self.store.logs, [body, b"TEXT 1"])
        self.assertEqual(self.store.topics[0], ("/t?", [("n\n", "é?\x00")], 5))

    def test_a_second_copy_is_acknowledged_and_not_sent(self) -> None:
        self.offer(entry(0, serial(1)), entry(1, serial(2)), entry(2, serial(1)), entry(3, "1"), entry(4, "1"))
        self.assertEqual(self.store.logs, [b"TEXT 0", b"TEXT 1", b"TEXT 3", b"TEXT 4"])
        self.assertEqual(self.done, [0, 1, 2, 3, 4])

    def test_a_second_copy_of_an_entry_that_was_refused_waits_with_it(self) -> None:
        self.store.down = "down"
        self.offer(entry(0, serial(1)), entry(1, serial(1)))
        self.assertEqual(self.done, [])
        self.store.down = ""
        self.pass_time(2)
        self.assertEqual((self.store.logs, self.done), ([b"TEXT 0"], [0, 1]))


class Outages(Case):
    def test_an_outage_of_30_seconds_under_load_loses_nothing_and_keeps_the_order(self) -> None:
        began = int(self.clock.seconds())
        self.store.down = "add_log at host: Connection refused"
        for second in range(30):
            self.offer(*(entry(second * 100 + i) for i in range(100)))
            self.clock.advance(1)
        state = self.log.state()
        self.assertEqual((self.done, self.buffer.waiting), ([], 3000))
        self.assertEqual((state.error, state.since), ("add_log at host: Connection refused", began))
        self.assertLess(self.store.attempts, 15, "an API that is down is not stormed")
        self.store.down = ""
        self.pass_time(LONGEST_PAUSE + 1)
        self.assertEqual((self.store.logs, self.done), (bodies(3000), list(range(3000))))
        self.assertEqual((self.log.state().error, self.log.state().since), ("", None))

    def test_an_api_that_fails_now_and_then_gets_each_entry_once_and_in_order(self) -> None:
        add_log, calls = self.store.add_log, 0

        async def shaky(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls % 7 in (1, 2, 4):
                raise DirectoryError("HTTP status 503")
            await add_log(*arguments)

        self.patch(self.store, "add_log", shaky)
        self.offer(*map(entry, range(200)))
        self.pass_time(2000, until=lambda: len(self.done) == 200)
        self.assertEqual((self.store.logs, self.done), (bodies(200), list(range(200))))

    def test_what_is_offered_while_a_call_fails_does_not_pass_the_entry_before_it(self) -> None:
        self.store.hanging = Deferred()
        self.offer(entry(0), entry(1), entry(2))
        hanging, self.store.hanging = self.store.hanging, None
        hanging.errback(DirectoryError("time-out"))
        self.assertEqual((self.store.attempts, self.store.logs), (1, []))
        self.offer(entry(3))
        self.pass_time(2)
        self.assertEqual(self.store.logs, bodies(4))

    def test_an_outage_is_logged_when_it_begins_once_a_minute_and_when_it_ends(self) -> None:
        with capture_logs() as logs:
            self.store.down = "down"
            self.offer(entry(0))
            self.pass_time(80)
            self.store.down = ""
            self.pass_time(LONGEST_PAUSE + 1)
        ours = [line for line in logs if line["event"].startswith("log.")]
        self.assertEqual([line["event"] for line in ours], ["log.failing", "log.failing", "log.well"])
        self.assertGreater(ours[1]["held_back"], 2)
        self.assertGreater(ours[2]["after_seconds"], 15)

    def test_a_fault_of_ours_stops_nothing_and_keeps_the_order(self) -> None:
        add_log = self.store.add_log

        async def faulty(*arguments: Any) -> None:
            self.patch(self.store, "add_log", add_log)
            raise RuntimeError("a fault")

        self.patch(self.store, "add_log", faulty)
        with capture_logs() as logs:
            self.offer(entry(0), entry(1))
        self.assertEqual([line["event"] for line in logs[:2]], ["log.sender_failed", "log.failing"])
        self.assertEqual(self.log.state().error, "RuntimeError: a fault")
        self.pass_time(2)
        self.assertEqual(self.store.logs, bodies(2))

    def test_entries_that_are_given_up_are_not_sent(self) -> None:
        self.store.hanging = Deferred()
        added = [self.log.add(entry(number)) for number in range(3)]
        for each in added:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        hanging, self.store.hanging = self.store.hanging, None
        hanging.callback(None)
        self.assertEqual(self.store.logs, [b"TEXT 0"], "it was on its way")
        self.successResultOf(self.log.add(entry(3)))

    def test_closed_it_gives_up_the_call_under_way_and_refuses(self) -> None:
        self.store.hanging = Deferred()
        added = [self.log.add(entry(0)), self.log.add(entry(1))]
        self.successResultOf(self.log.stop())
        for each in (*added, self.log.add(entry(2))):
            self.failureResultOf(each, LogFull)
        self.assertEqual(self.store.logs, [])


class PoisonEntries(Case):
    def test_one_entry_plugit_never_takes_is_dropped_and_counted_and_the_others_arrive(self) -> None:
        self.store.refused = {b"TEXT 1"}
        with capture_logs() as logs:
            self.offer(*map(entry, range(3)))
            self.pass_time(120, until=lambda: len(self.done) == 3)
        self.assertEqual((self.store.logs, self.done), ([b"TEXT 0", b"TEXT 2"], [0, 1, 2]))
        self.assertEqual(self.log.state().refused, 1)
        self.assertEqual(self.store.attempts, 2 + SUSPICIOUS + REFUSALS - 1)
        (refused,) = [line for line in logs if line["event"] == "log.entry_refused"]
        self.assertEqual((refused["topic"], refused["error"]), (TOPIC, "add_log at host: HTTP status 500"))
        self.assertEqual(self.log.state().error, "")

    def test_several_in_a_row(self) -> None:
        self.store.refused = {b"TEXT 1", b"TEXT 2", b"TEXT 3"}
        self.offer(*map(entry, range(5)))
        self.pass_time(600, until=lambda: len(self.done) == 5)
        self.assertEqual((self.store.logs, self.done), ([b"TEXT 0", b"TEXT 4"], [0, 1, 2, 3, 4]))
        self.assertEqual(self.log.state().refused, 3)

    def test_no_entry_is_dropped_while_plugit_takes_none(self) -> None:
        """Its log is broken, and everything else works."""
        self.store.refused = set(bodies(5))
        self.offer(*map(entry, range(5)))
        self.pass_time(3600)
        self.assertEqual((self.done, self.log.state().refused), ([], 0))
        self.assertLess(self.store.attempts, 3600 / LONGEST_PAUSE * 6)
        self.store.refused.clear()
        self.pass_time(LONGEST_PAUSE + 1)
        self.assertEqual((self.store.logs, self.done), (bodies(5), list(range(5))))

    def test_a_bad_entry_with_none_behind_it_waits_until_there_is_one(self) -> None:
        self.store.refused = {b"TEXT 0"}
        self.offer(entry(0))
        self.pass_time(600)
        self.assertEqual((self.done, self.log.state().refused), ([], 0))
        self.offer(entry(1))
        self.pass_time(LONGEST_PAUSE + 1)
        self.assertEqual((self.store.logs, self.done, self.log.state().refused), ([b"TEXT 1"], [0, 1], 1))

    def test_no_entry_is_dropped_while_nothing_works(self) -> None:
        self.store.down = "HTTP status 500"
        self.offer(entry(0), entry(1))
        self.pass_time(3600)
        self.assertEqual((self.done, self.log.state().refused), ([], 0))
        self.assertGreater(self.store.attempts, 100)
        self.store.down = ""
        self.pass_time(LONGEST_PAUSE + 1)
        self.assertEqual((self.store.logs, self.done), (bodies(2), [0, 1]))

    def test_plugit_must_be_well_each_time(self) -> None:
        """A PlugIt that comes and goes is no evidence against an entry."""
        self.store.refused = {b"TEXT 0"}
        self.offer(entry(0), entry(1))
        for _ in range(20):
            self.pass_attempts(REFUSALS - 1)
            self.store.down = "HTTP status 503"
            self.pass_attempts(1)
            self.store.down = ""
        self.assertEqual((self.done, self.log.state().refused), ([], 0))

    def pass_attempts(self, count: int) -> None:
        wanted = self.store.attempts + count
        self.pass_time(60, until=lambda: self.store.attempts >= wanted)

    def test_closed_it_keeps_the_suspects(self) -> None:
        self.store.refused = {b"TEXT 0"}
        self.offer(entry(0))
        self.pass_time(120)
        self.offer(entry(1))
        self.store.hanging = Deferred()
        self.pass_time(LONGEST_PAUSE + 1)
        self.successResultOf(self.log.stop())
        self.assertEqual((self.done, self.log.state().refused), ([], 0))


class Cleanup(Case):
    def test_the_api_is_asked(self) -> None:
        self.assertEqual(self.successResultOf(self.log.cleanup(3600)), 0)
        self.assertEqual(self.store.cleanups, [3600])

    def test_an_api_that_is_down(self) -> None:
        self.store.down = "cleanup_logs at host: refused"
        error = self.failureResultOf(self.log.cleanup(3600), LogError)
        self.assertEqual(str(error.value), "cleanup_logs at host: refused")


class OverHttp(unittest.TestCase):
    timeout = 60

    async def test_a_real_api_that_answers_503_for_a_while(self) -> None:
        server = RunningPlugIt(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        self.patch(plugit_http, "ATTEMPTS", 1)
        settings = Settings(RADIODNS_API_URL=server.url)  # type: ignore[arg-type]
        plugit = PlugIt(PlugItCalls(HTTPClient(Agent(reactor)), settings, reactor), settings)
        server.api.failures = 2
        log = PlugItLog(plugit, reactor, SETTINGS, first_pause=0.05)
        buffer: RetryBuffer[Entry] = RetryBuffer(reactor, log.add, pause=0.05)
        added: list[Deferred[None]] = [Deferred() for _ in range(20)]
        for number, done in enumerate(added):
            buffer.offer(entry(number), lambda done=done: done.callback(None))  # type: ignore[misc]
        await gatherResults(added)
        await server.when_free()
        self.assertEqual([each["message"] for each in server.api.logs], [f"TEXT {i}" for i in range(20)])
        self.assertEqual(json.loads(server.api.logs[0]["headers"]), [list(each) for each in HEADERS])
