"""Unconfirmed publishes, and those confirmed a short while ago."""

from __future__ import annotations

from pika.spec import BasicProperties
from twisted.trial import unittest

from fanout.bus.interface import BusError
from fanout.bus.unconfirmed_publishes import OVERHEAD, Confirmed, Unconfirmed, UnconfirmedPublish


class Outbox(unittest.TestCase):
    def setUp(self) -> None:
        self.outbox = Unconfirmed(max_count=10, max_bytes=1_000_000, max_age=60.0)

    def add(self, *bodies: bytes, now: float = 0.0) -> None:
        for body in bodies:
            self.outbox.add(BasicProperties(correlation_id=body.decode()), body, now)

    def send(self, count: int) -> list[bytes]:
        return [self.outbox.send_next(0.0).body for _ in range(count)]

    def confirm(self, tag: int, multiple: bool = False) -> list[bytes]:
        return bodies(self.outbox.confirm(tag, multiple))

    def test_sent_in_order_and_confirmed_one_by_one(self) -> None:
        self.add(b"a", b"b", b"c")
        self.assertEqual(self.send(2), [b"a", b"b"])
        self.assertEqual((len(self.outbox), self.outbox.waiting), (3, 1))
        self.assertEqual(self.confirm(1), [b"a"])
        self.assertEqual(self.confirm(2), [b"b"])
        self.assertEqual(len(self.outbox), 1)

    def test_multiple_confirms_all_up_to_the_tag_and_no_more(self) -> None:
        self.add(b"a", b"b", b"c", b"d")
        self.send(4)
        self.assertEqual(self.confirm(2), [b"b"])
        self.assertEqual(self.confirm(3, multiple=True), [b"a", b"c"])
        self.assertEqual(self.confirm(9, multiple=True), [b"d"])

    def test_an_unknown_or_repeated_confirm_is_no_news(self) -> None:
        self.add(b"a")
        self.send(1)
        self.assertEqual(self.confirm(7), [])
        self.assertEqual(self.confirm(1), [b"a"])
        self.assertEqual(self.confirm(1), [])

    def test_after_a_lost_connection_the_unconfirmed_go_first_and_tags_start_again(self) -> None:
        self.add(b"a", b"b", b"c", b"d")
        self.send(3)
        self.confirm(2)
        self.outbox.connection_lost()
        self.add(b"e")
        self.assertEqual(self.send(4), [b"a", b"c", b"d", b"e"])
        self.assertEqual(self.confirm(1), [b"a"])

    def test_full_by_count(self) -> None:
        self.add(*(b"%d" % number for number in range(10)))
        with self.assertRaisesRegex(BusError, "10 messages are already waiting"):
            self.add(b"x")
        self.send(1)
        self.confirm(1)
        self.add(b"x")

    def test_full_by_octets_headers_counted(self) -> None:
        outbox = Unconfirmed(max_count=10, max_bytes=2 * OVERHEAD + 30, max_age=60.0)
        outbox.add(BasicProperties(headers={"topic": "12345"}), b"1234567890", 0.0)
        with self.assertRaisesRegex(BusError, "octets are already waiting"):
            outbox.add(BasicProperties(), b"12345678901", 0.0)
        outbox.add(BasicProperties(), b"1234567890", 0.0)
        outbox.clear()
        outbox.add(BasicProperties(), b"x" * 400, 0.0)

    def test_age_takes_sent_and_waiting_ones_oldest_first(self) -> None:
        self.add(b"a", b"b", now=0.0)
        self.add(b"c", now=5.0)
        self.add(b"d", now=20.0)
        self.send(2)
        self.assertEqual(self.outbox.oldest_deadline(), 60.0)
        self.assertEqual(bodies(self.outbox.expire(59.9)), [])
        self.assertEqual(bodies(self.outbox.expire(65.0)), [b"a", b"b", b"c"])
        self.assertEqual(self.outbox.oldest_deadline(), 80.0)
        self.assertEqual(self.confirm(2, multiple=True), [])

    def test_empty_has_no_deadline(self) -> None:
        self.assertIsNone(self.outbox.oldest_deadline())

    def test_a_returned_one_is_known_at_its_confirm_once(self) -> None:
        self.add(b"a", b"b")
        self.send(2)
        self.outbox.mark_returned("b")
        first, second = self.outbox.confirm(2, multiple=True)
        self.assertFalse(self.outbox.was_returned(first))
        self.assertTrue(self.outbox.was_returned(second))
        self.assertFalse(self.outbox.was_returned(second))

    def test_the_oldest_waiting_one_makes_room_and_those_on_their_way_stay(self) -> None:
        self.add(*(b"%d" % number for number in range(10)))
        self.send(2)
        self.assertEqual((self.outbox.sent, self.outbox.waiting), (2, 8))
        self.assertTrue(self.outbox.drop_oldest())
        self.add(b"new")
        self.assertEqual(self.send(8), [b"3", b"4", b"5", b"6", b"7", b"8", b"9", b"new"])
        self.assertFalse(self.outbox.drop_oldest())
        self.assertEqual(len(self.outbox), 10)

    def test_a_dropped_one_gives_its_octets_back(self) -> None:
        self.outbox = Unconfirmed(10, max_bytes=OVERHEAD + 100, max_age=60.0)
        self.add(bytes(100))
        with self.assertRaises(BusError):
            self.add(bytes(100))
        self.outbox.drop_oldest()
        self.add(bytes(100))

    def test_returns_nobody_asks_about_stay_bounded(self) -> None:
        self.add(b"10")
        for number in range(11):
            self.outbox.mark_returned(str(number))
        self.assertFalse(self.outbox.was_returned(self.outbox.send_next(0.0)))

    def test_clear_gives_all_in_order(self) -> None:
        self.add(b"a", b"b", b"c")
        self.send(2)
        self.assertEqual(bodies(self.outbox.clear()), [b"a", b"b", b"c"])
        self.assertEqual(len(self.outbox), 0)


def bodies(publishes: list[UnconfirmedPublish]) -> list[bytes]:
    return [publish.body for publish in publishes]


def publish(number: int, size: int = 10) -> UnconfirmedPublish:
    return UnconfirmedPublish(number, BasicProperties(), b"", 60.0, size)


def numbers(publishes: list[UnconfirmedPublish]) -> list[int]:
    return [each.number for each in publishes]


class ConfirmedPublishes(unittest.TestCase):
    def test_for_so_long_and_no_longer(self) -> None:
        confirmed = Confirmed(30.0, 10, 1000)
        confirmed.keep(publish(1), 0.0)
        confirmed.keep(publish(2), 1.0)
        confirmed.keep(publish(3), 20.0)
        self.assertEqual(numbers(confirmed.take(30.5)), [2, 3])
        self.assertEqual(confirmed.take(30.5), [])

    def test_so_many_the_newest(self) -> None:
        confirmed = Confirmed(30.0, 3, 1000)
        for number in range(10):
            confirmed.keep(publish(number), 0.0)
        self.assertEqual(len(confirmed), 3)
        self.assertEqual(numbers(confirmed.take(0.0)), [7, 8, 9])

    def test_so_many_octets_and_they_come_back(self) -> None:
        confirmed = Confirmed(30.0, 100, 35)
        for _ in range(2):
            for number in range(10):
                confirmed.keep(publish(number), 0.0)
            self.assertEqual(numbers(confirmed.take(0.0)), [7, 8, 9])

    def test_nothing_when_told_so(self) -> None:
        confirmed = Confirmed(0.0, 100, 1000)
        confirmed.keep(publish(1), 5.0)
        self.assertEqual(len(confirmed), 0)


class SentAgain(unittest.TestCase):
    def test_in_the_order_of_publishing_whatever_the_order_of_confirms(self) -> None:
        outbox, confirmed = Unconfirmed(10, 100_000, 60.0), Confirmed(30.0, 10, 100_000)
        for body in b"abcde":
            outbox.add(BasicProperties(), bytes([body]), 0.0)
        for _ in range(4):
            outbox.send_next(0.0)
        for tag in (3, 1, 4):
            for each in outbox.confirm(tag, multiple=False):
                each.done.callback(None)
                confirmed.keep(each, 1.0)
        self.assertEqual(outbox.unanswered, 2)
        outbox.connection_lost(confirmed.take(2.0))
        self.assertEqual((outbox.waiting, outbox.unanswered), (5, 2))
        self.assertEqual([outbox.send_next(0.0).body for _ in range(5)], [b"a", b"b", b"c", b"d", b"e"])

    def test_they_take_no_room_from_publishers_and_leave_nothing_behind(self) -> None:
        outbox = Unconfirmed(2, 100_000, 60.0)
        sent = [outbox.add(BasicProperties(), b"", 0.0) for _ in range(2)]
        outbox.send_next(0.0)
        outbox.send_next(0.0)
        outbox.confirm(2, multiple=True)
        for each in sent:
            each.done.callback(None)
        outbox.connection_lost(sent)
        for _ in range(2):
            outbox.add(BasicProperties(), b"", 1.0)
        self.assertEqual(outbox.unanswered, 2)
        outbox.clear()
        self.assertEqual((len(outbox), outbox.unanswered), (0, 0))
