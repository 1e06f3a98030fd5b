"""The rights of publishers, and the messages of a publish (contract §1.5)."""

from __future__ import annotations

import os
from itertools import count
from uuid import RFC_4122, UUID

from twisted.trial import unittest

from fanout.application.interface import Peer, Principal, Refused
from fanout.hub.message import Message, Origin, Publication
from radiovis import publish_rights
from radiovis.publish_rights import FORWARDED, PublishRights, forwarded, new_id
from radiovis.topic_resolution import TopicResolver
from tests.radiovis.scripted_directory import ScriptedDirectory

ROCK = Principal("1.rock", "1")
NOW = 1795294643.9


def send(destination: str, body: bytes = b"TEXT x", **headers: str) -> Publication:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Publication(destination, (("destination", destination), *named), body)


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = ScriptedDirectory()
        self.directory.countries = {"ch": "4e1"}
        self.directory.stations = {"1": ("/topic/fm/4e1/4000/09580/", "/topic/id/rock.example/one/")}
        numbers = count(1)
        resolver = TopicResolver(self.directory, lambda: None)
        self.publishing = PublishRights(self.directory, resolver, lambda: NOW, lambda: f"id-{next(numbers)}")

    async def admit(self, *sends: Publication) -> tuple[Message, ...]:
        return await self.publishing.admit(ROCK, sends)

    async def assert_refused(self, summary: str, *sends: Publication, principal: Principal | None = ROCK) -> Refused:
        with self.assertRaises(Refused) as caught:
            await self.publishing.admit(principal, sends)
        self.assertEqual(caught.exception.summary, summary)
        return caught.exception

    def assert_names(self, login: str, topic: str, refused: Refused) -> None:
        """The sentence alone names the login and the topic of the refused publish."""
        self.assertTrue(refused.detail.startswith(f"{login} may not publish to {topic}: "), refused.detail)


class TestWhoMayPublishWhat(_Case):
    async def test_anything_below_the_stations_channels(self) -> None:
        for channel in self.directory.stations["1"]:
            for rest in ("image", "text", "anything/deeper", ""):
                (message,) = await self.admit(send(channel + rest))
                self.assertEqual(message.topic, channel + rest)

    async def test_the_senders_spelling_travels_on(self) -> None:
        topic = "/topic/fm/CH/4000/09580/image"
        (message,) = await self.admit(send(topic))
        self.assertEqual(message.topic, topic)

    async def test_a_channel_registered_with_a_country_may_be_written_with_its_code(self) -> None:
        self.directory.stations["1"] = ("/topic/fm/ch/4000/09580/",)
        (message,) = await self.admit(send("/topic/fm/4e1/4000/09580/image"))
        self.assertEqual(message.topic, "/topic/fm/4e1/4000/09580/image")

    async def test_nothing_of_others(self) -> None:
        for topic in (
            "/topic/fm/4e1/4001/09580/image",
            "/topic/fm/4e1/4000/09580",
            "/topic/fm/4e1/4000/095801/image",
            "/topic/fm/4e1/4000/*/image",
            " /topic/fm/4e1/4000/09580/image",
            "/topic/id/rock.example/one",
            "/topic/id/rock.example/../two/image",
            "/topic/*",
            "/topic/",
            "x",
        ):
            await self.assert_refused("You cannot do that.", send(topic))

    async def test_nobody_without_a_login(self) -> None:
        topic = "/topic/id/rock.example/one/text"
        await self.assert_refused("You cannot do that.", send(topic), principal=None)
        await self.assert_refused("You cannot do that.", send("/topic/*/text"), principal=None)
        refused = await self.assert_refused("You cannot do that.", send(topic), principal=None)
        self.assertIn(topic, refused.detail)
        self.assertEqual(self.directory.asked, [])

    async def test_a_station_without_channels_may_publish_nothing(self) -> None:
        topic = "/topic/id/rock.example/one/text"
        await self.assert_refused("You cannot do that.", send(topic), principal=Principal("7.none", "7"))

    async def test_no_destination(self) -> None:
        await self.assert_refused("No destination ?", send(""))

    async def test_a_directory_that_is_down_is_named(self) -> None:
        self.directory.down = True
        refused = await self.assert_refused("You cannot do that.", send("/topic/id/rock.example/one/text"))
        self.assertIn("directory", refused.detail)
        self.assert_names("1.rock", "/topic/id/rock.example/one/text", refused)


class TestTransactions(_Case):
    async def test_all_in_order(self) -> None:
        sends = [send("/topic/id/rock.example/one/text", f"TEXT {n}".encode()) for n in range(5)]
        messages = await self.admit(*sends)
        self.assertEqual([message.body for message in messages], [each.body for each in sends])

    async def test_or_none(self) -> None:
        good = send("/topic/id/rock.example/one/text")
        await self.assert_refused("You cannot do that.", good, send("/topic/other/text"))
        await self.assert_refused("No destination ?", good, send(""))

    async def test_an_empty_one_makes_no_message(self) -> None:
        self.assertEqual(await self.admit(), ())


class TestRate(_Case):
    """What stations publish in a second."""

    def setUp(self) -> None:
        super().setUp()
        self.now = NOW
        self.directory.stations = {"1": ("/topic/rock/",), "2": ("/topic/jazz/",)}
        resolver = TopicResolver(self.directory, lambda: None)
        self.patch(publish_rights, "PUBLISH_OCTETS", 20_000)
        self.publishing = PublishRights(self.directory, resolver, lambda: self.now)

    async def test_one_alone_has_half_of_it_and_again_a_second_later(self) -> None:
        body = b"x" * 9_000
        await self.admit(send("/topic/rock/image", body))
        refused = await self.assert_refused("Too many messages", send("/topic/rock/image", body))
        self.assertTrue(refused.temporary)
        self.assertIn("share of the node", refused.detail)
        self.assert_names("1.rock", "/topic/rock/image", refused)
        (message,) = await self.publishing.admit(Principal("2.jazz", "2"), [send("/topic/jazz/image")])
        self.assertEqual(message.topic, "/topic/jazz/image")
        self.now += 1
        await self.admit(send("/topic/rock/image", body))
        self.assertEqual(self.publishing.budget.refused, 1)

    async def test_a_transaction_counts_as_a_whole(self) -> None:
        await self.assert_refused("Too many messages", *[send("/topic/rock/image", b"x" * 2_500)] * 4)
        await self.admit(*[send("/topic/rock/image", b"x" * 2_500)] * 3)


class TestBroadcast(_Case):
    async def test_one_message_per_channel_with_one_id(self) -> None:
        messages = await self.admit(send("/topic/*/image", b"SHOW http://x/"))
        self.assertEqual(
            [(message.topic, message.message_id, message.body) for message in messages],
            [(channel + "image", "id-1", b"SHOW http://x/") for channel in self.directory.stations["1"]],
        )

    async def test_of_a_station_without_channels_makes_no_message(self) -> None:
        self.directory.stations["1"] = ()
        self.assertEqual(await self.admit(send("/topic/*/image")), ())


class TestMessages(_Case):
    async def test_they_tell_who_published(self) -> None:
        rock = ROCK.connected(Peer("192.0.2.1", "stomp"))
        (message,) = await self.publishing.admit(rock, [send("/topic/id/rock.example/one/image")])
        self.assertEqual(message.origin, Origin("1", "1.rock", "192.0.2.1", "stomp"))

    TOPIC = "/topic/id/rock.example/one/image"

    async def test_what_is_missing_is_filled_in(self) -> None:
        (message,) = await self.admit(send(self.TOPIC, b"SHOW http://x/"))
        self.assertEqual((message.message_id, message.when, message.headers), ("id-1", 1795294643, ()))
        self.assertEqual(message.body, b"SHOW http://x/")

    async def test_a_given_message_id_is_kept_and_an_empty_one_is_none(self) -> None:
        (message,) = await self.admit(send(self.TOPIC, message_id="ID:7"))
        self.assertEqual(message.message_id, "ID:7")
        (message,) = await self.admit(send(self.TOPIC, message_id=""))
        self.assertEqual(message.message_id, "id-1")

    async def test_only_known_headers_are_forwarded_and_none_that_is_empty(self) -> None:
        (message,) = await self.admit(
            send(self.TOPIC, trigger_time="NOW", link="", SlideId="4", persistent="false", when="0", topic="/topic/x")
        )
        self.assertEqual(message.headers, (("trigger-time", "NOW"), ("SlideId", "4")))
        self.assertEqual(message.when, 1795294643)

    async def test_the_first_of_repeated_headers_counts(self) -> None:
        headers = (("link", "http://a/"), ("link", "http://b/"), ("message-id", "1"), ("message-id", "2"))
        (message,) = await self.admit(Publication(self.TOPIC, headers, b""))
        self.assertEqual((message.message_id, message.headers), ("1", (("link", "http://a/"),)))

    def test_forwarded_headers_have_one_order(self) -> None:
        given = dict.fromkeys(reversed(FORWARDED), "x")
        self.assertEqual([name for name, _ in forwarded(given)], list(FORWARDED))


class NewIds(unittest.TestCase):
    def test_each_is_another_random_uuid_in_its_usual_spelling(self) -> None:
        ids = {new_id() for _ in range(10_000)}
        self.assertEqual(len(ids), 10_000)
        for each in ids:
            uuid = UUID(each)
            self.assertEqual((str(uuid), uuid.version, uuid.variant), (each, 4, RFC_4122))

    def test_a_forked_process_gives_others(self) -> None:
        """Workers of one machine begin as copies of one process."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, new_id().encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            self.assertNotEqual(pipe.read(), new_id())
