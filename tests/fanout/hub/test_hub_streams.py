"""What several streams of a cohort are given: a turn's messages in one piece."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial import unittest

from fanout.hub.hub import Hub
from fanout.hub.message import Message
from fanout.hub.subscriber import Cohort, Offered
from tests.fanout.hub.test_hub import CountedForm, Radio, message


class Stream(Radio):
    """A radio that keeps the pieces it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.onlys: list[bool] = []

    def offer(self, cohort: Cohort, message: Message, data: bytes) -> None:
        super().offer(cohort, message, data)
        self.pieces.append(data)

    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        self.onlys.append(only)
        self.got += [(cohort, each, frame) for each, frame in offered]
        self.pieces.append(data)


class BrokenStream(Stream):
    def offer_joined(self, cohort: Cohort, offered: Offered, data: bytes, *, only: bool) -> None:
        raise RuntimeError("no")


class Streams(unittest.TestCase):
    def setUp(self) -> None:
        self.turns: list[Callable[[], None]] = []
        self.failures: list[object] = []
        self.hub = Hub(lambda member, error: self.failures.append(member), at_end_of_turn=self.turns.append)
        self.form = CountedForm("/t")
        self.radios = [Stream() for _ in range(3)]
        for radio in self.radios:
            self.cohort, _ = self.hub.join_stream("/t", self.form, radio)

    def publish(self, *bodies: bytes, topic: str = "/t") -> None:
        for body in bodies:
            self.hub.publish(topic, message(body, topic))

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for call in turns:
            call()

    def test_a_turn_is_one_piece_the_same_octets_for_all(self) -> None:
        self.publish(b"1", b"2", b"3")
        self.assertEqual([radio.pieces for radio in self.radios], [[], [], []])
        self.assertEqual(len(self.turns), 1)
        self.turn()
        self.assertEqual([radio.pieces for radio in self.radios], [[b"/t 1/t 2/t 3"]] * 3)
        self.assertEqual(len({id(radio.pieces[0]) for radio in self.radios}), 1, "joined once for all")
        self.assertEqual((self.form.encodes, self.hub.deliveries), (3, 9))

    def test_the_next_turn_is_another_piece(self) -> None:
        self.publish(b"1")
        self.turn()
        self.publish(b"2")
        self.turn()
        self.turn()
        self.assertEqual(self.radios[0].pieces, [b"/t 1", b"/t 2"])

    def test_a_cohort_of_one_is_given_each_message_at_once(self) -> None:
        alone = Stream()
        self.hub.join_stream("/u", CountedForm("/u"), alone)
        self.publish(b"1", b"2", topic="/u")
        self.assertEqual((alone.pieces, self.turns), ([b"/u 1", b"/u 2"], []))

    def test_who_joins_in_the_middle_of_a_turn_hears_only_what_follows(self) -> None:
        late = Stream()
        self.publish(b"1")
        _, last = self.hub.join_stream("/t", self.form, late)
        self.publish(b"2")
        self.turn()
        assert last is not None
        self.assertEqual((last.body, late.pieces), (b"1", [b"/t 2"]))
        self.assertEqual(self.radios[0].pieces, [b"/t 1", b"/t 2"], "each message once, and in order")

    def test_who_leaves_has_heard_what_was_published_before(self) -> None:
        self.publish(b"1")
        self.hub.leave(self.cohort, self.radios[0])
        self.publish(b"2")
        self.turn()
        self.assertEqual([radio.octets for radio in self.radios], [[b"/t 1"], *[[b"/t 1", b"/t 2"]] * 2])

    def test_the_last_but_one_leaves(self) -> None:
        for radio in self.radios[:2]:
            self.publish(b"1")
            self.hub.leave(self.cohort, radio)
        self.publish(b"2")
        self.assertEqual(self.radios[2].octets, [b"/t 1", b"/t 1", b"/t 2"])

    def test_a_move_is_behind_what_was_published_before(self) -> None:
        self.hub.remember("/u", message(b"u", "/u"))
        self.publish(b"1")
        self.hub.move(self.cohort, "/u")
        self.publish(b"2", topic="/u")
        self.turn()
        self.assertEqual(self.radios[0].octets, [b"/t 1", b"/t u", b"/t 2"])

    def test_a_piece_has_an_end(self) -> None:
        self.publish(*[b"x" * 30_000] * 3)
        self.assertEqual(len(self.radios[0].got), 3, "handed out before the turn ended")
        self.turn()
        self.assertEqual(len(self.radios[0].got), 3)

    def test_somebody_may_have_it_handed_out_at_once(self) -> None:
        self.publish(b"1")
        self.hub.hand_out()
        self.assertEqual(self.radios[0].pieces, [b"/t 1"])
        self.turn()
        self.assertEqual(self.radios[0].pieces, [b"/t 1"])

    def test_the_only_piece_of_a_turn_is_said_to_be_so(self) -> None:
        others = [Stream(), Stream()]
        for other in others:
            self.hub.join_stream("/u", CountedForm("/u"), other)
        form = CountedForm("/both")
        for radio in (self.radios[0], others[0]):
            self.hub.join_stream("/u", form, radio)
        self.publish(b"1")
        self.turn()
        self.publish(b"2")
        self.publish(b"2", topic="/u")
        self.turn()
        self.publish(b"3")
        self.hub.hand_out()
        self.turn()
        self.assertEqual(self.radios[0].onlys, [True, False, False, False])

    def test_neighbours_of_a_broken_one_get_theirs(self) -> None:
        broken = BrokenStream()
        self.hub.join_stream("/t", self.form, broken)
        after = Stream()
        self.hub.join_stream("/t", self.form, after)
        self.publish(b"1")
        self.turn()
        self.assertEqual((self.failures, after.pieces, self.radios[0].pieces), ([broken], [b"/t 1"], [b"/t 1"]))

    def test_members_that_are_no_streams_hear_at_once(self) -> None:
        polls = [Radio(), Radio()]
        for poll in polls:
            self.hub.join("/t", CountedForm("/poll"), poll)
        self.publish(b"1")
        self.assertEqual([poll.octets for poll in polls], [[b"/poll 1"]] * 2)
        self.assertEqual(self.radios[0].pieces, [])

    def test_without_an_end_of_turn_nothing_waits_for_one(self) -> None:
        hub, radios = Hub(lambda *_: self.fail()), [Stream(), Stream()]
        for radio in radios:
            hub.join_stream("/t", self.form, radio)
        hub.publish("/t", message(b"1"))
        self.assertEqual([radio.pieces for radio in radios], [[b"/t 1"]] * 2)
