"""What a topic means: country codes, `*` frequencies, and changes of the directory under live subscriptions."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial import unittest

from fanout.application.interface import Refused
from radiovis.directory.interface import Channel, DirectoryError
from radiovis.topic_resolution import TopicResolver
from tests.radiovis.scripted_directory import ScriptedDirectory

EXACT = "/topic/fm/4e1/4000/09580/"
WILDCARD = "/topic/fm/4e1/4000/*/"


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = ScriptedDirectory()
        self.directory.countries = {"ch": "4e1"}
        self.changes = 0
        self.resolver = TopicResolver(self.directory, self._count_change)

    def _count_change(self) -> None:
        self.changes += 1

    async def register(self, *channels: Channel) -> None:
        self.directory.registered = list(channels)
        await self.resolver.refresh()


class TestCountries(_Case):
    async def test_country_and_code_are_one_topic(self) -> None:
        self.assertEqual(await self.resolver.canonical("/topic/fm/CH/4000/09580/image"), EXACT + "image")
        self.assertEqual(await self.resolver.canonical(EXACT + "image"), EXACT + "image")

    async def test_a_country_is_asked_for_once(self) -> None:
        for spelling in ("ch", "CH", "Ch", "ch"):
            await self.resolver.canonical(f"/topic/fm/{spelling}/4000/09580/image")
        self.assertEqual(self.directory.asked, ["gcc ch"])

    async def test_an_unknown_country_stays_and_is_asked_for_again(self) -> None:
        topic = "/topic/fm/zz/4000/09580/image"
        self.assertEqual(await self.resolver.canonical(topic), topic)
        self.directory.countries["zz"] = "fff"
        self.assertEqual(await self.resolver.canonical(topic), "/topic/fm/fff/4000/09580/image")

    async def test_a_country_stays_as_it_is_while_the_directory_is_down(self) -> None:
        self.directory.down = True
        topic = "/topic/fm/ch/4000/09580/image"
        self.assertEqual(await self.resolver.canonical(topic), topic)

    async def test_a_country_once_known_outlives_the_directory(self) -> None:
        topic = "/topic/fm/ch/4000/09580/image"
        await self.resolver.canonical(topic)
        self.directory.down = True
        self.assertEqual(await self.resolver.canonical(topic), EXACT + "image")

    async def test_at_once_only_if_looked_up_before(self) -> None:
        topic = "/topic/fm/ch/4000/09580/image"
        self.assertIsNone(self.resolver.canonical_if_known(topic))
        self.assertEqual(self.resolver.canonical_as_known(topic), topic)
        await self.resolver.canonical(topic)
        self.assertEqual(self.resolver.canonical_if_known(topic), EXACT + "image")
        self.assertEqual(self.resolver.canonical_if_known("/topic/id/a/b/image"), "/topic/id/a/b/image")


class TestResolve(_Case):
    async def test_a_listed_frequency_is_its_own(self) -> None:
        await self.register(Channel(EXACT, 1), Channel(WILDCARD, 2))
        self.assertEqual(await self.resolver.resolve(EXACT + "image"), EXACT + "image")
        self.assertEqual(await self.resolver.resolve("/topic/fm/ch/4000/09580/image"), EXACT + "image")

    async def test_another_frequency_of_the_station_is_its_star(self) -> None:
        await self.register(Channel(WILDCARD, 2))
        for topic in ("/topic/fm/4e1/4000/10800/image", "/topic/fm/CH/4000/10800/image"):
            self.assertEqual(await self.resolver.resolve(topic), WILDCARD + "image")

    async def test_a_frequency_without_a_default_slide_gives_way_to_a_registered_star(self) -> None:
        await self.register(Channel(EXACT, 1, listed=False), Channel(WILDCARD, 2))
        self.assertEqual(await self.resolver.resolve(EXACT + "image"), WILDCARD + "image")

    async def test_without_a_star_a_frequency_is_its_own(self) -> None:
        await self.register(Channel(EXACT, 1, listed=False))
        self.assertEqual(await self.resolver.resolve(EXACT + "image"), EXACT + "image")
        self.assertEqual(await self.resolver.resolve("/topic/fm/4e1/4000/10800/x"), "/topic/fm/4e1/4000/10800/x")

    async def test_a_star_of_another_station_is_none_of_ours(self) -> None:
        await self.register(Channel("/topic/fm/4e1/4001/*/", 2))
        self.assertEqual(await self.resolver.resolve(EXACT + "image"), EXACT + "image")

    async def test_a_registered_star_may_be_asked_for_by_an_aggregator(self) -> None:
        await self.register(Channel(WILDCARD, 2))
        self.assertEqual(await self.resolver.resolve(WILDCARD + "image"), WILDCARD + "image")

    async def test_an_unregistered_star_and_misshaped_topics_are_refused(self) -> None:
        for topic in (WILDCARD + "image", "/topic/fm/x", "/topic/fm/", EXACT):
            with self.assertRaises(Refused) as caught:
                await self.resolver.resolve(topic)
            self.assertEqual(caught.exception.summary, "Your destination does not match required format.")

    async def test_topics_that_are_not_fm_are_taken_verbatim(self) -> None:
        for topic in ("/topic/id/www.ebu.ch/x/image", "/topic/x", "/queue/é", "*"):
            self.assertEqual(await self.resolver.resolve(topic), topic)

    async def test_a_star_registered_with_a_country_serves_code_and_country(self) -> None:
        await self.register(Channel("/topic/fm/CH/4000/*/", 2))
        self.assertEqual(await self.resolver.resolve("/topic/fm/4e1/4000/10800/image"), WILDCARD + "image")


REVERSED = "/topic/id/ch/ebu/www/rock/"
STANDARD = "/topic/id/www.ebu.ch/rock/"


class TestReversedLabels(_Case):
    """Contract §2, change 15, and fault 19."""

    async def test_the_standards_spelling_is_that_of_the_directory(self) -> None:
        await self.register(Channel(REVERSED, 1))
        for topic in (STANDARD + "image", REVERSED + "image", "/topic/id/WWW.EBU.CH/rock/image"):
            self.assertEqual(await self.resolver.resolve(topic), REVERSED + "image")
            self.assertEqual(self.resolver.canonical_if_known(topic), REVERSED + "image")
            self.assertEqual(self.resolver.resolve_again(topic), REVERSED + "image")
        self.assertEqual(await self.resolver.canonical(STANDARD), REVERSED)
        self.assertEqual(await self.resolver.canonical(STANDARD + "deeper/text"), REVERSED + "deeper/text")

    async def test_a_channel_that_is_a_domain_alone(self) -> None:
        await self.register(Channel("/topic/id/ch/ebu/www/", 1))
        self.assertEqual(await self.resolver.resolve("/topic/id/www.ebu.ch/text"), "/topic/id/ch/ebu/www/text")

    async def test_topics_of_nobody_and_of_others_stay(self) -> None:
        await self.register(Channel(REVERSED, 1), Channel("/topic/id/ch/", 2), Channel("/topic/id/com/", 3))
        for topic in (
            "/topic/id/www.ebu.ch/talk/image",
            "/topic/id/www.ebu.ch/rock",
            "/topic/id/www.other.ch/rock/image",
            "/topic/id/example.com/image",
            "/topic/id/",
            "/topic/id/" + "a.b/" * 200,
        ):
            self.assertEqual(await self.resolver.resolve(topic), topic)

    async def test_both_spellings_registered_are_two_channels(self) -> None:
        for _ in range(2):  # The second time with what is known from the first.
            await self.register(Channel(REVERSED, 1), Channel(STANDARD, 2))
            self.assertEqual(await self.resolver.resolve(STANDARD + "image"), STANDARD + "image")
            self.assertEqual(await self.resolver.resolve(REVERSED + "image"), REVERSED + "image")

    async def test_a_broader_channel_in_the_standards_spelling_comes_first(self) -> None:
        await self.register(Channel(REVERSED, 1), Channel("/topic/id/www.ebu.ch/", 2))
        self.assertEqual(await self.resolver.resolve(STANDARD + "image"), STANDARD + "image")

    async def test_live_subscriptions_move_with_the_directory(self) -> None:
        await self.register(Channel(STANDARD, 1))
        self.assertEqual(self.resolver.resolve_again(STANDARD + "image"), STANDARD + "image")
        await self.register(Channel(REVERSED, 1))
        self.assertEqual(self.resolver.resolve_again(STANDARD + "image"), REVERSED + "image")
        await self.register(Channel(STANDARD, 1))
        self.assertEqual(self.resolver.resolve_again(STANDARD + "image"), STANDARD + "image")
        self.assertEqual(self.changes, 3)


class TestRefresh(_Case):
    async def test_says_when_something_changed_and_only_then(self) -> None:
        await self.register(Channel(WILDCARD, 2))
        await self.resolver.refresh()
        self.assertEqual(self.changes, 1)
        await self.register(Channel(WILDCARD, 2), Channel(EXACT, 1))
        self.assertEqual(self.changes, 2)

    async def test_live_subscriptions_move_to_a_new_frequency_and_back(self) -> None:
        await self.register(Channel(WILDCARD, 2))
        self.assertEqual(self.resolver.resolve_again(EXACT + "image"), WILDCARD + "image")
        await self.register(Channel(WILDCARD, 2), Channel(EXACT, 1))
        self.assertEqual(self.resolver.resolve_again(EXACT + "image"), EXACT + "image")
        await self.register()
        self.assertEqual(self.resolver.resolve_again(WILDCARD + "image"), WILDCARD + "image")

    async def test_an_outage_changes_nothing(self) -> None:
        await self.register(Channel(WILDCARD, 2))
        self.directory.down = True
        with self.assertRaises(DirectoryError):
            await self.resolver.refresh()
        self.assertEqual(await self.resolver.resolve(EXACT + "image"), WILDCARD + "image")
        self.assertEqual(self.changes, 1)

    async def test_a_country_that_got_another_code_moves_its_topics(self) -> None:
        topic = "/topic/fm/ch/4000/09580/image"
        await self.resolver.canonical(topic)
        self.directory.countries["ch"] = "4e2"
        await self.resolver.refresh()
        self.assertEqual(self.resolver.resolve_again(topic), "/topic/fm/4e2/4000/09580/image")
        self.assertEqual(self.changes, 1)

    async def test_a_country_that_is_forgotten_keeps_its_code(self) -> None:
        topic = "/topic/fm/ch/4000/09580/image"
        await self.resolver.canonical(topic)
        self.directory.countries = {}
        await self.resolver.refresh()
        self.assertEqual(self.resolver.resolve_again(topic), EXACT + "image")

    async def test_a_subscription_resolved_while_the_country_was_unknown_moves_when_it_is_known(self) -> None:
        """The directory was down when the radio came; what it asked for means the code as soon as that is known."""
        self.directory.down = True
        topic = "/topic/fm/ch/4000/09580/image"
        self.assertEqual(await self.resolver.resolve(topic), topic)
        self.directory.down = False
        await self.resolver.refresh()
        self.assertEqual(self.resolver.resolve_again(topic), EXACT + "image")
        self.assertEqual(self.changes, 1)

    async def test_whoever_learns_a_country_brings_the_radios_along_that_asked_before(self) -> None:
        topic = "/topic/fm/ch/4000/09580/image"
        self.directory.down = True
        await self.resolver.resolve(topic)
        self.directory.down = False
        await self.resolver.resolve("/topic/fm/CH/4000/10800/text")
        self.assertEqual(self.resolver.resolve_again(topic), EXACT + "image")
        self.assertEqual(self.changes, 1)

    async def test_countries_without_a_code_are_asked_for_again_a_few_at_a_time_and_in_turn(self) -> None:
        """Anybody may subscribe to any country: that must not become a flood of questions every minute."""
        countries = [first + second for first in "abcdef" for second in "uvwxyz"]
        for country in countries:
            await self.resolver.resolve(f"/topic/fm/{country}/4000/09580/image")
        self.directory.asked.clear()
        for _ in range(4):
            await self.resolver.refresh()
        asked = [question.removeprefix("gcc ") for question in self.directory.asked if question != "topics"]
        self.assertEqual(asked, (countries * 2)[:40])

    async def test_a_directory_that_fails_is_not_asked_for_the_other_countries_too(self) -> None:
        for country in ("aa", "bb", "cc"):
            await self.resolver.resolve(f"/topic/fm/{country}/4000/09580/image")
        self.directory.asked.clear()
        self.directory.failing = {"gcc"}
        await self.resolver.refresh()
        self.assertEqual(self.directory.asked, ["topics", "gcc aa"])

    async def test_a_channel_with_and_without_a_default_slide_in_two_spellings_has_one(self) -> None:
        await self.register(
            Channel(EXACT, 1), Channel("/topic/fm/ch/4000/09580/", 3, listed=False), Channel(WILDCARD, 2)
        )
        self.assertEqual(await self.resolver.resolve(EXACT + "image"), EXACT + "image")

    async def test_answers_may_come_late(self) -> None:
        self.directory.hold()
        resolving = Deferred.fromCoroutine(self.resolver.resolve("/topic/fm/ch/4000/09580/image"))
        self.assertNoResult(resolving)
        self.directory.release()
        self.assertEqual(await resolving, EXACT + "image")
