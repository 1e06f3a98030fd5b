from __future__ import annotations

from twisted.trial import unittest

from radiovis.watchdog.recent_serials import RecentSerials, own_serial


def serial(number: int) -> str:
    return f"fanout-{'a' * 32}-{number}"


class TestRecentSerials(unittest.TestCase):
    def test_exactly_those_seen(self) -> None:
        serials = RecentSerials()
        serials.add(serial(5))
        self.assertIn(serial(5), serials)
        self.assertNotIn(serial(4), serials, "it may have been refused, and comes again")

    def test_a_strangers_serial_and_none_are_never_known(self) -> None:
        serials = RecentSerials()
        for stranger in ("", "1", serial(1) + "\n"):
            serials.add(stranger)
            self.assertNotIn(stranger, serials)
            self.assertEqual(own_serial(stranger), "")

    def test_the_oldest_are_forgotten(self) -> None:
        serials = RecentSerials(size=3)
        for number in range(5):
            serials.add(serial(number))
        self.assertEqual([number for number in range(5) if serial(number) in serials], [2, 3, 4])
