"""When an outbox writes, and in which pieces."""

from __future__ import annotations

import weakref

from twisted.trial import unittest

from fanout.hub.outbox import PIECE, Outbox, OutboxSettings
from tests.fanout.hub.outbox_case import OutboxCase, Wire


class Closed(OutboxCase, unittest.TestCase):
    def test_what_waited_is_forgotten_and_what_comes_is_nobodys(self) -> None:
        self.outbox.send(b"1")
        self.outbox.block()
        self.assertEqual(self.flusher.held, 1)
        self.outbox.close()
        self.assertEqual((len(self.outbox), self.flusher.held), (0, 0))
        self.outbox.send(b"2")
        self.outbox.pass_on(None, b"3")
        self.outbox.offer("a", b"4" * (self.flusher.limit + 1))
        self.turn()
        self.assertEqual((self.wire.writes, self.wire.cut, self.flusher.held), ([], False, 0))

    def test_it_lets_go_of_its_client(self) -> None:
        wire = Wire()
        gone, outbox = weakref.ref(wire), Outbox(wire, self.flusher)
        outbox.close()
        del wire
        self.assertIsNone(gone())


class OneTurn(OutboxCase, unittest.TestCase):
    def test_many_offers_make_one_write(self) -> None:
        for number in range(50):
            self.outbox.offer(number, b"%d" % (number % 10))
        self.assertEqual(self.wire.writes, [])
        self.turn()
        self.assertEqual(self.wire.writes, [b"0123456789" * 5])

    def test_answers_and_messages_keep_their_order(self) -> None:
        self.outbox.offer("a", b"1")
        self.outbox.send(b"2")
        self.outbox.offer("a", b"3")
        self.turn()
        self.assertEqual(self.wire.writes, [b"123"])

    def test_any_number_of_outboxes_make_one_call_a_turn(self) -> None:
        wires = [Wire() for _ in range(100)]
        for wire in wires:
            Outbox(wire, self.flusher).send(b"x")
        self.assertEqual(len(self.turns), 1)
        self.turn()
        self.assertEqual([wire.writes for wire in wires], [[b"x"]] * 100)
        self.assertEqual(self.turns, [])

    def test_the_next_turn_is_its_own(self) -> None:
        for data in (b"1", b"2"):
            self.outbox.send(data)
            self.turn()
        self.assertEqual(self.wire.writes, [b"1", b"2"])

    def test_a_frame_that_stands_alone_is_not_copied(self) -> None:
        """The octets of a cohort are shared by thousands of radios."""
        data = b"MESSAGE"
        self.outbox.offer("a", data)
        self.turn()
        self.assertIs(self.wire.writes[0], data)

    def test_flush_does_not_wait_for_the_turn(self) -> None:
        self.outbox.send(b"ERROR")
        self.outbox.flush()
        self.turn()
        self.assertEqual(self.wire.writes, [b"ERROR"])

    def test_nothing_is_written_when_nothing_waits(self) -> None:
        self.outbox.send(b"1")
        self.outbox.clear()
        self.turn()
        self.assertEqual(self.wire.writes, [])

    def test_the_time_of_the_write_is_noted(self) -> None:
        """Heart-beats are owed since then."""
        self.clock.advance(5)
        self.outbox.send(b"1")
        self.assertEqual(self.outbox.sent_at, 0)
        self.turn()
        self.assertEqual(self.outbox.sent_at, 5)


class Pieces(OutboxCase, unittest.TestCase):
    """A transport takes nothing back, so it is given little at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.flusher.settings = OutboxSettings()
        self.frames = [bytes([number]) * (PIECE // 2) for number in range(8)]

    def test_more_than_a_piece_does_not_wait_for_the_turn(self) -> None:
        for each in self.frames[:3]:
            self.outbox.offer("a", each)
        self.assertEqual(self.wire.writes, [b"".join(self.frames[:3])])
        self.turn()
        self.assertEqual(len(self.wire.writes), 1)

    def test_what_comes_behind_it_waits_for_the_turn(self) -> None:
        self.outbox.offer("a", b"x" * (PIECE + 1))
        self.outbox.offer("a", b"behind")
        self.assertEqual(len(self.wire.writes), 1)
        self.turn()
        self.assertEqual(self.wire.writes[1:], [b"behind"])

    def test_what_waited_goes_out_in_pieces_until_the_wire_is_full(self) -> None:
        self.outbox.block()
        for each in self.frames:
            self.outbox.offer("a", each)
        self.wire.outbox = self.outbox
        self.outbox.unblock()
        self.assertEqual((self.wire.writes, len(self.outbox)), ([b"".join(self.frames[:3])], 5))
        self.wire.outbox = None
        self.outbox.unblock()
        self.assertEqual((b"".join(self.wire.writes), len(self.outbox)), (b"".join(self.frames), 0))

    def test_a_large_frame_is_not_copied(self) -> None:
        large = b"x" * (4 * PIECE)
        self.outbox.block()
        self.outbox.offer("a", large)
        self.outbox.unblock()
        self.assertIs(self.wire.writes[0], large)

    def test_a_wire_that_breaks_takes_what_waited_with_it(self) -> None:
        self.outbox.block()
        for each in self.frames:
            self.outbox.offer("a", each)
        self.wire.error = RuntimeError("no")
        self.assertRaises(RuntimeError, self.outbox.unblock)
        self.wire.error = None
        self.outbox.offer("a", b"later")
        self.turn()
        self.assertEqual(self.wire.writes, [b"later"])


class FullWires(OutboxCase, unittest.TestCase):
    def test_nothing_is_written_while_blocked(self) -> None:
        self.outbox.block()
        self.outbox.send(b"1")
        self.outbox.offer("a", b"2")
        self.turn()
        self.assertEqual((self.wire.writes, len(self.outbox)), ([], 2))
        self.outbox.unblock()
        self.assertEqual((self.wire.writes, len(self.outbox)), ([b"12"], 0))

    def test_a_write_that_fills_the_wire(self) -> None:
        self.wire.outbox = self.outbox
        self.outbox.send(b"1")
        self.turn()
        self.outbox.send(b"2")
        self.turn()
        self.assertEqual(self.wire.writes, [b"1"])
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"1", b"2"])

    def test_blocked_between_the_offer_and_the_turn(self) -> None:
        self.outbox.send(b"1")
        self.outbox.block()
        self.turn()
        self.assertEqual(self.wire.writes, [])
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [b"1"])

    def test_unblocked_with_nothing_waiting(self) -> None:
        self.outbox.block()
        self.outbox.unblock()
        self.assertEqual(self.wire.writes, [])
        self.outbox.send(b"1")
        self.turn()
        self.assertEqual(self.wire.writes, [b"1"])


class BrokenWires(OutboxCase, unittest.TestCase):
    def test_the_others_are_flushed_all_the_same(self) -> None:
        wires = [Wire(), Wire(), Wire()]
        outboxes = [Outbox(wire, self.flusher) for wire in wires]
        wires[1].error = RuntimeError("no")
        for outbox in outboxes:
            outbox.send(b"x")
        self.turn()
        self.assertEqual([wire.writes for wire in wires], [[b"x"], [], [b"x"]])
        self.assertEqual(self.failures, [(outboxes[1], wires[1].error)])

    def test_it_is_tried_again_with_what_comes_later(self) -> None:
        self.wire.error = RuntimeError("no")
        self.outbox.send(b"1")
        self.turn()
        self.wire.error = None
        self.outbox.send(b"2")
        self.turn()
        self.assertEqual(self.wire.writes, [b"2"])


class BeforeTheFlush(OutboxCase, unittest.TestCase):
    """What fills outboxes at the end of a turn comes before they are flushed."""

    def test_what_it_offers_goes_out_in_the_same_turn_behind_what_waits(self) -> None:
        self.outbox.send(b"answer ")
        self.flusher.first(lambda: self.outbox.offer("slot", b"message"))
        self.turn()
        self.assertEqual((self.wire.writes, self.turns), ([b"answer message"], []))

    def test_without_anything_else_to_flush(self) -> None:
        self.flusher.first(lambda: self.outbox.offer("slot", b"message"))
        self.turn()
        self.assertEqual((self.wire.writes, self.turns), ([b"message"], []))

    def test_it_is_done_once(self) -> None:
        done: list[int] = []
        self.flusher.first(lambda: done.append(1))
        self.turn()
        self.outbox.send(b"x")
        self.turn()
        self.assertEqual((done, self.wire.writes), ([1], [b"x"]))


class Room(OutboxCase, unittest.TestCase):
    def test_there_is_room_up_to_the_limit(self) -> None:
        self.outbox.send(b"x" * 60)
        self.assertEqual([self.outbox.has_room(octets) for octets in (40, 41)], [True, False])

    def test_there_is_none_while_the_wire_is_full(self) -> None:
        self.outbox.block()
        self.assertFalse(self.outbox.has_room(1))


class PassingOn(OutboxCase, unittest.TestCase):
    """What is all there is in a turn need not wait for its end."""

    def test_at_once_while_nothing_waits(self) -> None:
        self.clock.advance(5)
        self.outbox.pass_on("slot", b"1")
        self.assertEqual((self.wire.writes, self.turns, self.outbox.sent_at), ([b"1"], [], 5.0))

    def test_behind_what_waits(self) -> None:
        self.outbox.send(b"answer ")
        self.outbox.pass_on("slot", b"message")
        self.assertEqual(self.wire.writes, [])
        self.turn()
        self.assertEqual(self.wire.writes, [b"answer message"])

    def test_not_while_the_wire_is_full(self) -> None:
        self.outbox.block()
        self.outbox.pass_on("slot", b"1")
        self.assertEqual((self.wire.writes, self.outbox.octets), ([], 1))
