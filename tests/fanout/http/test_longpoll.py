from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.trial import unittest

from fanout.http.limits import MAX_TOPICS
from fanout.http.longpoll import LongPolls, Question
from fanout.http.response import HttpError
from fanout.hub.message import Message
from tests.fanout.stomp_server.listeners import Asked, House, PlainForm, join


class PollCase(unittest.TestCase):
    settings: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.house = House(**self.settings)
        self.polls = LongPolls(self.house.requests)

    def tearDown(self) -> None:
        self.assertEqual(self.house.failures, [])

    def asking(self, *destinations: str, last_id: str | None = None) -> tuple[Asked, Deferred[None]]:
        request = Asked()
        question = Question(
            destinations or ("/t",),
            last_id,
            len(destinations) < 2,
            PlainForm,
            lambda request, lines: request.answer(200, join(lines), ""),
        )
        return request, Deferred.fromCoroutine(self.polls.ask(request, question))  # type: ignore[arg-type]

    def ask(self, *destinations: str, last_id: str | None = None) -> Asked:
        request, asked = self.asking(*destinations, last_id=last_id)
        self.successResultOf(asked)
        return request


class Newcomers(PollCase):
    def test_the_newest_at_once(self) -> None:
        self.house.say("/t", "1", "2")
        self.assertEqual(self.ask("/t").got, b"/t=2\n")

    def test_held_until_something_is_said(self) -> None:
        request = self.ask("/t")
        self.house.say("/other", "1")
        self.house.turn()
        self.assertIsNone(request.status)
        self.house.say("/t", "2")
        self.house.turn()
        self.assertEqual(request.got, b"/t=2\n")

    def test_what_another_node_kept(self) -> None:
        self.house.application.kept["/t"] = Message("/t", b"x", "7", 1)
        self.assertEqual(self.ask("/t").got, b"/t=7\n")

    def test_the_own_spelling_comes_back(self) -> None:
        self.house.say("/t", "1")
        self.assertEqual(self.ask("/T").got, b"/T=1\n")

    def test_the_newest_of_each_of_several_the_newest_last(self) -> None:
        self.house.say("/b", "1", "2")
        self.house.say("/a", "3")
        self.assertEqual(self.ask("/a", "/b", "/silent").got, b"/b=2\n/a=3\n")


class Long(PlainForm):
    """An answer has room for two messages. The class counts those that were written."""

    written: ClassVar[list[str]] = []

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        self.written.append(message.message_id)
        return super().encode(message, encoded).ljust(500_000)


class LongMessages(PollCase):
    def ask(self, *destinations: str, last_id: str | None = None) -> Asked:
        request = Asked()

        def write(request: Any, lines: Sequence[bytes]) -> None:
            request.answer(200, b"".join(line.strip() + b"\n" for line in lines), "")

        question = Question(destinations, last_id, False, Long, write)
        self.successResultOf(Deferred.fromCoroutine(self.polls.ask(request, question)))  # type: ignore[arg-type]
        return request

    def test_the_rest_comes_with_the_next_poll(self) -> None:
        self.house.say("/a", "1")
        request = self.ask("/a", "/b", last_id="1")
        self.house.say("/a", "2", "3", "4")
        self.house.say("/b", "5")
        self.house.clock.advance(0.1)
        self.assertEqual(request.got, b"/a=2\n/a=3\n")
        self.assertEqual(self.ask("/a", "/b", last_id="3").got, b"/a=4\n/b=5\n")

    def test_of_many_polls_are_written_once_and_sent_in_several_turns(self) -> None:
        requests = [self.ask("/a", "/b") for _ in range(40)]
        Long.written.clear()
        self.house.say("/a", "1")
        self.house.say("/b", "2")
        self.house.clock.advance(0.1)
        self.assertEqual([request.got for request in requests], [b"/a=1\n/b=2\n"] * 40)
        self.assertEqual(self.house.turns, 8)
        self.assertLessEqual(len(Long.written), 4)


class ThoseWhoComeBack(PollCase):
    def test_the_message_after_it_at_once_and_then_the_one_after_that(self) -> None:
        self.house.say("/t", "1", "2", "3")
        self.assertEqual(self.ask(last_id="1").got, b"/t=2\n")
        self.assertEqual(self.ask(last_id="2").got, b"/t=3\n")

    def test_held_when_nothing_followed(self) -> None:
        self.house.say("/t", "1")
        request = self.ask(last_id="1")
        self.house.wait(5)
        self.assertIsNone(request.status)
        self.house.say("/t", "2")
        self.house.turn()
        self.assertEqual(request.got, b"/t=2\n")

    def test_of_several_topics_all_that_followed_in_order(self) -> None:
        self.house.say("/a", "1", "2")
        self.house.say("/b", "3")
        self.house.say("/a", "4")
        self.assertEqual(self.ask("/a", "/b", last_id="1").got, b"/a=2\n/b=3\n/a=4\n")

    def test_two_said_in_one_breath_while_it_was_held_the_second_is_not_lost(self) -> None:
        self.house.say("/t", "1")
        request = self.ask(last_id="1")
        self.house.say("/t", "2", "3")
        self.house.turn()
        self.assertEqual(request.got, b"/t=2\n")
        self.assertEqual(self.ask(last_id="2").got, b"/t=3\n")

    def test_a_slide_and_its_text_are_one_answer(self) -> None:
        self.house.say("/a", "1")
        request = self.ask("/a", "/b", last_id="1")
        self.house.say("/a", "2")
        self.house.turn()
        self.house.say("/b", "2")
        self.house.clock.advance(0.1)
        self.assertEqual(request.got, b"/a=2\n/b=2\n")

    def test_a_receiver_that_cuts_off_what_an_id_begins_with(self) -> None:
        self.house.say("/t", "ID:1", "ID:2")
        self.assertEqual(self.ask(last_id="1").got, b"/t=ID:2\n")


class IdsThisNodeDoesNotKnow(PollCase):
    def test_one_another_node_was_faster_to_hear_is_waited_for(self) -> None:
        self.house.say("/t", "1")
        request = self.ask(last_id="3")
        self.house.say("/t", "2")
        self.house.wait(1)
        self.assertIsNone(request.status, "it was given something older than it has")
        self.house.say("/t", "3")
        self.house.wait(5)
        self.assertIsNone(request.status)
        self.house.say("/t", "4")
        self.house.turn()
        self.assertEqual(request.got, b"/t=4\n")

    def test_nothing_is_skipped_when_it_comes_with_what_follows_it(self) -> None:
        self.house.say("/t", "1")
        request = self.ask(last_id="3")
        self.house.say("/t", "2", "3", "4", "5")
        self.house.turn()
        self.assertEqual(request.got, b"/t=4\n")
        self.assertEqual(self.ask(last_id="4").got, b"/t=5\n")

    def test_one_that_never_comes_gets_the_newest(self) -> None:
        self.house.say("/t", "1")
        for last_id in ("of another topic", "99", "'\"<>\N{SNOWMAN}"):
            request = self.ask(last_id=last_id)
            self.house.wait(3)
            self.assertEqual(request.got, b"/t=1\n", last_id)

    def test_what_was_said_while_it_was_waited_for_is_not_lost(self) -> None:
        self.house.say("/t", "1")
        request = self.ask(last_id="of another topic")
        self.house.say("/t", "2")
        self.house.wait(3)
        self.assertEqual(request.got, b"/t=2\n")

    def test_where_nothing_was_ever_said_the_next_message_answers(self) -> None:
        request = self.ask(last_id="of another topic")
        self.house.wait(3)
        self.assertIsNone(request.status)
        self.house.say("/t", "1")
        self.house.turn()
        self.assertEqual(request.got, b"/t=1\n")

    def test_one_the_history_has_dropped_but_which_is_still_the_newest(self) -> None:
        self.house.say("/t", "1")
        self.house.clock.advance(3600)
        request = self.ask(last_id="1")
        self.house.wait(5)
        self.assertIsNone(request.status)


class TheEnd(PollCase):
    def test_408_when_nothing_was_said(self) -> None:
        request = self.ask()
        self.house.wait(11.5)
        self.assertIsNone(request.status)
        self.house.wait(1)
        self.assertEqual(request.status, 408)
        self.assertEqual((self.house.requests.pending, self.house.hub.topics()), (set(), []))

    def test_an_answered_poll_leaves_nothing(self) -> None:
        self.ask("/a", "/b")
        self.house.say("/a", "1")
        self.house.clock.advance(0.1)
        self.assertEqual((self.house.requests.pending, self.house.hub.topics()), (set(), []))

    def test_a_client_that_goes_leaves_nothing_and_nothing_is_written_to_it(self) -> None:
        request = self.ask()
        request.leave()
        self.house.say("/t", "1")
        self.house.wait(15)
        self.assertEqual((request.status, request.got), (None, b""))
        self.assertEqual((self.house.requests.pending, self.house.hub.topics()), (set(), []))

    def test_a_client_that_goes_between_the_message_and_its_answer(self) -> None:
        request = self.ask()
        self.house.say("/t", "1")
        request.leave()
        self.house.turn()
        self.assertIsNone(request.status)

    def test_a_node_that_ends_has_them_ask_another_one(self) -> None:
        request = self.ask()
        self.house.end()
        self.assertEqual((request.status, request.channel.persistent), (408, 0))

    def test_one_that_cannot_be_answered_stops_no_other(self) -> None:
        broken, fine = self.ask(), self.ask()
        broken.answer = None  # type: ignore[assignment, method-assign]
        self.house.say("/t", "1")
        self.house.turn()
        self.assertEqual(fine.got, b"/t=1\n")
        self.assertEqual([type(each) for each in self.house.failures], [TypeError])
        self.house.failures.clear()


class Many(PollCase):
    settings: ClassVar[dict[str, Any]] = {"HTTP_MAX_LISTENERS": 1_000}

    def test_thousands_are_answered_in_several_turns(self) -> None:
        requests = [self.ask() for _ in range(1_000)]
        self.house.say("/t", "1")
        self.house.turn()
        self.assertEqual(self.house.turns, 5)
        self.assertEqual([request.got for request in requests], [b"/t=1\n"] * 1_000)

    def test_no_more_than_there_are_places(self) -> None:
        for _ in range(1_000):
            self.ask()
        _, asked = self.asking()
        self.assertEqual(self.failureResultOf(asked, HttpError).value.status, 503)

    def test_no_more_topics_than_allowed(self) -> None:
        _, asked = self.asking(*(f"/{number}" for number in range(MAX_TOPICS + 1)))
        self.assertEqual(self.failureResultOf(asked, HttpError).value.status, 400)

    def test_a_topic_that_means_nothing(self) -> None:
        _, asked = self.asking("/wrong")
        self.assertEqual(str(self.failureResultOf(asked, HttpError).value), "This is wrong.")
