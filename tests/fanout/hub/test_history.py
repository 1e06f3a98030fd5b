from __future__ import annotations

from twisted.trial import unittest

from fanout.hub.history import History, HistorySettings
from fanout.hub.message import Message, Origin


def message(message_id: str, body: bytes = b"x") -> Message:
    return Message("/t", body, message_id, 1)


class HistoryCase(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 0.0

    def history(self, *said: str, messages_per_topic: int = 1_000, **bounds: float) -> History:
        """A history in which each of these, ``topic:id``, was said."""
        settings = HistorySettings.model_construct(**bounds)
        history = History(lambda: self.now, settings, messages_per_topic=messages_per_topic)
        for each in said:
            topic, _, message_id = each.partition(":")
            history.add(topic, message(message_id))
        return history

    def following(self, history: History, last_id: str, *topics: str, limit: int = 100) -> list[str] | None:
        position = history.position(topics, last_id)
        if position is None:
            return None
        return [heard.message.message_id for heard in history.after(topics, position, limit)]


class WhatFollowed(HistoryCase):
    def test_a_message_is_followed_by_those_said_after_it_in_order(self) -> None:
        history = self.history("a:1", "b:9", "a:2", "a:3")
        self.assertEqual(self.following(history, "1", "a"), ["2", "3"])
        self.assertEqual(self.following(history, "3", "a"), [])

    def test_several_topics_follow_in_the_order_they_were_said(self) -> None:
        history = self.history("a:1", "b:2", "a:3", "c:4", "b:5")
        self.assertEqual(self.following(history, "1", "b", "a"), ["2", "3", "5"])

    def test_at_most_as_many_as_wanted_the_oldest_of_them(self) -> None:
        history = self.history("a:1", "b:2", "a:3", "b:4")
        self.assertEqual(self.following(history, "1", "a", "b", limit=2), ["2", "3"])

    def test_an_id_of_another_topic_or_of_none_is_not_known(self) -> None:
        history = self.history("a:1", "b:2")
        for last_id in ("2", "7", ""):
            self.assertIsNone(self.following(history, last_id, "a"), last_id)
        self.assertIsNone(self.following(history, "1", "nobody ever spoke here"))

    def test_of_a_repeated_id_the_later_one_counts(self) -> None:
        history = self.history("a:1", "a:2", "a:1", "a:3")
        self.assertEqual(self.following(history, "1", "a"), ["3"])

    def test_what_is_forgotten_is_known_no_more(self) -> None:
        history = self.history("a:1", "b:2", "a:3")
        history.forget("a")
        history.forget("nobody ever spoke here")
        self.assertEqual(len(history), 1)
        self.assertIsNone(self.following(history, "1", "a"))
        self.assertEqual(self.following(history, "2", "b"), [])

    def test_a_broadcast_has_one_id_on_several_topics(self) -> None:
        history = self.history("a:1", "b:1", "a:2")
        self.assertEqual(self.following(history, "1", "a"), ["2"])
        self.assertEqual(self.following(history, "1", "b"), [])
        self.assertEqual(self.following(history, "1", "a", "b"), ["2"])

    def test_the_newest_of_a_topic_has_a_place_in_the_order(self) -> None:
        history = self.history("a:1")
        last = message("2")
        history.add("b", last)
        history.add("a", message("3"))
        self.assertEqual(history.place("b", last), 2)
        self.assertEqual(history.place("a", last), 0)
        self.assertEqual(history.place("c", last), 0)


class Bounds(HistoryCase):
    def test_only_so_many_of_one_topic(self) -> None:
        history = self.history("b:0", "a:1", "a:2", "a:3", messages_per_topic=2)
        self.assertIsNone(self.following(history, "1", "a"))
        self.assertEqual(self.following(history, "2", "a"), ["3"])
        self.assertEqual(self.following(history, "0", "b"), [])
        self.assertEqual(len(history), 3)

    def test_only_for_so_long(self) -> None:
        history = self.history("a:1", HISTORY_SECONDS=10)
        self.now = 10
        history.add("a", message("2"))
        self.assertEqual(self.following(history, "1", "a"), ["2"])
        self.now = 10.1
        self.assertIsNone(self.following(history, "1", "a"))
        self.assertEqual(self.following(history, "2", "a"), [])
        self.now = 21
        self.assertIsNone(self.following(history, "2", "a"))
        self.assertEqual(len(history), 0)

    def test_only_so_many_octets_and_the_oldest_of_any_topic_goes(self) -> None:
        history = History(lambda: 0.0, HistorySettings(HISTORY_BYTES=100_000))
        for number in range(100):
            history.add(f"t{number}", message(str(number), b"x" * 9_000))
        self.assertLessEqual(len(history), 100_000 // 9_000)
        self.assertGreater(len(history), 5)
        self.assertIsNone(self.following(history, "0", "t0"))
        self.assertEqual(self.following(history, "99", "t99"), [])

    def test_the_publisher_with_most_octets_loses_its_oldest(self) -> None:
        history = History(lambda: 0.0, HistorySettings(HISTORY_BYTES=100_000))
        rock, jazz = Origin("1", "1.rock", "", ""), Origin("2", "2.jazz", "", "")
        history.add("rock", message("first")._replace(origin=rock))
        history.add("both", message("mine")._replace(origin=rock))
        for number in range(100):
            history.add(
                "both" if number % 2 else f"t{number}", message(str(number), b"x" * 9_000)._replace(origin=jazz)
            )
        history.add("rock", message("second")._replace(origin=rock))
        self.assertEqual(self.following(history, "first", "rock"), ["second"])
        self.assertEqual(self.following(history, "mine", "both"), ["91", "93", "95", "97", "99"])
        self.assertLessEqual(history.octets, 100_000)
        self.assertEqual(history.displaced, 103 - len(history))
        for topic in ("both", "rock", *(f"t{number}" for number in range(100))):
            history.forget(topic)
        self.assertEqual((len(history), history.octets, len(history._owned), len(history._weights)), (0, 0, 0, 0))

    def test_a_message_larger_than_all_room_is_not_kept(self) -> None:
        history = History(lambda: 0.0, HistorySettings.model_construct(HISTORY_BYTES=5_000))
        history.add("a", message("1", b"x" * 6_000))
        self.assertEqual(len(history), 0)

    def test_forgotten_topics_leave_nothing(self) -> None:
        history = self.history(*(f"t{number}:1" for number in range(1_000)), HISTORY_SECONDS=1)
        self.now = 5
        history.add("a", message("1"))
        self.assertEqual((len(history), len(history._topics)), (1, 1))
