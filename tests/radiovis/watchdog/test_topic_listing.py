"""Which topics the watchdog looks after."""

from __future__ import annotations

from structlog.testing import capture_logs
from twisted.trial import unittest

from radiovis.directory.interface import Channel, DirectoryError
from radiovis.settings import WatchdogSettings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.topic_deadlines import Liveness, Staleness
from radiovis.watchdog.topic_listing import TopicListing
from tests.radiovis.scripted_directory import ScriptedDirectory
from tests.radiovis.watchdog.fakes import FakeMemory

ROCK, TALK = "/topic/fm/4e1/4000/09580/", "/topic/fm/4e1/4001/09700/"
NOW = 1_795_294_643.0


class Listing(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = ScriptedDirectory()
        self.directory.countries["ch"] = "4e1"
        self.directory.registered = [Channel(ROCK, 1), Channel(TALK, 2)]
        self.silence = Staleness(WatchdogSettings(FB_FALLBACK_TIME=60))
        self.memory = FakeMemory()
        resolver = TopicResolver(self.directory, lambda: None)
        self.listing = TopicListing(self.directory, resolver, self.silence, self.memory.recall, lambda: NOW)

    async def test_both_topics_of_each_listed_channel(self) -> None:
        self.directory.registered.append(Channel("/topic/id/x/y/", 3, listed=False))
        await self.listing.reload()
        self.assertEqual(self.silence.due(NOW, NOW), [ROCK + "text", ROCK + "image", TALK + "text", TALK + "image"])
        self.assertEqual({prefix: channel.id for prefix, channel in self.listing.channels.items()}, {ROCK: 1, TALK: 2})

    async def test_an_outage_keeps_the_last_good_list(self) -> None:
        await self.listing.reload()
        self.directory.down = True
        with self.assertRaises(DirectoryError):
            await self.listing.reload()
        self.assertEqual((len(self.silence), len(self.listing.channels)), (4, 2))

    async def test_a_change_is_taken_over(self) -> None:
        await self.listing.reload()
        self.directory.registered = [Channel(TALK, 2)]
        await self.listing.reload()
        self.assertNotIn(ROCK + "text", self.silence)

    async def test_what_was_alive_before_is_recalled_for_new_topics_only(self) -> None:
        self.memory.lives[ROCK + "text"] = Liveness(NOW - 5)
        await self.listing.reload()
        self.assertNotIn(ROCK + "text", self.silence.due(NOW, NOW))
        self.directory.registered.append(Channel("/topic/id/x/y/", 3))
        await self.listing.reload()
        self.assertEqual(self.memory.asked[1], ["/topic/id/x/y/text", "/topic/id/x/y/image"])

    async def test_a_channel_without_its_trailing_slash(self) -> None:
        self.directory.registered = [Channel(ROCK.rstrip("/"), 1)]
        with capture_logs() as logs:
            await self.listing.reload()
            await self.listing.reload()
        self.assertIn(ROCK + "image", self.silence)
        self.assertEqual(self.listing.channels[ROCK].topic, ROCK)
        self.assertEqual([log["event"] for log in logs].count("topics.no_trailing_slash"), 1)

    async def test_a_topic_listed_twice_counts_once_and_is_logged_once(self) -> None:
        self.directory.registered = [Channel(ROCK, 1), Channel(ROCK, 7), Channel("/topic/fm/ch/4000/09580/", 8)]
        with capture_logs() as logs:
            await self.listing.reload()
            await self.listing.reload()
        self.assertEqual((len(self.silence), self.listing.channels[ROCK].id), (2, 1))
        self.assertEqual([log["event"] for log in logs].count("topics.listed_twice"), 2)

    async def test_a_channel_with_a_country_is_kept_in_its_stations_spelling(self) -> None:
        self.directory.registered = [Channel("/topic/fm/ch/4000/09580/", 8)]
        await self.listing.reload()
        self.assertIn(ROCK + "text", self.silence)
        self.assertEqual(self.listing.channels[ROCK].topic, "/topic/fm/ch/4000/09580/")
