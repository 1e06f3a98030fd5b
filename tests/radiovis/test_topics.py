"""The topic grammar."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from radiovis import topics

TOPIC_TEXT = st.text(string.ascii_letters + string.digits + "/*.-", max_size=40)


class TestCanonical(unittest.SynchronousTestCase):
    def test_the_one_spelling_of_each_form(self) -> None:
        cases = {
            "/topic/fm/4E1/4000/09580/image": "/topic/fm/4e1/4000/09580/image",
            "/topic/FM/4e1/c00F/*/text": "/topic/fm/4e1/c00f/*/text",
            "/topic/dab/4E1/4FFF/4001/0/image": "/topic/dab/4e1/4fff/4001/0/image",
            "/topic/dab/4e1/4fff/4001/0/20-AB1/1023/image": "/topic/dab/4e1/4fff/4001/0/20-ab1/1023/image",
            "/topic/drm/E1C238/text": "/topic/drm/e1c238/text",
            "/topic/amss/E1C238/text": "/topic/amss/e1c238/text",
            "/topic/hd/292/0EB65/2/image": "/topic/hd/292/0eb65/2/image",
        }
        for topic, expected in cases.items():
            self.assertEqual(topics.canonical(topic), expected)

    def test_the_last_part_stays_as_it_is(self) -> None:
        self.assertEqual(topics.canonical("/topic/fm/4E1/4000/09580/Image"), "/topic/fm/4e1/4000/09580/Image")

    def test_topics_of_other_kinds_stay_as_they_are(self) -> None:
        for topic in (
            "/topic/id/www.EBU.ch/Service/image",
            "/topic/Test/1/image",
            "/queue/FM/X/y",
            "",
            "/",
            "FM/4E1/x/y",
        ):
            self.assertEqual(topics.canonical(topic), topic)

    def test_a_country_gives_way_to_its_code(self) -> None:
        self.assertEqual(topics.canonical("/topic/fm/CH/4000/09580/image", "4e1"), "/topic/fm/4e1/4000/09580/image")

    @given(TOPIC_TEXT)
    def test_twice_is_as_once(self, rest: str) -> None:
        once = topics.canonical("/topic/fm/" + rest)
        self.assertEqual(topics.canonical(once), once)

    @given(TOPIC_TEXT)
    def test_changes_nothing_but_case_without_a_code(self, rest: str) -> None:
        topic = "/topic/" + rest
        self.assertEqual(topics.canonical(topic).lower(), topic.lower())


class TestCountryOf(unittest.SynchronousTestCase):
    def test_of_fm_topics_with_two_letters_where_the_code_should_be(self) -> None:
        for topic in ("/topic/fm/ch/4000/09580/image", "/topic/fm/CH/4000/09580/", "/topic/FM/Ch/x"):
            self.assertEqual(topics.country_of(topic), "ch", topic)

    def test_of_no_other(self) -> None:
        for topic in (
            "/topic/fm/4e1/4000/09580/image",
            "/topic/fm/c1/4000/09580/image",
            "/topic/fm/ch",
            "/topic/fm/chx/4000/",
            "/topic/fm/é/4000/",
            "/topic/dab/ch/4fff/4001/0/image",
            "/topic/hd/us/0eb65/image",
            "/topic/id/ch/ebu/image",
            "x/topic/fm/ch/4000/09580/image",
        ):
            self.assertIsNone(topics.country_of(topic), topic)


class TestChannelOf(unittest.SynchronousTestCase):
    def test_is_all_but_the_last_part(self) -> None:
        """The original stripped sets of characters (contract §2, fault 13), and was wrong about the last three."""
        channel = "/topic/fm/4e1/4000/99999/"
        for last in ("image", "text", "", "textimage", "imagetext", "xx"):
            self.assertEqual(topics.channel_of(channel + last), channel, last)


class TestFm(unittest.SynchronousTestCase):
    def test_is_fm(self) -> None:
        self.assertTrue(topics.is_fm("/topic/fm/4e1/4000/09580/image"))
        self.assertTrue(topics.is_fm("/topic/fm/"))
        self.assertFalse(topics.is_fm("/topic/fmx/4e1/4000/09580/image"))
        self.assertFalse(topics.is_fm("/topic/dab/4e1/4fff/4001/0/image"))

    def test_shape_asks_for_four_parts_and_no_star(self) -> None:
        good = "/topic/fm/4e1/4000/09580/image"
        self.assertTrue(topics.has_fm_shape(good))
        self.assertTrue(topics.has_fm_shape(good + "/deeper"))
        for bad in (
            "/topic/fm/",
            "/topic/fm/x",
            "/topic/fm/4e1/4000/09580",
            "/topic/fm/4e1/4000/09580/",
            "/topic/fm/4e1/4000/*/image",
            "/topic/fm/4e1//09580/image",
            "/topic/fm/4e1/4000/0 580/image",
            "/topic/fm/4é1/4000/09580/image",
            "x" + good,
        ):
            self.assertFalse(topics.has_fm_shape(bad), bad)

    @given(TOPIC_TEXT)
    def test_what_has_the_shape_has_a_frequency_to_replace(self, rest: str) -> None:
        topic = "/topic/fm/" + rest
        if topics.has_fm_shape(topic):
            self.assertEqual(topics.any_frequency(topic).split("/")[5], "*")

    def test_any_frequency_keeps_the_rest(self) -> None:
        self.assertEqual(topics.any_frequency("/topic/fm/4e1/4000/09580/image"), "/topic/fm/4e1/4000/*/image")


class TestLabelsReversed(unittest.SynchronousTestCase):
    def test_as_plugit_spells_it(self) -> None:
        for topic, expected in (
            ("/topic/id/www.ebu.ch/sid/image", "/topic/id/ch/ebu/www/sid/image"),
            ("/topic/id/WWW.Ebu.ch/Sid/Image", "/topic/id/ch/ebu/www/Sid/Image"),
            ("/topic/id/www.ebu.ch/", "/topic/id/ch/ebu/www/"),
            ("/topic/id/ebu.ch/a.b/c.d/text", "/topic/id/ch/ebu/a.b/c.d/text"),
        ):
            self.assertEqual(topics.labels_reversed(topic), expected)

    def test_what_has_no_domain_name(self) -> None:
        for topic in ("/topic/id/ch/ebu/www/sid/image", "/topic/id/www.ebu.ch", "/topic/fm/a.b/c/d", "/topic/id/", ""):
            self.assertIsNone(topics.labels_reversed(topic), topic)

    def test_the_prefixes_of_a_topic(self) -> None:
        topic = "/topic/id/www.ebu.ch/sid/deeper/image"
        self.assertEqual(
            list(topics.prefixes(topic, 100)),
            ["/topic/id/www.ebu.ch/", "/topic/id/www.ebu.ch/sid/", "/topic/id/www.ebu.ch/sid/deeper/"],
        )
        self.assertEqual(list(topics.prefixes(topic, 25)), ["/topic/id/www.ebu.ch/", "/topic/id/www.ebu.ch/sid/"])
        self.assertEqual(list(topics.prefixes("/topic/id/" + "/" * 1_000, 12)), ["/topic/id//", "/topic/id///"])


class TestBearers(unittest.SynchronousTestCase):
    def test_each_system_has_its_topic(self) -> None:
        cases = {
            "fm:4E1.c201.09580": "/topic/fm/4e1/c201/09580/",
            "fm:4e1.c201.*": "/topic/fm/4e1/c201/*/",
            "fm:ch.c201.09580": "/topic/fm/ch/c201/09580/",
            "dab:ce1.ce15.c221.0": "/topic/dab/ce1/ce15/c221/0/",
            "dab:ce1.ce15.e1c00098.0.20-ab1.1023": "/topic/dab/ce1/ce15/e1c00098/0/20-ab1/1023/",
            "drm:e1c238": "/topic/drm/e1c238/",
            "amss:E1C238": "/topic/amss/e1c238/",
            "hd:292.0eb65.2": "/topic/hd/292/0eb65/2/",
            "id:www.EBU.ch/Radio1": "/topic/id/www.ebu.ch/Radio1/",
        }
        for bearer, expected in cases.items():
            self.assertEqual(topics.bearer_topic(bearer), expected)

    def test_what_is_no_bearer(self) -> None:
        for bearer in (
            "",
            "fm",
            "fm:",
            "fm:4e1.c201.9580",
            "dab:ce1.ce15.c221",
            "drm:e1",
            "id:rock",
            "id:a.b/",
            "id:a.b/c/d",
        ):
            self.assertRaises(ValueError, topics.bearer_topic, bearer)
