"""Second copies of a message are dropped, by the serial numbers of their publishers."""

from __future__ import annotations

from twisted.trial import unittest

from fanout.bus.duplicates import Seen, Serials, is_later


class ACopyIsTakenOnce(unittest.TestCase):
    def test_copies_after_a_reconnect_are_dropped_and_the_rest_is_not(self) -> None:
        serials, seen = Serials(), Seen()
        one, two, three, four = (serials.next() for _ in range(4))
        self.assertEqual([seen.is_new(each) for each in (one, two)], [True, True])
        self.assertEqual([seen.is_new(each) for each in (one, two, three, four)], [False, False, True, True])

    def test_publishers_do_not_disturb_each_other(self) -> None:
        seen, ours, theirs = Seen(), Serials(), Serials()
        for _ in range(3):
            self.assertTrue(seen.is_new(ours.next()))
        self.assertTrue(seen.is_new(theirs.next()))

    def test_what_was_left_out_is_counted(self) -> None:
        serials, seen = Serials(), Seen()
        given = [serials.next() for _ in range(10)]
        for index, missed in ((2, 0), (3, 0), (6, 2), (4, 2), (6, 2), (9, 4)):
            seen.is_new(given[index])
            self.assertEqual(seen.missed, missed, index)

    def test_after_a_loss_the_first_message_of_each_publisher_leaves_nothing_out(self) -> None:
        one, other, seen = Serials(), Serials(), Seen()
        ours, theirs = ([serials.next() for _ in range(9)] for serials in (one, other))
        for each in (ours[0], theirs[0]):
            seen.is_new(each)
        self.assertTrue(seen.leaves_out(ours[2]))
        seen.were_lost()
        self.assertFalse(seen.leaves_out(ours[2]))
        self.assertTrue(seen.is_new(ours[2]))
        self.assertEqual(seen.missed, 1, "it counts nevertheless")
        self.assertTrue(seen.leaves_out(ours[4]), "it is the second one")
        self.assertFalse(seen.leaves_out(theirs[4]))

    def test_a_device_may_use_correlation_ids_as_it_likes(self) -> None:
        seen = Seen()
        for given in ("1", "1", None, None, b"\xff", "fanout-1", "fanout-x-1", "", "fanout-x-1"):
            self.assertTrue(seen.is_new(given), given)

    def test_memory_is_bounded_and_forgets_the_longest_silent(self) -> None:
        seen, publishers = Seen(max_publishers=2), [Serials() for _ in range(3)]
        first = publishers[0].next()
        self.assertTrue(seen.is_new(first))
        second = publishers[1].next()
        self.assertTrue(seen.is_new(second))
        self.assertTrue(seen.is_new(publishers[0].next()))
        self.assertTrue(seen.is_new(publishers[2].next()))
        self.assertFalse(seen.is_new(first))
        self.assertTrue(seen.is_new(second))

    def test_a_publisher_is_known_from_its_first_message_on(self) -> None:
        seen, serials, others = Seen(max_publishers=2), Serials(), [Serials() for _ in range(2)]
        first = serials.next()
        self.assertFalse(seen.knows(first))
        seen.is_new(first)
        self.assertTrue(seen.knows(serials.next()), "by its publisher, not by its number")
        self.assertFalse(seen.knows(others[0].next()))
        for stranger in (None, 7, "", "x" + first, first + "0" * 18, first.upper()):
            self.assertFalse(seen.knows(stranger), stranger)
        for other in others:
            seen.is_new(other.next())
        self.assertFalse(seen.knows(serials.next()), "the publisher heard longest ago is forgotten")


class OfTwoMessagesOneIsLater(unittest.TestCase):
    def test_by_the_numbers_of_their_publisher(self) -> None:
        serials = Serials()
        given = [serials.next() for _ in range(11)]
        self.assertIs(is_later(given[10], given[2]), True, "as a number, and not as text")
        self.assertIs(is_later(given[2], given[10]), False)
        self.assertIs(is_later(given[2], given[2]), False)

    def test_nothing_is_known_of_two_publishers_or_without_numbers(self) -> None:
        serial = Serials().next()
        for other in (Serials().next(), "", "1", f"{serial}x"):
            self.assertIsNone(is_later(serial, other), other)
            self.assertIsNone(is_later(other, serial), other)
