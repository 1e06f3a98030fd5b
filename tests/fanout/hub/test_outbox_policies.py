"""What an outbox keeps when too much waits: for one client, and for all together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.hub.outbox import Outbox, Policy
from tests.fanout.hub.outbox_case import OutboxCase, Wire


class Newest(OutboxCase, unittest.TestCase):
    def test_up_to_the_limit_everything_is_kept(self) -> None:
        self.outbox.block()
        for _ in range(10):
            self.outbox.offer("a", b"x" * 10)
        self.assertEqual((len(self.outbox), self.outbox.dropped, self.wire.cut), (10, 0, 0))

    def test_beyond_it_the_newest_of_each_slot(self) -> None:
        """A radio shows one slide at a time: what it missed does not matter, what stands now does."""
        self.outbox.block()
        for number in range(6):
            for slot in ("image", "text"):
                self.outbox.offer(slot, b"%s %d|" % (slot.encode(), number))
        self.outbox.offer("text", b"x" * 20)
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"image 5|" + b"x" * 20])
        self.assertEqual(self.outbox.dropped, 11)

    def test_answers_are_kept_in_their_place(self) -> None:
        self.outbox.block()
        for number in range(8):
            self.outbox.offer("a", b"message %d|" % number)
            if number % 4 == 0:
                self.outbox.send(b"receipt %d|" % number)
        self.outbox.offer("b", b"y" * 10)
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"receipt 0|receipt 4|message 7|" + b"y" * 10])

    def test_a_newest_that_does_not_fit_gives_way_to_one_that_does(self) -> None:
        self.outbox.block()
        self.outbox.offer("a", b"a" * 60)
        self.outbox.offer("b", b"b" * 30)
        self.outbox.offer("c", b"c" * 50)
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"b" * 30 + b"c" * 50])

    def test_a_message_larger_than_the_limit(self) -> None:
        self.fill(50)
        self.outbox.offer("slot", b"x" * 101)
        self.outbox.unblock()
        self.assertEqual((self.wire.writes, self.wire.cut), ([b"m" * 50], 0))

    def test_too_many_answers_cut_off(self) -> None:
        """A client that asks and does not read the answers."""
        self.outbox.block()
        for _ in range(11):
            self.outbox.send(b"x" * 10)
        self.assertEqual((self.wire.cut, len(self.outbox)), (1, 0))

    def test_an_answer_makes_room_for_itself(self) -> None:
        self.fill(100)
        self.outbox.send(b"RECEIPT")
        self.outbox.unblock()
        self.assertEqual((self.wire.writes, self.wire.cut), ([b"RECEIPT"], 0))


class Drop(OutboxCase, unittest.TestCase):
    policy: Policy = "drop"

    def test_what_does_not_fit_is_dropped(self) -> None:
        self.fill(60)
        self.outbox.offer("b", b"b" * 50)
        self.outbox.offer("c", b"c" * 40)
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"m" * 60 + b"c" * 40])
        self.assertEqual((self.outbox.dropped, self.wire.cut), (1, 0))

    def test_an_answer_makes_room_for_itself(self) -> None:
        """Or a heart-beat of one octet would cut off a client whose outbox is full."""
        self.outbox.block()
        for number in range(10):
            self.outbox.offer("a", b"message %d|" % number)
        self.outbox.send(b"RECEIPT")
        self.outbox.unblock()
        self.assertEqual(self.wire.cut, 0)
        self.assertEqual(self.wire.writes, [b"".join(b"message %d|" % number for number in range(9)) + b"RECEIPT"])

    def test_too_many_answers_cut_off(self) -> None:
        self.outbox.block()
        for _ in range(11):
            self.outbox.send(b"x" * 10)
        self.assertEqual((self.wire.cut, len(self.outbox)), (1, 0))


class Queue(OutboxCase, unittest.TestCase):
    policy: Policy = "queue"

    def test_everything_is_kept_until_the_limit(self) -> None:
        self.outbox.block()
        for number in range(10):
            self.outbox.offer("a", b"message %d|" % number)
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"".join(b"message %d|" % number for number in range(10))])

    def test_beyond_it_the_client_is_cut_off(self) -> None:
        self.fill(100)
        self.outbox.offer("a", b"x")
        self.assertEqual((self.wire.cut, len(self.outbox)), (1, 0))


class AnyPolicy(OutboxCase, unittest.TestCase):
    @given(
        st.sampled_from(["newest", "drop", "queue"]),
        st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(1, 70)), max_size=40),
    )
    @settings(deadline=None)
    def test_octets_are_bounded_and_answers_never_dropped(
        self, policy: Policy, offers: list[tuple[str | None, int]]
    ) -> None:
        self.setUp()
        self.flusher.policy = policy
        self.outbox.block()
        answers = []
        for number, (slot, size) in enumerate(offers):
            frame = bytes([number]) * size
            self.outbox.offer(slot, frame)
            if slot is None:
                answers.append(frame)
            self.assertEqual(self.outbox._octets, sum(map(len, self.outbox._frames)))
            self.assertLessEqual(self.outbox._octets, 100)
            if self.wire.cut:
                break
        waiting = list(self.outbox._frames)
        self.outbox.unblock()
        if self.wire.cut:
            self.assertTrue(policy == "queue" or sum(map(len, answers)) > 100)
            self.assertEqual(self.wire.writes, [])
        else:
            self.assertEqual([frame for frame in waiting if frame in answers], answers)
            self.assertEqual(b"".join(self.wire.writes), b"".join(waiting))


class AllTogether(OutboxCase, unittest.TestCase):
    """100 octets for one client, 150 for all."""

    def setUp(self) -> None:
        super().setUp()
        self.flusher.total_limit = 150
        self.wires = [Wire() for _ in range(4)]
        self.outboxes = [Outbox(wire, self.flusher) for wire in self.wires]
        for outbox in self.outboxes:
            outbox.block()

    def test_the_largest_gives_way_to_the_newest_of_each_topic(self) -> None:
        for _ in range(9):
            self.outboxes[0].offer("slide", b"s" * 10)
        self.outboxes[1].offer("slide", b"t" * 50)
        self.assertEqual(self.flusher.held, 140)
        self.outboxes[2].offer("slide", b"u" * 20)
        self.assertEqual([outbox.octets for outbox in self.outboxes[:3]], [10, 50, 20])
        self.assertEqual(self.flusher.held, 80)
        self.assertEqual((self.flusher.dropped, [wire.cut for wire in self.wires]), (8, [0, 0, 0, 0]))

    def test_one_that_holds_only_the_newest_is_cut_off_to_come_back_for_it(self) -> None:
        for number in range(3):
            self.outboxes[number].offer("slide", b"s" * (60 + number))
        self.assertEqual([wire.cut for wire in self.wires], [0, 0, 1, 0])
        self.assertEqual(self.flusher.held, 121)

    def test_answers_cannot_give_way_so_their_client_goes(self) -> None:
        self.outboxes[0].send(b"a" * 80)
        self.outboxes[1].send(b"b" * 60)
        self.outboxes[2].send(b"c" * 20)
        self.assertEqual([wire.cut for wire in self.wires], [1, 0, 0, 0])
        self.assertEqual(self.flusher.held, 80)

    def test_who_reads_again_or_goes_costs_nothing(self) -> None:
        self.outboxes[0].offer("slide", b"s" * 50)
        self.outboxes[1].offer("slide", b"t" * 50)
        self.outboxes[2].offer("slide", b"u" * 50)
        self.outboxes[0].unblock()
        self.outboxes[1].clear()
        self.assertEqual(self.flusher.held, 50)
        self.assertEqual(self.wires[0].writes, [b"s" * 50])

    def test_who_reads_costs_nothing_however_much_it_is(self) -> None:
        reader = Outbox(self.wire, self.flusher)
        for _ in range(10):
            reader.offer(object(), b"r" * 10)
        self.outboxes[0].offer("slide", b"s" * 90)
        self.assertEqual((self.flusher.held, self.flusher.dropped), (90, 0))

    def test_what_was_written_in_this_turn_counts_once_the_wire_is_full(self) -> None:
        self.outbox.offer("slide", b"s" * 70)
        self.outbox.block()
        self.assertEqual(self.flusher.held, 70)

    def hand_over(self, number: int, octets: int) -> None:
        """A write fills the transport."""
        outbox, wire = self.outboxes[number], self.wires[number]
        wire.outbox = outbox
        outbox.unblock()
        outbox.pass_on("slide", b"h" * octets)
        wire.outbox = None

    def test_what_a_write_has_put_into_a_full_transport_counts(self) -> None:
        self.hand_over(0, 60)
        self.assertEqual((self.flusher.held, self.outboxes[0].octets), (60, 0))
        self.outboxes[0].offer("slide", b"s" * 10)
        self.assertEqual(self.flusher.held, 70)
        self.outboxes[0].unblock()
        self.assertEqual(self.flusher.held, 0)

    def test_also_when_it_is_written_at_the_end_of_a_turn(self) -> None:
        self.wire.outbox = self.outbox
        self.outbox.offer("slide", b"s" * 40)
        self.turn()
        self.assertEqual(self.flusher.held, 40)
        self.outbox.close()
        self.assertEqual(self.flusher.held, 0)

    def test_messages_are_dropped_before_a_client_is_cut_off(self) -> None:
        self.hand_over(0, 90)
        for _ in range(4):
            self.outboxes[1].offer("slide", b"s" * 10)
        self.outboxes[2].offer("slide", b"u" * 30)
        self.assertEqual(([outbox.held for outbox in self.outboxes], self.flusher.held), ([90, 10, 30, 0], 130))
        self.assertEqual([wire.cut for wire in self.wires], [0, 0, 0, 0])

    def test_one_that_could_not_drop_any_can_after_more_have_come(self) -> None:
        self.outboxes[0].offer("slide", b"s" * 40)
        self.hand_over(1, 60)
        self.hand_over(2, 60)
        self.assertEqual([wire.cut for wire in self.wires], [0, 1, 0, 0])
        self.outboxes[0].offer("slide", b"t" * 40)
        self.hand_over(3, 20)
        self.assertEqual((self.outboxes[0].octets, self.flusher.held), (40, 120))

    def test_too_much_in_transports_cuts_off_the_largest(self) -> None:
        for number, octets in enumerate((40, 60, 51)):
            self.hand_over(number, octets)
        self.assertEqual([wire.cut for wire in self.wires], [0, 1, 0, 0])
        self.assertEqual(self.flusher.held, 91)

    def test_who_has_just_been_written_to_is_spared(self) -> None:
        """It may well read; the others had the time to."""
        for number, octets in enumerate((40, 50, 61)):
            self.hand_over(number, octets)
            self.clock.advance(10)
        self.assertEqual([wire.cut for wire in self.wires], [1, 0, 0, 0])

    def test_many_that_cannot_give_way(self) -> None:
        """As many as would be too many calls inside each other."""
        outboxes = [Outbox(Wire(), self.flusher) for _ in range(2_000)]
        self.flusher.total_limit = 2_000
        for outbox in outboxes:
            outbox.block()
            outbox.send(b"x")
        self.flusher.total_limit = 100
        outboxes[0].send(b"x")
        self.assertLess(self.flusher.held, 100)

    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("obuch"), st.integers(0, 60)), max_size=60))
    @settings(deadline=None)
    def test_it_is_kept_whatever_happens(self, script: list[tuple[int, str, int]]) -> None:
        self.setUp()
        for number, act, size in script:
            outbox = self.outboxes[number]
            if act == "o":
                outbox.offer(size % 3, b"x" * size)
            elif act == "h":
                self.hand_over(number, size)
            else:
                {"b": outbox.block, "u": outbox.unblock, "c": outbox.clear}[act]()
            self.assertEqual(self.flusher.held, sum(each.held for each in self.outboxes))
            self.assertLessEqual(sum(each.octets for each in self.outboxes if each.blocked), self.flusher.held)
            self.assertLessEqual(self.flusher.held, 150)


class AllTogetherDropping(OutboxCase, unittest.TestCase):
    policy = "drop"

    def test_the_largest_loses_its_latest(self) -> None:
        self.flusher.total_limit = 100
        other = Outbox(Wire(), self.flusher)
        other.block()
        self.outbox.block()
        for number in range(8):
            self.outbox.offer(number, b"%d" % number * 10)
        other.offer("slide", b"t" * 30)
        self.assertEqual((self.outbox.octets, other.octets), (40, 30))
