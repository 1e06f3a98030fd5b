"""Last slides in memcached: what is written, what is believed, and what happens without."""

from __future__ import annotations

import json
import pickle

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.bus.duplicates import Serials
from fanout.cache.memcached import Memcached, cache_key
from fanout.hub.message import Message
from radiovis.last_slides import AHEAD_SECONDS, DELAY, RECENT, LastSlides, decode, encode
from tests import services

TOPIC = "/topic/fm/4e1/4000/09580/image"
SLIDE = Message(TOPIC, b"SHOW http://s/\xff\0\n1.png", "ID:é", 1795294643, (("link", "http://l/?a=1"), ("x", "")))
SERIAL = Serials().next()
LIFE = 100
NOW = 1795294650
"""Unix time of all nodes."""
LATER_AND_EARLIER = (("older", NOW), ("newer", NOW - 3600))
"""Two messages of a publisher whose clock was set back between them."""


def fields(message: Message | None) -> tuple[object, ...] | None:
    """What a message says: messages themselves are equal only to themselves."""
    return message and (message.topic, message.body, message.message_id, message.when, message.headers, message.serial)


class TestEncoding(unittest.SynchronousTestCase):
    def test_everything_survives(self) -> None:
        for message in (SLIDE, SLIDE._replace(serial=SERIAL)):
            self.assertEqual(fields(decode(TOPIC, encode(TOPIC, message))), fields(message))

    def test_a_node_of_an_earlier_version_writes_no_serial_and_takes_one_with_a_serial_for_nothing(self) -> None:
        self.assertEqual(len(json.loads(encode(TOPIC, SLIDE))), 6)
        self.assertEqual(len(json.loads(encode(TOPIC, SLIDE._replace(serial=SERIAL)))), 7)

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
            json.dumps([*good, SERIAL, SERIAL]).encode(),
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
        return LastSlides(self.clock, memcached or self.memcached, lambda: NOW)

    async def settled(self, *nodes: LastSlides) -> None:
        """Until memcached has what these nodes, or the first one, were to write by now."""
        self.clock.advance(DELAY)
        for node in nodes or (self.slides,):
            await node.write()


class TestKeepAndRecall(_Case):
    async def test_another_node_finds_what_was_kept(self) -> None:
        topic = f"/topic/{self.id()}"
        self.slides.keep(topic, SLIDE)
        await self.settled()
        self.assertEqual(fields(await self.node().recall(topic)), fields(SLIDE))

    async def test_what_waits_for_memcached_takes_so_much_memory_and_no_more(self) -> None:
        """A memcached that does not answer would keep all of it."""
        topics = [f"/topic/{self.id()}/{number}" for number in range(200)]
        for topic in topics:
            self.slides.keep(topic, Message(topic, b"x" * 262_144, "1", 1))
        self.slides.keep(topics[0], Message(topics[0], b"newest", "2", 2))
        await self.settled()
        kept = [await self.node().recall(topic) for topic in (topics[0], topics[120], topics[-1])]
        self.assertEqual([each and each.body for each in kept], [b"newest", b"x" * 262_144, None])

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
        read: list[int] = []
        self.memcached.gets_many = lambda keys: succeed(read.append(len(keys)) or {})  # type: ignore[assignment, method-assign, func-returns-value]
        self.memcached.cas_many = lambda items, expire: succeed([])  # type: ignore[assignment, method-assign]
        for number in range(20_000):
            self.slides.keep(f"/topic/{number}", SLIDE)
        self.clock.advance(DELAY)
        self.assertEqual((sum(read), max(read)), (10_000, 500))


class TestWhoWritesWhat(_Case):
    """Several nodes, one memcached, and messages that reach the nodes at different times."""

    def setUp(self) -> None:
        super().setUp()
        self.topic = f"/topic/{self.id()}"
        self.other = self.node()

    def message(self, name: str, when: int = NOW) -> Message:
        return Message(self.topic, name.encode(), name, when)

    async def hears(self, node: LastSlides, *messages: Message) -> None:
        """A node hears them in one burst, and has written what it wants to."""
        for message in messages:
            node.keep(self.topic, message)
        await self.settled(node)

    async def kept(self) -> bytes | None:
        found = await self.node().recall(self.topic)
        return found and found.body

    async def test_a_late_node_leaves_newer_messages_alone_and_goes_on_when_it_has_heard_them(self) -> None:
        one, two, three, four = (self.message(f"{number}", NOW - 3 + number // 2) for number in range(4))
        await self.hears(self.slides, one)
        await self.hears(self.slides, two)
        await self.hears(self.slides, three)
        for late in (one, two):  # The same second as each other, then an earlier one than the third.
            await self.hears(self.other, late)
            self.assertEqual(await self.kept(), b"2")
        await self.hears(self.other, three, four)
        self.assertEqual(await self.kept(), b"3")

    async def test_within_one_second_too(self) -> None:
        one, two = self.message("1"), self.message("2")
        await self.hears(self.slides, one, two)
        await self.hears(self.other, one)
        self.assertEqual(await self.kept(), b"2")
        await self.hears(self.other, two, self.message("3"))
        self.assertEqual(await self.kept(), b"3")

    async def test_a_burst_that_another_node_has_seen_in_part(self) -> None:
        burst = [self.message(str(number)) for number in range(50)]
        await self.hears(self.other, *burst[:25])
        await self.hears(self.slides, *burst)
        self.assertEqual(await self.kept(), b"49")
        await self.hears(self.other, *burst[25:])
        self.assertEqual(await self.kept(), b"49")

    async def test_a_clock_that_was_set_back(self) -> None:
        await self.hears(self.slides, self.message("before"))
        await self.hears(self.slides, self.message("after", NOW - 3600))
        self.assertEqual(await self.kept(), b"after")

    async def test_a_clock_that_was_set_back_on_a_topic_that_was_silent_while_many_others_were_not(self) -> None:
        await self.hears(self.slides, self.message("before"))
        for number in range(3 * RECENT):
            self.slides.keep("/topic/other", self.message(str(number)))
        await self.hears(self.slides, self.message("after", NOW - 3600))
        self.assertEqual(await self.kept(), b"after")

    async def test_publishers_whose_clocks_differ(self) -> None:
        fast, slow = self.message("fast", NOW + 3), self.message("slow", NOW - 3)
        for node in (self.slides, self.other):
            await self.hears(node, fast)
        for node in (self.slides, self.other):
            await self.hears(node, slow)
        self.assertEqual(await self.kept(), b"slow")

    async def test_of_one_publisher_the_number_counts_though_its_clock_was_set_back(self) -> None:
        serials = Serials()
        older, newer = (self.message(body, when)._replace(serial=serials.next()) for body, when in LATER_AND_EARLIER)
        await self.hears(self.other, newer)
        await self.hears(self.slides, older)  # It is late: it has not heard the newer one.
        self.assertEqual(await self.kept(), b"newer")
        self.assertTrue(self.slides.is_later(self.topic, newer, older))
        self.assertFalse(self.other.is_later(self.topic, older, newer))

    async def test_a_message_replaces_an_older_one_of_its_publisher_that_this_node_has_not_heard(self) -> None:
        serials = Serials()
        older, newer = (self.message(body, when)._replace(serial=serials.next()) for body, when in LATER_AND_EARLIER)
        await self.hears(self.other, older)
        await self.hears(self.slides, newer)
        self.assertEqual(await self.kept(), b"newer")

    async def test_what_a_node_has_heard_before_is_not_later_though_a_clock_was_set_back(self) -> None:
        before, after = self.message("before"), self.message("after", NOW - 3600)
        await self.hears(self.slides, before)
        self.slides.keep(self.topic, after)  # It is not written yet.
        self.assertFalse(self.slides.is_later(self.topic, before, after))
        await self.settled(self.slides)
        self.assertFalse(self.slides.is_later(self.topic, before, after))

    async def test_what_replaced_a_message_there_is_later_though_a_clock_was_set_back(self) -> None:
        before, after = self.message("before"), self.message("after", NOW - 3600)
        for node in (self.slides, self.other):  # One writes it, and the other one finds it there.
            await self.hears(node, before)
        self.assertTrue(self.slides.is_later(self.topic, after, before))
        self.assertTrue(self.other.is_later(self.topic, after, before))
        self.assertFalse(self.node().is_later(self.topic, after, before), "it does not know")

    async def test_a_message_that_was_never_there_tells_nothing_about_an_earlier_one(self) -> None:
        newer, late, older = self.message("newer"), self.message("late", NOW - 1), self.message("older", NOW - 2)
        await self.hears(self.other, newer)
        await self.hears(self.slides, late)
        self.assertFalse(self.slides.is_later(self.topic, older, late))
        self.assertTrue(self.slides.is_later(self.topic, newer, late))
        self.assertFalse(self.slides.is_later(self.topic, late, late))

    async def test_a_node_that_has_just_started_replaces_what_is_older(self) -> None:
        await self.hears(self.slides, self.message("from before", NOW - 1))
        await self.hears(self.other, self.message("first"))
        self.assertEqual(await self.kept(), b"first")

    async def test_all_nodes_have_started_anew_and_what_is_there_is_from_the_future(self) -> None:
        await self.hears(self.slides, self.message("wrong clock", NOW + AHEAD_SECONDS + 1))
        await self.hears(self.other, self.message("first"))
        self.assertEqual(await self.kept(), b"first")

    async def test_what_came_while_memcached_was_read_is_written_at_once(self) -> None:
        self.slides.keep(self.topic, self.message("1"))
        writing = self.slides.write()
        self.slides.keep(self.topic, self.message("2"))
        await writing
        self.assertEqual(await self.kept(), b"2")

    async def test_nodes_that_write_at_the_same_time_agree(self) -> None:
        one, two = self.message("1"), self.message("2")
        nodes = [self.node() for _ in range(5)]
        for number, node in enumerate(nodes):
            for message in (one, two)[: 1 + number % 2]:
                node.keep(self.topic, message)
        await gatherResults([node.write() for node in nodes])
        self.assertEqual(await self.kept(), b"2")

    async def test_what_is_there_already_is_not_written_again(self) -> None:
        message = self.message("1")
        await self.hears(self.slides, message)
        before = await self.memcached.gets_many([cache_key("radiovis", "last", self.topic)])
        await self.hears(self.other, message)
        self.assertEqual(await self.memcached.gets_many(list(before)), before)


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
