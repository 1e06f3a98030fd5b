"""What the caches save, and what they save us from."""

from __future__ import annotations

import json
import pickle
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from beaker.cache import Cache
from pymemcache.client.base import Client
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.cache.beaker_backend import SharedCache, register
from fanout.cache.memcached import Memcached, cache_key
from radiovis.directory.cached import CachedDirectory
from radiovis.directory.interface import Channel, Default, DirectoryError, OutageReport
from radiovis.settings import Settings
from tests import services

TOPICS = (Channel("/topic/fm/4e1/4000/09580/", 12, True), Channel("/topic/id/ü/1/", 13, False))


class Script:
    """A directory that does as it is told: counts its calls, fails, or answers when the test lets it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.down = False
        self.held: list[Deferred[None]] | None = None
        self.answers: dict[str, Any] = {
            "check_auth": True,
            "channels": ("/topic/fm/4e1/4000/09580/",),
            "gcc": "4e1",
            "topics": TOPICS,
            "default": Default("http://i/", "ü", None),
        }

    async def _answer(self, method: str) -> Any:
        self.calls.append(method)
        if self.held is not None:
            connection_limit: Deferred[None] = Deferred()
            self.held.append(connection_limit)
            await connection_limit
        if self.down:
            raise DirectoryError("it is down")
        return self.answers[method]

    def release(self) -> None:
        gates, self.held = self.held or [], None
        for connection_limit in gates:
            connection_limit.callback(None)

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        return bool(await self._answer("check_auth"))

    async def channels(self, station: str) -> tuple[str, ...]:
        return tuple(await self._answer("channels"))

    async def gcc(self, country: str) -> str | None:
        answer: str | None = await self._answer("gcc")
        return answer

    async def topics(self) -> tuple[Channel, ...]:
        return tuple(await self._answer("topics"))

    async def default(self, channel: int) -> Default | None:
        answer: Default | None = await self._answer("default")
        return answer


def started(asked: Awaitable[Any]) -> Deferred[Any]:
    return Deferred.fromCoroutine(asked)  # type: ignore[arg-type]


def settings(**changes: Any) -> Settings:
    """Answers are fresh for a minute."""
    return Settings(**{"FB_CHANNEL_CACHE": 120, **changes})


class _CachedCase(unittest.TestCase):
    def setUp(self) -> None:
        self.script = Script()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.cached = self.node()

    def node(self, memcached: Memcached | None = None, **changes: Any) -> CachedDirectory:
        cache = Cache(f"tests-{uuid.uuid4()}", type="memory")
        shared = None if memcached is None else SharedCache(memcached, "radiovis")
        return CachedDirectory(self.script, settings(**changes), self.clock.seconds, cache=cache, shared=shared)

    def questions(self, cached: CachedDirectory) -> list[tuple[Callable[[], Awaitable[Any]], Any]]:
        return [
            (lambda: cached.channels("1"), self.script.answers["channels"]),
            (lambda: cached.gcc("ch"), "4e1"),
            (cached.topics, TOPICS),
            (lambda: cached.default(12), Default("http://i/", "ü", None)),
        ]


class TestFresh(_CachedCase):
    async def test_an_answer_is_taken_for_a_minute(self) -> None:
        for number, (ask, answer) in enumerate(self.questions(self.cached)):
            for _ in range(5):
                self.assertEqual(await ask(), answer)
            self.clock.advance(59)
            self.assertEqual(await ask(), answer)
            self.assertEqual(len(self.script.calls), 2 * number + 1)
            self.clock.advance(1)
            self.assertEqual(await ask(), answer)
            self.assertEqual(len(self.script.calls), 2 * number + 2)

    async def test_half_the_interval_of_the_topic_list_at_most(self) -> None:
        cached = self.node(DIRECTORY_FRESH_SECONDS=60, FB_CHANNEL_CACHE=20)
        await cached.topics()
        self.clock.advance(10)
        await cached.topics()
        self.assertEqual(len(self.script.calls), 2)

    async def test_new_settings_are_taken_while_it_runs(self) -> None:
        await self.cached.topics()
        self.cached.settings = settings(DIRECTORY_FRESH_SECONDS=1)
        await self.cached.topics()
        self.clock.advance(60)
        for _ in range(3):
            await self.cached.topics()
            self.clock.advance(1)
        self.assertEqual(len(self.script.calls), 4)

    async def test_logins_are_asked_every_time(self) -> None:
        for allowed in (True, False, True):
            self.script.answers["check_auth"] = allowed
            self.assertIs(await self.cached.check_auth("1.a", "b", "::1"), allowed)
        self.script.down = True
        await self.assertFailure(started(self.cached.check_auth("1.a", "b", "::1")), DirectoryError)

    async def test_no_default_is_an_answer_too(self) -> None:
        self.script.answers["default"] = None
        self.assertEqual([await self.cached.default(1) for _ in range(3)], [None] * 3)
        self.assertEqual(len(self.script.calls), 1)

    async def test_each_subject_has_its_own_answer(self) -> None:
        await self.cached.channels("1")
        self.script.answers["channels"] = ()
        self.assertEqual(await self.cached.channels("2"), ())
        self.assertEqual(len(await self.cached.channels("1")), 1)

    async def test_a_clock_set_back_makes_no_answer_fresh_for_longer(self) -> None:
        await self.cached.topics()
        self.clock.rightNow -= 3600
        await self.cached.topics()
        await self.cached.topics()
        self.assertEqual(len(self.script.calls), 2)

    async def test_beaker_over_memcached_serves_as_well(self) -> None:
        register()
        namespace = f"tests-{uuid.uuid4()}"
        url = str(services.memcached())
        for _ in range(2):
            cache = Cache(namespace, type="fanout_memcached", url=url, timeout=2)
            cached = CachedDirectory(self.script, settings(), self.clock.seconds, cache=cache, shared=None)
            for ask, answer in self.questions(cached):
                self.assertEqual(await ask(), answer)
        self.assertEqual(len(self.script.calls), 4)


class TestSingleFlight(_CachedCase):
    async def test_ten_at_once_cause_one_call(self) -> None:
        for ask, answer in self.questions(self.cached):
            self.script.calls.clear()
            self.script.held = []
            asked = [started(ask()) for _ in range(10)]
            self.script.release()
            self.assertEqual(await gatherResults(asked), [answer] * 10)
            self.assertEqual(len(self.script.calls), 1)

    async def test_ten_at_once_share_one_failure(self) -> None:
        self.script.held, self.script.down = [], True
        asked = [started(self.cached.topics()) for _ in range(10)]
        self.script.release()
        for one in asked:
            await self.assertFailure(one, DirectoryError)
        self.assertEqual(len(self.script.calls), 1)

    async def test_one_who_gives_up_does_not_take_the_others_with_him(self) -> None:
        self.script.held = []
        first, second = started(self.cached.topics()), started(self.cached.topics())
        first.cancel()
        await self.assertFailure(first, CancelledError)
        self.script.release()
        self.assertEqual(await second, TOPICS)


class TestStale(_CachedCase):
    async def test_it_tells_whether_the_directory_fails(self) -> None:
        self.assertIsInstance(self.cached, OutageReport)
        self.assertFalse(self.cached.down)
        self.script.down = True
        await self.assertFailure(started(self.cached.topics()), DirectoryError)
        self.assertTrue(self.cached.down)

    async def test_in_an_outage_the_last_answer_serves_for_a_day(self) -> None:
        for ask, _ in self.questions(self.cached):
            await ask()
        self.script.down = True
        for passed in (61, 3600, 80_000):
            self.clock.advance(passed)
            for ask, answer in self.questions(self.cached):
                self.assertEqual(await ask(), answer)
        self.clock.advance(86400)
        for ask, _ in self.questions(self.cached):
            await self.assertFailure(started(ask()), DirectoryError)

    async def test_without_a_last_answer_the_failure_is_told(self) -> None:
        self.script.down = True
        for ask, _ in self.questions(self.cached):
            await self.assertFailure(started(ask()), DirectoryError)

    async def test_an_outage_is_logged_once_and_so_is_its_end(self) -> None:
        await self.cached.topics()
        self.script.down = True
        with capture_logs() as logs:
            for _ in range(10):
                self.clock.advance(61)
                await self.cached.topics()
            self.script.down = False
            self.clock.advance(61)
            await self.cached.topics()
        self.assertEqual([line["event"] for line in logs], ["directory.down", "directory.up"])
        self.assertEqual(logs[0]["error"], "it is down")

    async def test_only_the_first_waits_for_a_hanging_directory(self) -> None:
        await self.cached.topics()
        self.clock.advance(61)
        self.script.held, self.script.down = [], True
        first = started(self.cached.topics())
        self.assertFalse(first.called)
        self.script.release()
        self.assertEqual(await first, TOPICS)
        self.script.held = []
        for _ in range(5):
            self.clock.advance(11)
            self.assertEqual(self.successResultOf(started(self.cached.topics())), TOPICS)
        self.assertEqual(len(self.script.calls), 3)  # The third hangs, behind everybody's back.
        self.script.release()

    async def test_while_it_fails_it_is_asked_every_ten_seconds_and_then_the_new_answer_is_taken(self) -> None:
        await self.cached.topics()
        self.script.down = True
        self.clock.advance(61)
        for _ in range(100):
            await self.cached.topics()
            self.clock.advance(1)
        self.assertTrue(10 <= len(self.script.calls) - 1 <= 11, len(self.script.calls))
        self.script.down, self.script.answers["topics"] = False, ()
        self.clock.advance(10)
        await self.cached.topics()
        self.assertEqual(await self.cached.topics(), ())


class TestFault7(_CachedCase):
    """Anonymous subscribers must not be able to make PlugIt calls without limit."""

    async def test_only_two_small_letters_are_ever_looked_up(self) -> None:
        for country in ("", "c", "chx", "CH", "c1", "ç1", "zz\n", "z z", "x" * 300, "../", "ch/"):
            self.assertIsNone(await self.cached.gcc(country))
        self.assertEqual(self.script.calls, [])

    async def test_no_more_than_four_are_looked_up_at_once_and_the_rest_is_answered_quickly(self) -> None:
        self.script.held = []
        first = [started(self.cached.gcc("a" + letter)) for letter in "abcd"]
        with capture_logs() as logs:
            for letter in "efgh":
                self.failureResultOf(started(self.cached.gcc("a" + letter)), DirectoryError)
        self.assertEqual(logs, [])  # Nothing is wrong with the directory.
        self.assertEqual(len(self.script.calls), 4)
        self.script.release()
        self.assertEqual(await gatherResults(first), ["4e1"] * 4)
        self.assertEqual(await self.cached.gcc("ae"), "4e1")

    async def test_a_country_nobody_knows_is_looked_up_once_a_minute(self) -> None:
        self.script.answers["gcc"] = None
        for _ in range(100):
            self.assertIsNone(await self.cached.gcc("zz"))
        self.assertEqual(len(self.script.calls), 1)
        self.clock.advance(60)
        self.script.answers["gcc"] = "4e1"
        self.assertEqual(await self.cached.gcc("zz"), "4e1")

    async def test_a_country_once_known_stays_known(self) -> None:
        await self.cached.gcc("ch")
        self.script.answers["gcc"] = None
        self.clock.advance(61)
        self.assertEqual(await self.cached.gcc("ch"), "4e1")


class TestShared(_CachedCase):
    """Two nodes with a real memcached between them."""

    def setUp(self) -> None:
        super().setUp()
        address = services.memcached()
        self.memcached = Memcached(reactor, str(address), timeout=2)
        self.addCleanup(self.memcached.stop)
        self.raw = Client((address.host, address.port), timeout=2, connect_timeout=2, default_noreply=False)
        self.addCleanup(self.raw.close)
        self.shared = SharedCache(self.memcached, "radiovis")
        subjects = {"gcc": "ch", "topics": "all", "default": "12", "channels": "1"}
        self.names = {name: cache_key(name, subject) for name, subject in subjects.items()}
        self.keys = {name: self.shared.memcached_key(key) for name, key in self.names.items()}
        for key in self.keys.values():
            self.raw.delete(key)
        self.one, self.two = self.node(self.memcached), self.node(self.memcached)

    async def settled(self) -> None:
        """Whatever was put on its way to memcached before this has arrived."""
        deadline = time.monotonic() + 10
        while self.memcached._waiting:
            self.assertLess(time.monotonic(), deadline)
            await self.memcached.get("tests-nothing")

    async def test_what_one_node_asked_the_other_need_not(self) -> None:
        for ask, _ in self.questions(self.one):
            await ask()
        await self.settled()
        for ask, answer in self.questions(self.two):
            self.assertEqual(await ask(), answer)
        self.assertEqual(sorted(self.script.calls), ["channels", "channels", "default", "gcc", "topics"])

    async def test_who_may_publish_is_not_shared(self) -> None:
        await self.one.channels("1")
        await self.settled()
        self.assertIsNone(self.raw.get(self.keys["channels"]))

    async def test_keys_begin_with_radiovis_and_values_are_json(self) -> None:
        await self.one.topics()
        await self.settled()
        self.assertTrue(self.keys["topics"].startswith("radiovis_topics_all_"))
        answer, _at = json.loads(self.raw.get(self.keys["topics"]))[-1]
        self.assertEqual(answer[0], ["/topic/fm/4e1/4000/09580/", 12, True, ""])

    async def test_a_new_channel_is_known_on_every_node_after_a_minute(self) -> None:
        await self.one.topics()
        await self.settled()
        self.script.answers["topics"] = ()
        self.clock.advance(60)
        self.assertEqual(await self.two.topics(), ())

    async def test_the_code_of_a_country_is_taken_from_memcached_for_ten_minutes(self) -> None:
        await self.one.gcc("ch")
        await self.settled()
        self.clock.advance(599)
        self.assertEqual(await self.two.gcc("ch"), "4e1")
        self.assertEqual(self.script.calls, ["gcc"])
        self.clock.advance(2)
        await self.two.gcc("ch")
        self.assertEqual(self.script.calls, ["gcc", "gcc"])

    async def test_a_node_started_during_an_outage_has_what_the_others_know(self) -> None:
        for ask, _ in self.questions(self.one):
            await ask()
        await self.settled()
        self.clock.advance(300)
        self.script.down = True
        for ask, answer in self.questions(self.two)[1:]:
            self.assertEqual(await ask(), answer)

    async def test_poisoned_values_are_asked_for_anew(self) -> None:
        now = self.clock.seconds()
        garbage: list[bytes] = [
            b"",
            b"\xff\x00garbage",
            pickle.dumps(["/topic/"]),
            b"[" * 100_000,
            b"[]",
            b"null",
            b'{"at": 1}',
            json.dumps({"at": now, "answer": [["/topic/a/", 1, True, ""]]}).encode(),
        ]
        entries: list[object] = [
            None,
            5,
            {"at": 1},
            [1],
            [None, "now"],
            [5, now],
            [[["/etc/passwd", 1, True, ""]], now],
            [[["/topic/a/", "1", True], 3], now],
            [[], float("nan")],
        ]
        for value in [*garbage, *entries]:
            self.script.calls.clear()
            for name in ("gcc", "topics", "default"):
                if isinstance(value, bytes):
                    self.raw.set(self.keys[name], value, flags=1)
                else:
                    await self.shared.put(self.names[name], value, 600)
            for ask, answer in self.questions(self.node(self.memcached))[1:]:
                self.assertEqual(await ask(), answer, str(value)[:40])
            self.assertEqual(sorted(self.script.calls), ["default", "gcc", "topics"], str(value)[:40])
            await self.settled()

    async def test_a_time_to_come_is_not_believed(self) -> None:
        await self.shared.put(self.names["topics"], [[], self.clock.seconds() + 1e9], 600)
        self.assertEqual(await self.one.topics(), ())
        self.clock.advance(61)
        self.raw.delete(self.keys["topics"])
        self.script.down = True
        self.assertEqual(await self.one.topics(), ())
        self.clock.advance(86400)
        await self.assertFailure(started(self.one.topics()), DirectoryError)

    async def test_without_memcached_all_goes_on(self) -> None:
        dead = Memcached(reactor, f"127.0.0.1:{services.free_port()}", retry=600)
        self.addCleanup(dead.stop)
        for ask, answer in self.questions(self.node(dead)):
            self.assertEqual(await ask(), answer)
