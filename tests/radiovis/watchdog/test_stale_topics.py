"""When defaults are sent, on a clock of the test's own."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.hub.message import Message
from radiovis.directory.interface import Channel, Default, DirectoryError
from radiovis.preflight.message_check import Preflight
from radiovis.preflight.slide_verdicts import SlideVerdicts
from radiovis.settings import SlideSettings, WatchdogSettings
from radiovis.topic_resolution import TopicResolver
from radiovis.watchdog.default_messages import IMAGE, TEXT, default_message, is_default
from radiovis.watchdog.stale_topics import AT_ONCE, StaleTopics
from radiovis.watchdog.topic_deadlines import Liveness, Staleness
from radiovis.watchdog.topic_listing import TopicListing
from tests.radiovis.preflight.slides import Slides
from tests.radiovis.scripted_directory import ScriptedDirectory
from tests.radiovis.watchdog.fakes import FakeBus, FakeLeader, FakeMemory
from tests.wrong_clock import WrongClock

ROCK, TALK = "/topic/fm/4e1/4000/09580/", "/topic/fm/4e1/4001/09700/"
CHECK, PATIENCE, RELOAD = 15, 60, 20
SETTINGS = WatchdogSettings(FB_FALLBACK_CHECK=CHECK, FB_FALLBACK_TIME=PATIENCE, FB_CHANNEL_CACHE=RELOAD)


class Directory(ScriptedDirectory):
    """With defaults; ``broken`` channels fail."""

    def __init__(self) -> None:
        super().__init__()
        self.defaults: dict[int, Default | None] = {}
        self.broken: set[int] = set()

    async def default(self, channel: int) -> Default | None:
        self._ask(f"default {channel}")
        if channel in self.broken:
            raise DirectoryError(f"500 for {channel}")
        return self.defaults.get(channel)


class Stale(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = WrongClock()
        self.clock.advance(1_795_294_643)
        self.directory = Directory()
        self.directory.defaults = {
            1: Default("http://slides/rock.png", "Rock", "http://rock/"),
            2: Default("http://slides/talk.png", "Talk"),
        }
        self.bus, self.leader, self.memory = FakeBus(), FakeLeader(), FakeMemory()
        self.silence = Staleness(SETTINGS)
        resolver = TopicResolver(self.directory, lambda: None)
        self.listing = TopicListing(self.directory, resolver, self.silence, self.memory.recall, self.clock.seconds)
        self.stale = StaleTopics(
            self.silence,
            self.listing,
            self.directory,
            self.bus,
            self.leader,
            self.clock,
            SETTINGS,
            unix_time=self.clock.unix_time,
        )
        self.list(Channel(ROCK, 1), Channel(TALK, 2))

    def list(self, *channels: Channel) -> None:
        self.directory.registered = list(channels)
        self.successResultOf(Deferred.fromCoroutine(self.listing.reload()))

    def start_round(self) -> Deferred[None]:
        begun = Deferred.fromCoroutine(self.stale.check())
        self.clock.pump([0] * 3000)
        return begun

    def look(self) -> list[tuple[str, str]]:
        """Do a round; what it published, which then comes back over the bus."""
        before = len(self.bus.published)
        self.successResultOf(self.start_round())
        for message in self.bus.published[before:]:
            self.silence.heard(message.topic, Liveness(self.clock.seconds(), is_default=True))
        return self.bus.bodies()[before:]

    def fail_round(self, error: type[Exception]) -> Failure:
        return self.failureResultOf(self.start_round(), error)

    def heard(self, topic: str) -> None:
        self.silence.heard(topic, Liveness(self.clock.seconds()))

    def test_a_default_says_when_by_the_machines_clock_and_comes_in_time(self) -> None:
        self.look()
        self.clock.set_by = -7200
        self.assertEqual(self.look(), [])
        self.clock.advance(PATIENCE + 1)
        self.assertEqual(len(self.look()), 4)
        message = self.bus.published[-1]
        self.assertEqual(message.when, int(self.clock.rightNow) - 7200)
        self.assertEqual(int(dict(message.headers)["timestamp"]) // 1000, message.when)

    def test_text_then_image_for_topics_nobody_ever_heard(self) -> None:
        self.assertEqual(
            self.look(),
            [
                (ROCK + "text", "TEXT Rock"),
                (ROCK + "image", "SHOW http://slides/rock.png"),
                (TALK + "text", "TEXT Talk"),
                (TALK + "image", "SHOW http://slides/talk.png"),
            ],
        )

    def test_preflight_looks_at_the_defaults_and_only_warns(self) -> None:
        slides = Slides()
        slides.at_once = {"http://slides/rock.png": ("HTTP 404",), "http://slides/talk.png": ()}
        settings = SlideSettings(PREFLIGHT="reject")
        preflight = Preflight(settings, SlideVerdicts(self.clock, slides.fetch), self.clock)
        self.stale._preflight = preflight
        self.assertEqual(len(self.look()), 4)
        self.assertEqual([str(each) for each in preflight.recent], [ROCK + "image: HTTP 404"])
        self.assertEqual(slides.urls, ["http://slides/rock.png", "http://slides/talk.png"])

    def test_an_idle_channel_repeats_its_default_for_ever(self) -> None:
        times = []
        for second in range(0, 200, 5):
            if self.look():
                times.append(second)
            self.clock.advance(5)
        self.assertEqual(times, [0, 60, 120, 180])

    def test_nothing_is_sent_while_a_topic_is_alive(self) -> None:
        self.look()
        for _ in range(20):
            for channel in (ROCK, TALK):
                self.heard(channel + "text")
                self.heard(channel + "image")
            self.clock.advance(55)
            self.assertEqual(self.look(), [])

    def test_a_station_that_sends_only_text_gets_its_default_image(self) -> None:
        self.list(Channel(ROCK, 1))
        self.look()
        images = 0
        for _ in range(12):
            self.clock.advance(CHECK)
            self.heard(ROCK + "text")
            sent = self.look()
            self.assertLessEqual({topic for topic, _ in sent}, {ROCK + "image"})
            images += len(sent)
        self.assertEqual(images, 3)

    def test_parts_the_station_has_not_given_are_not_sent(self) -> None:
        self.directory.defaults = {1: Default(text="Rock"), 2: None}
        self.assertEqual(self.look(), [(ROCK + "text", "TEXT Rock")])

    def test_a_default_given_later_is_shown_as_soon_as_the_list_would_be(self) -> None:
        self.directory.defaults = {}
        self.assertEqual(self.look(), [])
        self.directory.defaults = {1: Default(text="Rock")}
        self.clock.advance(RELOAD + 1)
        self.assertEqual(self.look(), [(ROCK + "text", "TEXT Rock")])

    def test_a_changed_default_is_shown_with_the_next_repeat(self) -> None:
        self.look()
        self.directory.defaults[1] = Default(text="Rock 2")
        self.clock.advance(PATIENCE + 1)
        self.assertIn((ROCK + "text", "TEXT Rock 2"), self.look())

    def test_while_the_directory_is_down_the_last_good_default_serves(self) -> None:
        self.look()
        self.directory.down = True
        self.clock.advance(PATIENCE + 1)
        self.assertEqual(len(self.look()), 4)

    def test_a_default_never_known_waits_for_the_directory_and_the_round_says_why(self) -> None:
        self.directory.down = True
        self.fail_round(DirectoryError)
        self.directory.down = False
        self.clock.advance(2 * CHECK + 1)
        self.assertEqual(len(self.look()), 4)

    def test_a_directory_that_is_down_is_not_asked_for_each_of_a_thousand_channels(self) -> None:
        self.list(*[Channel(f"/topic/fm/4e1/{number:04x}/09580/", number) for number in range(1000)])
        self.directory.down = True
        self.fail_round(DirectoryError)
        self.assertLessEqual(len([asked for asked in self.directory.asked if "default" in asked]), 2 * AT_ONCE)

    def test_channels_the_directory_fails_for_do_not_keep_the_others_from_their_defaults(self) -> None:
        channels = [Channel(f"/topic/fm/4e1/{number:04x}/09580/", number) for number in range(100)]
        self.list(*channels)
        self.directory.defaults = {number: Default(text=str(number)) for number in range(100)}
        self.directory.broken = set(range(30))
        shown = set()
        for _ in range(6):
            self.start_round().addErrback(lambda failure: failure.trap(DirectoryError))
            shown |= {message.topic for message in self.bus.published}
            for message in self.bus.published:
                self.silence.heard(message.topic, Liveness(self.clock.seconds(), is_default=True))
            self.clock.advance(CHECK)
        self.assertEqual(len(shown), 70)

    def test_a_publish_that_fails_is_tried_again_with_the_next_check(self) -> None:
        self.bus.refusing = True
        self.fail_round(BusError)
        self.bus.refusing = False
        self.assertEqual(self.look(), [])
        self.clock.advance(CHECK)
        self.assertEqual(len(self.look()), 4)

    def test_a_standby_sends_nothing_and_takes_over_where_the_leader_ended(self) -> None:
        self.leader.leading = self.leader.truth = False
        self.assertEqual((self.look(), self.leader.claims), ([], 0))
        self.heard(TALK + "text")
        self.heard(TALK + "image")
        self.leader.leading = self.leader.truth = True
        self.assertEqual({topic for topic, _ in self.look()}, {ROCK + "text", ROCK + "image"})

    def test_a_leader_that_was_frozen_asks_before_it_sends(self) -> None:
        self.leader.truth = False
        self.assertEqual(self.look(), [])
        self.assertEqual((self.leader.claims, self.leader.leading), (1, False))

    def test_each_default_is_sent_right_after_a_claim_of_its_own(self) -> None:
        self.look()
        self.assertEqual(self.leader.claims, 1 + len(self.bus.published))

    def test_a_lead_lost_between_two_defaults_ends_the_round(self) -> None:
        self.list(*[Channel(f"/topic/fm/4e1/{number:04x}/09580/", number) for number in range(100)])
        self.directory.defaults = {number: Default(text="x") for number in range(100)}
        for sent in (1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 7):
            self.bus.published.clear()
            self.leader.truth = self.leader.leading = True
            self.leader.last = self.leader.claims + 1 + sent  # One for the round, and one for each default.
            begun = Deferred.fromCoroutine(self.stale.check())
            self.clock.pump([0] * 10)
            self.failureResultOf(begun, BusError)
            self.assertEqual(len(self.bus.published), sent)
            self.clock.advance(CHECK)

    def test_ten_thousand_topics_of_which_one_percent_are_stale(self) -> None:
        self.list(*[Channel(f"/topic/fm/4e1/{number:04x}/09580/", number) for number in range(5000)])
        self.directory.defaults = {number: Default("http://i", "t") for number in range(5000)}
        for topic in list(self.silence._watched):
            self.heard(topic)
        self.clock.advance(PATIENCE - 1)
        for number in range(50, 5000):
            self.heard(f"/topic/fm/4e1/{number:04x}/09580/text")
            self.heard(f"/topic/fm/4e1/{number:04x}/09580/image")
        self.clock.advance(2)
        self.directory.asked.clear()
        self.assertEqual(len(self.look()), 100)
        self.assertEqual(len(self.directory.asked), 50)

    def test_a_channel_that_vanished_meanwhile_is_left_out(self) -> None:
        self.listing.channels = {}
        self.assertEqual(self.look(), [])


# The messages of the watchdog, to the octet (contract §1.9).

CHANNEL = "/topic/fm/4e1/4000/09580/"
NOW = 1_795_294_641.1689
FULL = Default("http://slides/rock.png", "Rock FM café", "http://rock/")


class Messages(unittest.TestCase):
    def message(self, kind: str, default: Default = FULL) -> Message:
        message = default_message(CHANNEL, kind, default, NOW)
        assert message is not None
        return message

    def test_text(self) -> None:
        message = self.message(TEXT)
        self.assertEqual((message.topic, message.body), (CHANNEL + "text", "TEXT Rock FM café".encode()))
        self.assertEqual(message.when, 1795294641)

    def test_image(self) -> None:
        message = self.message(IMAGE)
        self.assertEqual((message.topic, message.body), (CHANNEL + "image", b"SHOW http://slides/rock.png"))

    def test_headers(self) -> None:
        expected = {
            "trigger-time": "NOW",
            "link": "http://rock/",
            "expires": "0",
            "priority": "0",
            "timestamp": "1795294641168",
        }
        for kind in (TEXT, IMAGE):
            self.assertEqual(dict(self.message(kind).headers), expected)

    def test_the_id_is_a_uuid_as_a_decimal_number_and_new_each_time(self) -> None:
        ids = {self.message(TEXT).message_id for _ in range(100)}
        self.assertEqual(len(ids), 100)
        for id in ids:
            self.assertRegex(id, "^[0-9]{30,39}$")

    def test_without_a_link_there_is_no_link_header(self) -> None:
        self.assertNotIn("link", dict(self.message(TEXT, Default(text="Rock")).headers))

    def test_what_the_station_has_not_given_is_not_sent(self) -> None:
        for nothing in (Default(), Default(link="http://l/"), Default("", "")):
            self.assertIsNone(default_message(CHANNEL, TEXT, nothing, NOW))
            self.assertIsNone(default_message(CHANNEL, IMAGE, nothing, NOW))
        self.assertIsNone(default_message(CHANNEL, IMAGE, Default(text="Rock"), NOW))
        self.assertIsNone(default_message(CHANNEL, TEXT, Default(image="http://i"), NOW))

    def test_text_that_is_no_unicode_is_sent_as_far_as_it_goes(self) -> None:
        self.assertEqual(self.message(TEXT, Default(text="a\ud800b")).body, b"TEXT a?b")

    def test_a_default_is_recognised_and_a_stations_message_is_not(self) -> None:
        self.assertTrue(is_default(self.message(TEXT)))
        station = Message(CHANNEL + "text", b"TEXT x", "12345", 1, (("trigger-time", "NOW"), ("link", "http://l")))
        self.assertFalse(is_default(station))
        device = Message(CHANNEL + "text", b"TEXT x", "not-a-number", 1, (("expires", "0"), ("priority", "0")))
        self.assertFalse(is_default(device))
