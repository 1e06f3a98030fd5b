from __future__ import annotations

from pika.spec import BasicProperties
from twisted.trial import unittest

from fanout.bus.confirmed import Confirmed
from fanout.bus.unconfirmed import Publish, Unconfirmed


def publish(number: int, size: int = 10) -> Publish:
    return Publish(number, BasicProperties(), b"", 60.0, size)


def numbers(publishes: list[Publish]) -> list[int]:
    return [each.number for each in publishes]


class Kept(unittest.TestCase):
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
            outbox.send_next()
        for tag in (3, 1, 4):
            for each in outbox.confirm(tag, multiple=False):
                each.done.callback(None)
                confirmed.keep(each, 1.0)
        self.assertEqual(outbox.unanswered, 2)
        outbox.connection_lost(confirmed.take(2.0))
        self.assertEqual((outbox.waiting, outbox.unanswered), (5, 2))
        self.assertEqual([outbox.send_next().body for _ in range(5)], [b"a", b"b", b"c", b"d", b"e"])

    def test_they_take_no_room_from_publishers_and_leave_nothing_behind(self) -> None:
        outbox = Unconfirmed(2, 100_000, 60.0)
        sent = [outbox.add(BasicProperties(), b"", 0.0) for _ in range(2)]
        outbox.send_next()
        outbox.send_next()
        outbox.confirm(2, multiple=True)
        for each in sent:
            each.done.callback(None)
        outbox.connection_lost(sent)
        for _ in range(2):
            outbox.add(BasicProperties(), b"", 1.0)
        self.assertEqual(outbox.unanswered, 2)
        outbox.clear()
        self.assertEqual((len(outbox), outbox.unanswered), (0, 0))
