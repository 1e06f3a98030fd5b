"""Beaker over memcached, on a real server."""

from __future__ import annotations

import pickle
import time
import uuid

from beaker.cache import Cache, CacheManager
from beaker.exceptions import MissingCacheParameter
from beaker.util import parse_cache_config_options
from pymemcache.client.base import Client
from twisted.internet import reactor
from twisted.trial import unittest

from fanout.cache import beaker_backend
from fanout.cache.beaker_backend import NAME, MemcachedNamespace, SharedCache
from fanout.cache.memcached import Memcached
from tests import services


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


class TestBeakerBackend(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        beaker_backend.register()
        address = services.memcached()
        self.url = str(address)
        self.raw = Client((address.host, address.port), timeout=2, connect_timeout=2, default_noreply=False)
        self.addCleanup(self.raw.close)
        self.namespace = f"tests-{uuid.uuid4()}"

    def cache(self, namespace: str | None = None) -> Cache:
        settings = {"cache.type": NAME, "cache.url": self.url, "cache.timeout": "2", "cache.expire": "60"}
        return CacheManager(**parse_cache_config_options(settings)).get_cache(namespace or self.namespace)

    def test_a_cache_from_the_operators_settings_keeps_json(self) -> None:
        cache = self.cache()
        for key, value in {"a": {"x": [1, 2.5, None, True, "ü"]}, "with space/ü": "text", "n" * 400: 0}.items():
            cache.put(key, value)
            self.assertEqual(cache.get(key), value)
            self.assertIn(key, cache)

    def test_a_key_never_stored_is_a_key_error(self) -> None:
        self.assertRaises(KeyError, self.cache().get, "nothing")

    def test_two_managers_share_what_they_keep(self) -> None:
        self.cache().put("a", 1)
        other = Cache(self.namespace, type=NAME, url=self.url, timeout=2)
        self.assertEqual(other.get("a"), 1)

    def test_a_value_expires(self) -> None:
        cache = self.cache()
        cache.put("a", 1, expiretime=1)
        self.assertEqual(cache.get("a"), 1)
        entry = cache.namespace[b"a"]
        cache.namespace.set_value(b"a", (entry[0] - 2, 1, 1), expiretime=60)
        self.assertRaises(KeyError, cache.get, "a")

    def test_one_value_is_removed(self) -> None:
        cache = self.cache()
        cache.put("a", 1)
        cache.put("b", 2)
        cache.remove_value("a")
        self.assertRaises(KeyError, cache.get, "a")
        self.assertEqual(cache.get("b"), 2)

    def test_clearing_a_cache_leaves_the_keys_of_others_alone(self) -> None:
        mine, other = self.cache(), self.cache(self.namespace + "-other")
        mine.put("a", 1)
        other.put("a", 2)
        self.raw.set("foreign-" + self.namespace, b"3")
        mine.clear()
        self.assertRaises(KeyError, mine.get, "a")
        self.assertEqual(other.get("a"), 2)
        self.assertEqual(self.raw.get("foreign-" + self.namespace), b"3")
        mine.put("a", 4)
        self.assertEqual(mine.get("a"), 4)

    def test_clearing_reaches_the_other_processes(self) -> None:
        one, two = (Cache(self.namespace, type=NAME, url=self.url, timeout=2) for _ in range(2))
        one.put("a", 1)
        self.assertEqual(two.get("a"), 1)
        one.clear()
        self.assertRaises(KeyError, two.get, "a")

    def test_a_lost_generation_loses_the_entries_and_no_more(self) -> None:
        cache = self.cache()
        cache.put("a", 1)
        self.raw.delete(cache.namespace._generation_key)
        self.assertRaises(KeyError, cache.get, "a")
        cache.put("a", 2)
        self.assertEqual(cache.get("a"), 2)

    def test_poisoned_values_are_missing_and_never_unpickled(self) -> None:
        cache = self.cache()
        cache.put("a", 1)
        place = cache.namespace.memcached_key(b"a")
        good = self.raw.get(place)
        wrong_types = [b'["g", "now", 1, 2]', b"[1, 2]", b"{}", b"null", b"[" * 100_000, b"\xff\xfe", b""]
        for garbage in [pickle.dumps(Exploit()), *wrong_types]:
            self.raw.set(place, garbage, flags=1)
            self.assertRaises(KeyError, cache.get, "a")
        self.raw.set(place, good)
        self.assertEqual(cache.get("a"), 1)

    def test_what_json_cannot_hold_is_refused_when_it_is_stored(self) -> None:
        self.assertRaises(TypeError, self.cache().put, "a", b"bytes")

    def test_without_an_url_it_says_what_is_missing(self) -> None:
        with self.assertRaisesRegex(MissingCacheParameter, "cache.url"):
            MemcachedNamespace("n")

    def test_a_dead_server_is_a_miss_that_costs_nothing(self) -> None:
        cache = Cache(self.namespace, type=NAME, url=f"127.0.0.1:{services.free_port()}")
        cache.put("a", 1)
        begin = time.monotonic()
        for _ in range(1000):
            self.assertRaises(KeyError, cache.get, "a")
        self.assertLess(time.monotonic() - begin, 1)

    def test_a_hanging_server_holds_the_reactor_up_for_its_short_timeout_only(self) -> None:
        server = services.Memcached()
        self.addCleanup(server.close)
        server.start()
        cache = Cache(self.namespace, type=NAME, url=str(server.address))
        cache.put("a", 1)
        server.pause()
        self.addCleanup(server.resume)
        begin = time.monotonic()
        for _ in range(100):
            self.assertRaises(KeyError, cache.get, "a")
        self.assertLess(time.monotonic() - begin, 1)

    def test_registering_twice_does_no_harm(self) -> None:
        beaker_backend.register()
        self.assertIsInstance(self.cache().namespace, MemcachedNamespace)


class TestSharedCache(unittest.TestCase):
    def setUp(self) -> None:
        self.namespace = f"tests-{uuid.uuid4()}"
        self.memcached = self.connect(str(services.memcached()), timeout=2)
        self.cache = SharedCache(self.memcached, self.namespace)

    def connect(self, address: str, **settings: float) -> Memcached:
        memcached = Memcached(reactor, address, **settings)  # type: ignore[arg-type]
        self.addCleanup(memcached.stop)
        return memcached

    async def test_another_process_finds_what_was_put(self) -> None:
        await self.cache.put("a", ["ü", 1.5, None], 60)
        other = SharedCache(self.connect(str(services.memcached()), timeout=2), self.namespace)
        self.assertEqual(await other.get("a"), ["ü", 1.5, None])
        self.assertIsNone(await other.get("b"))

    async def test_keys_begin_with_the_namespace(self) -> None:
        await self.cache.put("a", 1, 60)
        name = self.cache.memcached_key("a")
        self.assertTrue(name.startswith(f"{self.namespace}_a_"), name)
        self.assertIsNotNone(await self.memcached.get(name))

    async def test_its_calls_count_as_calls_of_that_memcached(self) -> None:
        await self.cache.put("a", 1, 60)
        self.assertGreater(self.memcached.counts["calls"], 0)

    async def test_a_value_expires(self) -> None:
        await self.cache.put("a", 1, 1e-9)
        self.assertIsNone(await self.cache.get("a"))

    async def test_a_dead_server_is_a_miss_that_takes_no_thread_until_it_is_tried_again(self) -> None:
        dead = self.connect(f"127.0.0.1:{services.free_port()}", retry=600)
        cache = SharedCache(dead, self.namespace)
        self.assertIsNone(await cache.get("a"))
        self.assertIsNone(self.successResultOf(cache.get("a")))
        self.assertIsNone(self.successResultOf(cache.put("a", 1, 60)))
        self.assertEqual(dead.counts["failures"], 1)
