"""Last slides shared through memcached: a node that has just started shows them at once (contract §2, change 6)."""

from __future__ import annotations

import pickle
import time
import unittest
from collections.abc import Callable
from contextlib import closing

from pymemcache.client.base import Client

from fanout.cache.memcached import cache_key
from tests import services
from tests.acceptance.cluster import Cluster, node
from tests.processes import Server
from tests.radio import Radio

SECONDS = 20.0
WITHOUT_STREAM = {"fanout.bus.stream.MAX_AGE": "refused"}
"""No broker takes this age, so that a node has memcached only."""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what another process does: memcached tells nobody when it has got something."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {SECONDS} s: {what}")
        time.sleep(0.01)


class _Case(unittest.TestCase):
    """Two nodes and a memcached, for each test."""

    def setUp(self) -> None:
        self.memcached = services.Memcached()
        self.addCleanup(self.memcached.close)
        self.memcached.start()
        self.cluster = Cluster(services.rabbitmq(), MEMCACHED_HOST=self.memcached.address).__enter__()
        self.addCleanup(self.cluster.close)
        self.nodes = self.cluster.nodes
        self.addCleanup(lambda: self.assertEqual(self.cluster.faults, []))
        self.topic = f"/topic/id/tests._ebu.nowhere/topic1/{self.id().rpartition('.')[2]}/image"

    def radio(self, server: Server) -> Radio:
        radio = Radio.connect(server.address)
        self.addCleanup(radio.close)
        return radio

    def publish(self, server: Server, body: bytes, topic: str = "", **headers: str) -> None:
        station = Radio.connect(server.address, "1.test", "test", version="1.1")
        station.publish(topic or self.topic, body, {name.replace("_", "-"): text for name, text in headers.items()})
        station.close()

    def assert_shown(self, server: Server, body: bytes, topic: str = "", **headers: str) -> None:
        """A radio that comes now is shown this at once, and once."""
        radio = self.radio(server)
        radio.subscribe(topic or self.topic, id="7")
        shown = radio.expect("MESSAGE", destination=topic or self.topic, subscription="7", **headers)
        self.assertEqual(shown.body, body)
        self.assertEqual(radio.so_far(), [])

    def assert_shown_nothing_before(self, server: Server, body: bytes, **subscribe: str) -> None:
        """A radio that comes now sees nothing before the next slide, which is published once it has subscribed."""
        radio = self.radio(server)
        radio.subscribe(self.topic, **subscribe)
        self.publish(server, body)
        self.assertEqual(radio.expect("MESSAGE").body, body)

    def stored(self, topic: str = "") -> bytes | None:
        with closing(Client((self.memcached.host, self.memcached.port), timeout=5)) as client:
            value: bytes | None = client.get(cache_key("radiovis", "last", topic or self.topic))
            return value

    def wait_until_stored(self, body: bytes) -> None:
        until(lambda: body in (self.stored() or b""), f"{body!r} in memcached")

    def restart(self, server: Server) -> None:
        server.kill()
        server.start()
        server.wait_for("bus.caught_up")


class TestRestart(_Case):
    def test_a_node_killed_and_restarted_shows_its_last_slide(self) -> None:
        self.publish(self.nodes[0], b"SHOW http://s/1.png", message_id="ID-1", link="x", trigger_time="NOW")
        self.wait_until_stored(b"1.png")
        self.restart(self.nodes[0])
        for _ in range(2):  # From memcached, then from its own memory.
            self.assert_shown(self.nodes[0], b"SHOW http://s/1.png", message_id="ID-1", link="x", trigger_time="NOW")

    def test_a_slide_published_just_before_a_node_ends_in_order_is_kept(self) -> None:
        self.nodes[1].terminate()  # The one left is the only one to write it.
        for number in range(3):
            slide = f"SHOW http://s/last-{number}.png".encode()
            radio = self.radio(self.nodes[0])
            radio.subscribe(self.topic, fast_reply=False)
            self.publish(self.nodes[0], slide)
            self.assertEqual(radio.expect("MESSAGE").body, slide)
            self.nodes[0].terminate()
            self.nodes[0].start()
            self.assert_shown(self.nodes[0], slide)
            self.nodes[0].wait_for("bus.caught_up")

    def test_a_third_node_shows_what_it_never_heard(self) -> None:
        self.publish(self.nodes[0], b"SHOW http://s/2.png", message_id="ID-2")
        self.wait_until_stored(b"2.png")
        with node(services.rabbitmq(), self.cluster.exchange, MEMCACHED_HOST=self.memcached.address) as third:
            self.assert_shown(third, b"SHOW http://s/2.png", message_id="ID-2")
            self.assertEqual(third.faults, [])

    def test_the_newest_counts_when_a_node_was_away(self) -> None:
        self.publish(self.nodes[0], b"SHOW http://s/old.png")
        self.wait_until_stored(b"old.png")
        self.nodes[0].kill()
        self.publish(self.nodes[1], b"SHOW http://s/new.png")
        self.wait_until_stored(b"new.png")
        self.nodes[0].start()
        self.assert_shown(self.nodes[0], b"SHOW http://s/new.png")

    def test_a_hundred_radios_that_come_back_at_once_are_each_shown_it_once(self) -> None:
        """HRadio tries again every second, without back-off: a herd after a restart (contract §5, lesson 6)."""
        self.publish(self.nodes[0], b"SHOW http://s/3.png")
        self.wait_until_stored(b"3.png")
        self.restart(self.nodes[0])
        radios = [self.radio(self.nodes[0]) for _ in range(100)]
        for radio in radios:
            radio.say("SUBSCRIBE", {"destination": self.topic})
        for radio in radios:
            self.assertEqual(radio.expect("MESSAGE").body, b"SHOW http://s/3.png")
            self.assertEqual(radio.so_far(), [])

    def test_country_and_code_share_one_slide(self) -> None:
        topic = "/topic/fm/4e1/ffff/99999/image"
        station = Radio.connect(self.nodes[0].address, "3.test", "test", version="1.1")
        self.addCleanup(station.close)
        station.publish("/topic/fm/ch/ffff/99999/image", b"SHOW http://s/cc.png")
        until(lambda: self.stored(topic), "the slide in memcached")
        self.restart(self.nodes[1])
        self.assert_shown(self.nodes[1], b"SHOW http://s/cc.png", "/topic/fm/CH/ffff/99999/image")
        self.assert_shown(self.nodes[1], b"SHOW http://s/cc.png", topic)

    def test_who_wants_no_fast_reply_gets_none(self) -> None:
        self.publish(self.nodes[0], b"SHOW http://s/4.png")
        self.wait_until_stored(b"4.png")
        self.restart(self.nodes[0])
        radio = self.radio(self.nodes[0])
        radio.subscribe(self.topic, fast_reply=False)
        self.publish(self.nodes[0], b"SHOW http://s/5.png")
        self.assertEqual(radio.expect("MESSAGE").body, b"SHOW http://s/5.png")


class TestTrouble(_Case):
    def test_poison_is_a_miss_and_the_next_slide_cures_it(self) -> None:
        first = self.topic
        for number, poison in enumerate((pickle.dumps([self.topic]), b"garbage", b"", b"[" * 100_000, b"[1,2]")):
            self.topic = f"{first}/{number}"  # Of one that was cured, the stream knows the last slide.
            with closing(Client((self.memcached.host, self.memcached.port), timeout=5)) as client:
                client.set(cache_key("radiovis", "last", self.topic), poison)
            cure = f"SHOW http://s/cure-{number}.png".encode()
            with node(services.rabbitmq(), self.cluster.exchange, MEMCACHED_HOST=self.memcached.address) as poisoned:
                poisoned.wait_for("bus.caught_up")
                self.assert_shown_nothing_before(poisoned, cure)
                self.wait_until_stored(cure)
                self.assertEqual(poisoned.faults, [])

    def test_memcached_dies_and_comes_back(self) -> None:
        self.publish(self.nodes[0], b"SHOW http://s/1.png")
        self.wait_until_stored(b"1.png")
        self.memcached.kill()
        self.publish(self.nodes[1], b"SHOW http://s/2.png")
        for each in self.nodes:
            self.assert_shown(each, b"SHOW http://s/2.png")  # Each from its own memory.
            each.wait_for("memcached.down")
        self.restart(self.nodes[0])
        self.assert_shown(self.nodes[0], b"SHOW http://s/2.png")  # From the broker's stream.
        self.memcached.start()

        def kept() -> bool:
            self.publish(self.nodes[1], b"SHOW http://s/4.png")
            return b"4.png" in (self.stored() or b"")

        until(kept, "slides in memcached again")
        self.restart(self.nodes[0])
        self.assert_shown(self.nodes[0], b"SHOW http://s/4.png")

    def test_a_frozen_memcached_keeps_nobody_waiting(self) -> None:
        self.memcached.pause()
        self.addCleanup(self.memcached.resume)
        began = time.monotonic()
        for number in range(20):
            radio = self.radio(self.nodes[0])
            radio.subscribe(f"{self.topic}/{number}")
            self.publish(self.nodes[1], b"SHOW http://s/1.png", f"{self.topic}/{number}")
            self.assertEqual(radio.expect("MESSAGE").body, b"SHOW http://s/1.png")
        self.assertLess(time.monotonic() - began, 5)  # 20 answers waited for would be 4 s at 0.2 s each, twice.


class TestSeveralServers(unittest.TestCase):
    def test_host_and_port_several_with_commas(self) -> None:
        """Slides are spread over both; when one dies its slides are gone, and those of the other are not."""
        with services.Memcached() as first, services.Memcached() as second:
            hosts = f"{first.address},{second.address}"
            with Cluster(services.rabbitmq(), MEMCACHED_HOST=hosts, **WITHOUT_STREAM) as cluster:
                topics = [f"/topic/id/tests._ebu.nowhere/topic1/{number}/image" for number in range(30)]
                station = Radio.connect(cluster.nodes[0].address, "1.test", "test", version="1.1")
                for topic in topics:
                    station.publish(topic, topic.encode())
                station.close()
                held = {server: lambda server=server: self.held(server, topics) for server in (first, second)}
                until(lambda: len(held[first]() | held[second]()) == 30, "30 slides in memcached")
                self.assertEqual(held[first]() & held[second](), set())
                self.assertTrue(held[first]() and held[second](), "all slides are on one server")
                self.assertEqual(self.shown(cluster.nodes[1], topics), set(topics))
                survivors = held[second]()
                first.kill()
                self.assertEqual(self.shown(cluster.nodes[1], topics), survivors)

    def held(self, server: services.Memcached, topics: list[str]) -> set[str]:
        with closing(Client((server.host, server.port), timeout=5)) as client:
            keys = {cache_key("radiovis", "last", topic): topic for topic in topics}
            return {keys[key] for key in client.get_many(list(keys))}

    def shown(self, server: Server, topics: list[str]) -> set[str]:
        """The topics whose last slide a radio is shown by a node that has just started."""
        server.kill()
        server.start()
        server.wait_for("bus.caught_up")
        radio = Radio.connect(server.address)
        for topic in topics:
            radio.subscribe(topic)
        station = Radio.connect(server.address, "1.test", "test", version="1.1")
        station.publish(topics[0] + "/end", b"")
        station.close()
        radio.subscribe(topics[0] + "/end")
        shown = set()
        while (frame := radio.expect("MESSAGE")).get("destination") != topics[0] + "/end":
            shown.add(frame.get("destination") or "")
        radio.close()
        return shown
