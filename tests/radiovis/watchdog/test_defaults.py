"""The messages of the watchdog, to the octet (contract §1.9)."""

from __future__ import annotations

from twisted.trial import unittest

from fanout.hub.message import Message
from radiovis.directory.interface import Default
from radiovis.watchdog.defaults import IMAGE, TEXT, default_message, is_default

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
