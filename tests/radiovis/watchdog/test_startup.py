"""What is remembered from before a restart: a real memcached and a real journal."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.cache.memcached import Memcached, cache_key
from fanout.hub.message import Message
from fanout.journal.journal import Journal, JournalSettings
from fanout.journal.records import Record
from radiovis.last_slides import encode
from radiovis.settings import WatchdogSettings
from radiovis.watchdog.startup import AT_ONCE, StartupState
from radiovis.watchdog.topic_deadlines import Liveness
from tests import services

NOW = 1_795_294_643.0
DEFAULT = (("expires", "0"), ("priority", "0"))
LONG_AGO = WatchdogSettings(FB_FALLBACK_TIME=1).model_copy(update={"FB_FALLBACK_TIME": 0})
"""A memcached of the tests counts as one that was started long ago."""


class Remembering(unittest.TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.channel = f"/topic/id/{uuid4().hex}/"

    async def memcached(self, address: str = "") -> Memcached:
        memcached = Memcached(reactor, address or str(await deferToThread(services.memcached)))
        self.addCleanup(memcached.stop)
        return memcached

    def journal(self) -> Journal:
        journal = Journal(reactor, JournalSettings(JOURNAL_FILE=""))
        self.addCleanup(journal.stop)
        return journal

    async def keep(self, memcached: Memcached, *messages: Message) -> None:
        """As a node does."""
        for message in messages:
            topic = message.topic
            await memcached.set(cache_key("radiovis", "last", topic), encode(topic, message), 100)

    async def test_the_last_message_of_a_topic_and_whether_it_was_a_default(self) -> None:
        memcached = await self.memcached()
        text, image = self.channel + "text", self.channel + "image"
        await self.keep(memcached, Message(text, b"TEXT x", "id", 1000), Message(image, b"SHOW x", "12", 900, DEFAULT))
        memory = StartupState(memcached, None, LONG_AGO, lambda: NOW, lambda: NOW)
        found = await memory.recall([text, image, self.channel + "other"])
        self.assertEqual(found, {text: Liveness(1000), image: Liveness(900, is_default=True)})

    async def test_of_memcached_and_journal_the_later_counts(self) -> None:
        memcached, journal = await self.memcached(), self.journal()
        one, two, three = (self.channel + str(number) for number in range(3))
        await self.keep(memcached, Message(one, b"x", "id", 1000), Message(two, b"x", "id", 1000))
        await journal.add(Record(two, b"x", (), 2000, ""))
        await journal.add(Record(three, b"x", (), 500, ""))
        memory = StartupState(memcached, journal, LONG_AGO, lambda: NOW, lambda: NOW)
        self.assertEqual(
            await memory.recall([one, two, three]), {one: Liveness(1000), two: Liveness(2000), three: Liveness(500)}
        )

    async def test_a_memcached_that_is_down_may_have_heard_of_all(self) -> None:
        memcached = await self.memcached(f"127.0.0.1:{services.free_port()}")
        memory = StartupState(memcached, None, LONG_AGO, lambda: NOW, lambda: NOW)
        self.assertEqual(await memory.recall([self.channel]), {self.channel: Liveness(NOW)})

    async def test_one_that_was_restarted_may_have_heard_of_those_it_does_not_know(self) -> None:
        memcached = await self.memcached()
        known, other = self.channel + "text", self.channel + "image"
        await self.keep(memcached, Message(known, b"TEXT x", "id", 1000))
        memory = StartupState(memcached, None, WatchdogSettings(FB_FALLBACK_TIME=86_400), lambda: NOW, lambda: NOW)
        self.assertEqual(await memory.recall([known, other]), {known: Liveness(1000), other: Liveness(NOW)})
        self.assertEqual(await memory.recall([known]), {known: Liveness(1000)})

    async def test_without_any_memory_nobody_was_alive(self) -> None:
        self.assertEqual(await StartupState(None, None, LONG_AGO, lambda: NOW, lambda: NOW).recall([self.channel]), {})

    async def test_many_topics(self) -> None:
        memcached = await self.memcached()
        last = self.channel + str(3 * AT_ONCE)
        await self.keep(memcached, Message(last, b"x", "id", 7))
        topics = [self.channel + str(number) for number in range(3 * AT_ONCE + 1)]
        self.assertEqual(
            await StartupState(memcached, None, LONG_AGO, lambda: NOW, lambda: NOW).recall(topics), {last: Liveness(7)}
        )
