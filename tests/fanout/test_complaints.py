from __future__ import annotations

import structlog
from structlog.testing import capture_logs
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest

from fanout.complaints import Complaints
from fanout.doors.tally import Tally
from fanout.throttle import Throttle


class Lines(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        logs = capture_logs()
        self.lines = logs.__enter__()
        self.addCleanup(logs.__exit__, None, None, None)
        self.complaints = Complaints(Tally(), Throttle(self.clock.seconds), structlog.get_logger())

    def test_a_flood_of_faults_of_one_address_is_a_line_a_second(self) -> None:
        for _ in range(10):
            self.complaints.complain("client.turned_away", "192.0.2.1", connections=5)
        self.complaints.complain("client.turned_away", "192.0.2.2")
        self.assertEqual([line["address"] for line in self.lines], ["192.0.2.1", "192.0.2.2"])
        self.clock.advance(1)
        self.complaints.complain("client.turned_away", "192.0.2.1")
        self.assertEqual(self.lines[-1]["held_back"], 9)

    def test_one_kind_hides_no_other_of_the_same_address(self) -> None:
        for _ in range(10):
            self.complaints.complain("client.fault", "192.0.2.1")
        self.complaints.complain("login.refused", "192.0.2.1", login="1.rock")
        self.assertEqual([line["event"] for line in self.lines], ["client.fault", "login.refused"])

    def test_faults_of_ours_come_with_what_was_raised(self) -> None:
        error = ValueError("broken")
        self.complaints.failed(self, error)
        self.complaints.report(Failure(error), "catch_up.failed")
        self.assertEqual([line["event"] for line in self.lines], ["client.failed", "catch_up.failed"])
        self.assertEqual((self.lines[0]["part"], self.lines[0]["exc_info"]), ("Lines", error))
        self.assertIs(self.lines[1]["exc_info"][1], error)
