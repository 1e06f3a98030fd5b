from __future__ import annotations

import os
import unittest

from radiovis.bench.load import Target, cpu_seconds, resident
from radiovis.client.server_address import ServerAddress


class TestOf(unittest.TestCase):
    def test_who_publishes_there_also_listens_by_name(self) -> None:
        target = Target.of(ServerAddress.parse("stomp://1.rock:p%40ss@radio.example:61614"), "/topic/fm/x", [7])
        self.assertEqual((target.host, target.port), ("radio.example", 61614))
        self.assertEqual((target.login, target.passcode), ("1.rock", "p@ss"))
        self.assertEqual((target.topic, target.pids), ("/topic/fm/x", (7,)))
        self.assertTrue(target.everybody_logs_in)

    def test_a_host_alone(self) -> None:
        target = Target.of(ServerAddress.parse("radio.example"), "/topic/x", [])
        self.assertEqual((target.port, target.login), (61613, ""))
        self.assertFalse(target.everybody_logs_in)


class TestProcesses(unittest.TestCase):
    def test_our_own_process_uses_time_and_memory(self) -> None:
        pids = (os.getpid(),)
        self.assertGreater(cpu_seconds(pids), 0)
        self.assertGreater(resident(pids), 1_000)

    def test_a_process_that_is_gone_counts_nothing(self) -> None:
        self.assertEqual(cpu_seconds((2**22 + 1,)), 0)
        self.assertEqual(resident((2**22 + 1,)), 0)
