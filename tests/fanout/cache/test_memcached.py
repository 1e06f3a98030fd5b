"""The memcached clients against real servers."""

from __future__ import annotations

import string
import time

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.cache.memcached import Memcached, MemcachedServers, cache_key, parse_servers
from tests import services


class Greeter(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class TestCacheKey(unittest.SynchronousTestCase):
    def test_is_readable_and_starts_with_the_parts(self) -> None:
        self.assertTrue(cache_key("radiovis", "gcc", "ch").startswith("radiovis_gcc_ch_"))

    def test_other_parts_with_the_same_text_give_another_key(self) -> None:
        self.assertNotEqual(cache_key("a", "b_c"), cache_key("a_b", "c"))

    @given(st.lists(st.text(), min_size=1, max_size=4))
    def test_any_parts_give_a_key_memcached_takes(self, parts: list[str]) -> None:
        key = cache_key(*parts)
        self.assertLessEqual(len(key), 250)
        self.assertLessEqual(set(key), set(string.ascii_letters + string.digits + "_.-"))


class TestParseServers(unittest.SynchronousTestCase):
    def test_good_lists(self) -> None:
        cases = {
            "localhost": (("localhost", 11211),),
            "10.0.0.1:11212": (("10.0.0.1", 11212),),
            "a:1, b ,c:3": (("a", 1), ("b", 11211), ("c", 3)),
            "[::1]": (("::1", 11211),),
            "[fe80::1%eth0]:5,x": (("fe80::1%eth0", 5), ("x", 11211)),
        }
        for servers, expected in cases.items():
            self.assertEqual(parse_servers(servers), expected, servers)

    def test_bad_lists_are_refused_naming_the_entry_and_the_fault(self) -> None:
        cases = {
            "": "not a host",
            "a,,b": "not a host",
            "a:": "not a port",
            "a:x": "'x' is not a port",
            "a:0": "not a port",
            "a:65536": "not a port",
            "a:-1": "not a port",
            "a:\u0661": "not a port",
            ":11211": "not a host",
            "::1": "in brackets",
            "[::1": "not a host|in brackets",
            "[::1]x": "not a host|in brackets",
            "a b": "'a b'",
            "http://a:1": "in brackets|not a host",
        }
        for servers, fault in cases.items():
            with self.assertRaisesRegex(ValueError, fault, msg=servers):
                parse_servers(servers)


class TestMemcached(unittest.TestCase):
    def setUp(self) -> None:
        address = services.memcached()
        self.cache = Memcached(reactor, str(address), timeout=2)
        self.addCleanup(self.cache.stop)

    def key(self, name: str) -> str:
        return cache_key("tests", self.id(), name)

    async def test_keeps_bytes_as_they_are(self) -> None:
        value = bytes(range(256)) * 10 + b"\r\nEND\r\n"
        self.assertTrue(await self.cache.set(self.key("a"), value, 60))
        self.assertEqual(await self.cache.get(self.key("a")), value)

    async def test_what_was_never_stored_is_missing(self) -> None:
        self.assertIsNone(await self.cache.get(self.key("nothing")))

    async def test_many_at_once(self) -> None:
        a, b, c = self.key("a"), self.key("b"), self.key("c")
        await gatherResults([self.cache.set(a, b"1", 60), self.cache.set(b, b"2", 60)])
        self.assertEqual(await self.cache.get_many([a, b, c]), {a: b"1", b: b"2"})
        await self.cache.delete(a)
        self.assertEqual(await self.cache.get_many([a, b]), {b: b"2"})

    async def test_a_value_is_replaced_unless_it_has_changed_since_it_was_read(self) -> None:
        a, b, c, d = (self.key(name) for name in "abcd")
        await gatherResults([self.cache.set(key, b"old", 60) for key in (a, b, c)])
        found = await self.cache.gets_many([a, b, c, d])
        self.assertEqual({key: value for key, (value, _) in found.items()}, dict.fromkeys((a, b, c), b"old"))
        await self.cache.set(b, b"theirs", 60)
        await self.cache.delete(c)
        wanted = {key: (b"ours", version) for key, (_, version) in found.items()} | {d: (b"ours", None)}
        self.assertEqual(await self.cache.cas_many(wanted, 60), [b, c])
        self.assertEqual(await self.cache.get_many([a, b, c, d]), {a: b"ours", b: b"theirs", d: b"ours"})
        self.assertEqual(await self.cache.cas_many({d: (b"again", None)}, 60), [d])

    async def test_of_many_who_add_one_has_the_lease(self) -> None:
        await self.cache.delete(self.key("lease"))
        got = await gatherResults([self.cache.add(self.key("lease"), b"me", 60) for _ in range(10)])
        self.assertEqual(sorted(got), [False] * 9 + [True])

    async def test_a_year_is_not_taken_for_a_date_in_the_past(self) -> None:
        await self.cache.set(self.key("long"), b"x", 365 * 24 * 3600)
        self.assertEqual(await self.cache.get(self.key("long")), b"x")

    async def test_a_value_too_large_is_dropped_and_the_server_stays_up(self) -> None:
        self.assertFalse(await self.cache.set(self.key("big"), b"x" * 2_000_000, 60))
        self.assertEqual(self.cache.counts["refused"], 1)
        self.assertEqual(self.cache.down, ())
        self.assertTrue(await self.cache.set(self.key("small"), b"x", 60))

    async def test_text_is_refused(self) -> None:
        with self.assertRaisesRegex(TypeError, "bytes"):
            await self.cache.set(self.key("text"), "text", 60)  # type: ignore[arg-type]

    async def test_more_than_may_wait_are_treated_as_missing(self) -> None:
        cache = Memcached(reactor, str(services.memcached()), timeout=2, max_waiting=3)
        self.addCleanup(cache.stop)
        await cache.set(self.key("a"), b"x", 60)
        got = await gatherResults([cache.get(self.key("a")) for _ in range(10)])
        self.assertEqual(got, [b"x"] * 3 + [None] * 7)
        self.assertEqual(cache.counts["overflow"], 7)

    async def test_after_stop_everything_is_missing_and_no_thread_is_left(self) -> None:
        cache = Memcached(reactor, str(services.memcached()), timeout=2)
        waiting = [cache.get(self.key("a")) for _ in range(20)]
        await cache.stop()
        self.assertTrue(all(one.called for one in waiting))
        self.assertEqual([thread for thread in cache._pool.threads if thread.is_alive()], [])
        self.assertIsNone(await cache.get(self.key("a")))


class TestOutage(unittest.TestCase):
    """A server of our own, killed, frozen and brought back."""

    def setUp(self) -> None:
        self.server = services.Memcached()
        self.addCleanup(self.server.close)
        self.server.start()

    def memcached(self, **settings: float) -> Memcached:
        cache = Memcached(reactor, str(self.server.address), **settings)  # type: ignore[arg-type]
        self.addCleanup(cache.stop)
        return cache

    async def test_a_dead_server_means_missing_values_and_one_line_in_the_log(self) -> None:
        cache = self.memcached(retry=0.0)
        self.assertTrue(await cache.set("a", b"x", 60))
        self.server.kill()
        with capture_logs() as logs:
            for _ in range(5):
                self.assertIsNone(await cache.get("a"))
                self.assertEqual(await cache.get_many(["a", "b"]), {})
                self.assertFalse(await cache.set("a", b"x", 60))
                self.assertEqual(await cache.cas_many({"a": (b"x", None)}, 60), ["a"])
                self.assertEqual(await cache.gets_many(["a"]), {})
                self.assertFalse(await cache.add("a", b"x", 60))
                await cache.delete("a")
        self.assertEqual([line["event"] for line in logs], ["memcached.down"])
        self.assertEqual(logs[0]["server"], str(self.server.address))
        self.assertEqual(cache.down, (str(self.server.address),))

    async def test_it_is_used_again_when_it_is_back(self) -> None:
        cache = self.memcached(retry=0.0)
        self.server.kill()
        await cache.get("a")
        await deferToThread(self.server.start)
        with capture_logs() as logs:
            self.assertTrue(await cache.set("a", b"x", 60))
        self.assertEqual(await cache.get("a"), b"x")
        self.assertEqual([line["event"] for line in logs], ["memcached.up"])

    async def test_a_restart_between_two_calls_is_no_outage(self) -> None:
        cache = self.memcached()
        await gatherResults([cache.set("a", b"x", 60) for _ in range(10)])
        await deferToThread(self.server.restart)
        with capture_logs() as logs:
            self.assertTrue(await cache.set("a", b"y", 60))
        self.assertEqual(logs, [])

    async def test_a_hanging_server_costs_its_timeout_once(self) -> None:
        cache = self.memcached(timeout=0.2, retry=600)
        await cache.set("a", b"x", 60)
        self.server.pause()
        self.addCleanup(self.server.resume)
        begin = time.monotonic()
        got = await gatherResults([cache.get("a") for _ in range(500)])
        self.assertEqual(got, [None] * 500)
        self.assertLess(time.monotonic() - begin, 3)  # One by one they would take 50 s.
        self.assertLessEqual(cache.counts["failures"], 2)

    async def test_its_uptime_tells_when_it_has_lost_everything(self) -> None:
        cache = self.memcached()
        self.assertIn(await cache.uptime(), range(600))
        await deferToThread(self.server.kill)
        self.assertEqual(await cache.uptime(), 0)
        self.assertEqual(cache.down, (str(self.server.address),))

    async def test_while_it_is_left_alone_no_thread_is_troubled(self) -> None:
        cache = self.memcached(retry=600)
        self.server.kill()
        await cache.get("a")
        self.assertTrue(cache.get("a").called)
        self.assertTrue(cache.set("a", b"x", 60).called)
        self.assertTrue(cache.get_many(["a", "b"]).called)

    async def test_the_other_servers_go_on(self) -> None:
        other = services.memcached()
        cache = Memcached(reactor, f"{self.server.address},{other}", timeout=2, retry=600)
        self.addCleanup(cache.stop)
        keys = [cache_key("tests", self.id(), str(number)) for number in range(40)]
        self.assertEqual(await cache.cas_many(dict.fromkeys(keys, (b"x", None)), 60), [])
        self.server.kill()
        found = await cache.get_many(keys)
        self.assertTrue(0 < len(found) < 40, len(found))
        self.assertEqual(await cache.get_many(keys), found)
        self.assertEqual(cache.down, (str(self.server.address),))

    async def test_a_server_that_speaks_another_language_counts_as_down(self) -> None:
        port = reactor.listenTCP(0, Factory.forProtocol(Greeter), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        cache = Memcached(reactor, f"127.0.0.1:{port.getHost().port}", timeout=1, retry=600)
        self.assertIsNone(await cache.get("a"))
        self.assertEqual(len(cache.down), 1)
        await cache.stop()


class TestCircuitBreaker(unittest.SynchronousTestCase):
    def test_tries_again_after_the_interval_and_not_before(self) -> None:
        now = [0.0]
        servers = MemcachedServers(f"127.0.0.1:{services.free_port()}", retry=1.0, clock=lambda: now[0])
        for at, failures in ((0.0, 1), (0.5, 1), (0.99, 1), (1.0, 2), (1.5, 2), (2.0, 3)):
            now[0] = at
            servers.get("a")
            self.assertEqual(servers.counts["failures"], failures, at)
        self.assertEqual(servers.counts["skipped"], 3)
