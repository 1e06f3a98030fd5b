from __future__ import annotations

import unittest

from tests.chaos.account import Account, Life

TOPIC = "/topic/a/b"


class Accounts(unittest.TestCase):
    """What the chaos test would say of a server that loses, doubles or disorders."""

    def setUp(self) -> None:
        self.account = Account()

    def publish(self, *times: float, receipted: bool = True) -> None:
        for time in times:
            number = self.account.sent(TOPIC, time)
            if receipted:
                self.account.receipted(TOPIC, number)

    def radio(self, began: float, *numbers: int) -> Life:
        life = self.account.life(7)
        life.began[TOPIC] = began
        for number in numbers:
            life.hear(TOPIC, number)
        return life

    def test_all_is_well(self) -> None:
        self.publish(1.0, 2.0, 3.0)
        life = self.radio(0.5, 1, 2, 3)
        self.assertEqual((list(self.account.lost()), life.doubled, life.disordered), ([], [], []))
        self.assertEqual((life.count, self.account.publishes()), (3, (3, 3)))

    def test_what_a_radio_that_stayed_did_not_hear_is_lost(self) -> None:
        self.publish(1.0, 2.0, 3.0)
        self.radio(0.5, 1, 3)
        self.assertEqual(list(self.account.lost()), [(7, TOPIC, 2)])

    def test_the_last_one_too(self) -> None:
        self.publish(1.0, 2.0)
        self.radio(0.5)
        self.assertEqual([number for _, _, number in self.account.lost()], [1, 2])

    def test_nobody_misses_what_was_sent_before_he_came_nor_what_had_no_receipt_nor_when_he_left(self) -> None:
        self.publish(1.0)
        self.publish(2.0, receipted=False)
        self.radio(1.5)
        self.radio(0.5).ended = True
        self.assertEqual(list(self.account.lost()), [])
        self.assertEqual((self.account.newest(TOPIC), self.account.newest_receipted(TOPIC)), (2, 1))

    def test_who_left_has_missed_nothing_before_what_he_heard_last(self) -> None:
        self.publish(1.0, 2.0, 3.0, 4.0)
        self.radio(0.5, 1, 3).ended = True
        self.assertEqual(list(self.account.lost()), [(7, TOPIC, 2)])

    def test_twice_is_doubled_and_backwards_is_disorder(self) -> None:
        life = self.radio(0.0, 1, 3, 3, 2, 4)
        self.assertEqual((life.doubled, life.disordered), ([(TOPIC, 3)], [(TOPIC, 2)]))
