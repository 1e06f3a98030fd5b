"""Last slides in memcached: what is written, what is believed, and what happens without."""

from __future__ import annotations

import json
import pickle

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.cache.memcached import Memcached, cache_key
from fanout.hub.message import Message
from radiovis.last_slides import DELAY, LastSlides, decode, encode
from tests import services

TOPIC = "/topic/fm/4e1/4000/09580/image"
SLIDE = Message(TOPIC, b"SHOW http://s/\xff\0\n1.png", "ID:é", 1795294643, (("link", "http://l/?a=1"), ("x", "")))
LIFE = 100


def fields(message: Message | None) -> tuple[object, ...] | None:
    """What a message says: messages themselves are equal only to themselves."""
    return message and (message.topic, message.body, message.message_id, message.when, message.headers)


class TestEncoding(unittest.SynchronousTestCase):
    def test_everything_survives(self) -> None:
        self.assertEqual(fields(decode(TOPIC, encode(TOPIC, SLIDE))), fields(SLIDE))

    @given(st.text(), st.binary(), st.text(), st.integers(0, 2**40), st.lists(st.tuples(st.text(), st.text())))
    def test_any_message_survives(
        self, topic: str, body: bytes, message_id: str, when: int, headers: list[tuple[str, str]]
    ) -> None:
        message = Message(topic, body, message_id, when, tuple(headers))
        self.assertEqual(fields(decode("key", encode("key", message))), fields(message))

    def test_the_spelling_of_the_publisher_is_kept_beside_the_key(self) -> None:
        spelled = Message("/topic/fm/CH/4000/09580/image", b"", "1", 1)
        self.assertEqual(fields(decode(TOPIC, encode(TOPIC, spelled))), fields(spelled))

    def test_another_topics_slide_is_not_believed(self) -> None:
        """Two keys that fall together, or somebody who swaps values, must not show a station's slide on another."""
        self.assertIsNone(decode("/topic/other/image", encode(TOPIC, SLIDE)))

    def test_nothing_else_is_believed(self) -> None:
        good = json.loads(encode(TOPIC, SLIDE))
        for value in (
            None,
            b"",
            b"null",
            b"17",
            b"{}",
            b"[]",
            b"\x80\x04N.",
            pickle.dumps(["SHOW http://evil/", {}]),
            b"[" * 100_000,
            json.dumps(good[:-1]).encode(),
            json.dumps([*good, 1]).encode(),
            *(json.dumps([*good[:at], wrong, *good[at + 1 :]]).encode() for at in range(6) for wrong in (None, [1])),
            json.dumps([TOPIC, TOPIC, "snow \u2603", "1", 1, []]).encode(),
            json.dumps([TOPIC, TOPIC, "", "1", float("inf"), []]).encode(),
            json.dumps([TOPIC, TOPIC, "", "1", float("nan"), []]).encode(),
        ):
            self.assertIsNone(decode(TOPIC, value), value and value[:200])


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.memcached = Memcached(reactor, str(services.memcached()), timeout=2, threads=1)
        self.addCleanup(self.memcached.stop)
        self.slides = self.node()

    def node(self, memcached: Memcached | None = None) -> LastSlides:
        """The last slides of another node."""
        return LastSlides(self.clock, memcached or self.memcached)

    async def settled(self) -> None:
        """Until memcached has what was to be written by now: its one thread makes the calls in their order."""
        self.clock.advance(DELAY)
        await self.memcached.get("settled")


class TestKeepAndRecall(_Case):
    async def test_another_node_finds_what_was_kept(self) -> None:
        topic = f"/topic/{self.id()}"
        self.slides.keep(topic, SLIDE)
        await self.settled()
        self.assertEqual(fields(await self.node().recall(topic)), fields(SLIDE))

    async def test_the_last_of_a_burst_counts_and_is_written_once(self) -> None:
        topic = f"/topic/{self.id()}"
        for number in range(50):
            self.slides.keep(topic, Message(topic, str(number).encode(), str(number), number))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        await self.settled()
        recalled = await self.node().recall(topic)
        self.assertEqual(recalled and recalled.body, b"49")

    async def test_nothing_was_kept(self) -> None:
        self.assertIsNone(await self.slides.recall(f"/topic/{self.id()}"))

    async def test_those_who_ask_at_once_get_one_object(self) -> None:
        topic = f"/topic/{self.id()}"
        self.slides.keep(topic, SLIDE)
        await self.settled()
        answers = await gatherResults([Deferred.fromCoroutine(self.slides.recall(topic)) for _ in range(3)])
        self.assertIsNotNone(answers[0])
        self.assertTrue(all(answer is answers[0] for answer in answers))

    async def test_several_at_once_as_far_as_there_are_any(self) -> None:
        topics = [f"/topic/{self.id()}/{number}" for number in range(5)]
        for topic in topics[:3]:
            self.slides.keep(topic, SLIDE)
        await self.settled()
        found = await self.slides.recall_many(topics)
        self.assertEqual(sorted(found), topics[:3])

    async def test_poison_is_a_miss_and_the_next_slide_cures_it(self) -> None:
        topic = f"/topic/{self.id()}"
        for poison in (pickle.dumps(SLIDE.body), b"garbage", b"", encode("/topic/other", SLIDE)):
            await self.memcached.set(cache_key("radiovis", "last", topic), poison, LIFE)
            self.assertIsNone(await self.slides.recall(topic), poison)
            self.assertEqual(await self.slides.recall_many([topic]), {}, poison)
        self.slides.keep(topic, SLIDE)
        await self.settled()
        self.assertIsNotNone(await self.slides.recall(topic))

    def test_a_burst_over_very_many_topics_costs_bounded_memory(self) -> None:
        written: list[int] = []
        self.memcached.set_many = lambda items, expire: written.append(len(items))  # type: ignore[assignment, method-assign]
        for number in range(20_000):
            self.slides.keep(f"/topic/{number}", SLIDE)
        self.clock.advance(DELAY)
        self.assertEqual(written, [10_000])


class TestWithoutMemcached(_Case):
    async def test_there_is_none(self) -> None:
        slides = LastSlides(self.clock, None)
        slides.keep(TOPIC, SLIDE)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(await slides.recall(TOPIC))
        self.assertEqual(await slides.recall_many([TOPIC]), {})

    async def test_it_is_down(self) -> None:
        down = Memcached(reactor, f"127.0.0.1:{services.free_port()}", timeout=2)
        self.addCleanup(down.stop)
        slides = self.node(down)
        slides.keep(TOPIC, SLIDE)
        self.clock.advance(DELAY)
        self.assertIsNone(await slides.recall(TOPIC))
        self.assertEqual(await slides.recall_many([TOPIC]), {})
