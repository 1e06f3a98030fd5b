"""Contract §1.12."""

from __future__ import annotations

from twisted.trial import unittest

from radiovis.directory.fake import FakeDirectory
from radiovis.directory.interface import Channel, Default
from radiovis.settings import Settings

GCC_TOPIC, CC_TOPIC = "/topic/fm/4e1/4000/10800/", "/topic/fm/ch/4000/10800/"


class TestFakeDirectory(unittest.TestCase):
    def setUp(self) -> None:
        self.fake = FakeDirectory(
            Settings(
                TEST_TOPICS=["/topic/test1/", "/topic/test2"],
                TEST_ECC={"ch": "4e1"},
                TEST_ECC_TOPIC_GCC=GCC_TOPIC,
                TEST_ECC_TOPIC_CC=CC_TOPIC,
                TEST_WATCHDOG_TOPIC=[("/topic/watchdog/", 1)],
                TEST_CHANNEL_DEFAULT={"filename": "1.png", "public_url": "i"},
            )
        )

    async def test_logins(self) -> None:
        cases = {
            ("1.test", "test", "127.0.0.1"): True,
            ("4.test", "test", "10.0.0.1"): True,
            ("1.test", "Test", "127.0.0.1"): False,
            ("1.other", "test", "127.0.0.1"): False,
            ("10.test", "test", "127.0.0.1"): False,
            ("2.testip", "127.0.0.1", "127.0.0.1"): True,
            ("2.testip", "127.0.0.1", "127.0.0.2"): False,
            ("1.testip", "127.0.0.1", "127.0.0.1"): False,
            ("", "", "127.0.0.1"): False,
        }
        for login, allowed in cases.items():
            self.assertIs(await self.fake.check_auth(*login), allowed, login)

    async def test_channels_of_each_station(self) -> None:
        self.assertEqual(await self.fake.channels("1"), ("/topic/test1/", "/topic/test2/"))
        self.assertEqual(await self.fake.channels("2"), ())
        self.assertEqual(await self.fake.channels("3"), (GCC_TOPIC, CC_TOPIC))
        self.assertEqual(await self.fake.channels("4"), ("/topic/watchdog/",))
        self.assertEqual(await self.fake.channels("5"), ())

    async def test_all_topics_are_listed_each_with_a_number_of_its_own(self) -> None:
        topics = await self.fake.topics()
        self.assertEqual(topics[0], Channel("/topic/watchdog/", 1, True))
        self.assertEqual(len({channel.id for channel in topics}), 5)
        self.assertTrue(all(channel.listed for channel in topics))
        stations = [await self.fake.channels(station) for station in "134"]
        self.assertEqual({channel.topic for channel in topics}, {topic for station in stations for topic in station})

    async def test_countries_and_default(self) -> None:
        self.assertEqual([await self.fake.gcc(country) for country in ("ch", "zz")], ["4e1", None])
        self.assertEqual([await self.fake.default(channel) for channel in (1, 2)], [Default("i"), None])

    async def test_the_default_slide_at_the_image_locations(self) -> None:
        fake = FakeDirectory(Settings(FB_IMAGE_LOCATIONS="http://cdn/", TEST_CHANNEL_DEFAULT={"filename": "1.png"}))
        self.assertEqual(await fake.default(1), Default("http://cdn/1.png"))
