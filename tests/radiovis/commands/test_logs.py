"""``logs``: who published, and deleting a station's records."""

from __future__ import annotations

import json
import tempfile
import time
import unittest
from pathlib import Path

from fanout.hub.message import Origin
from fanout.journal.records import Ledger, Record
from tests.radiovis.commands.calling import Done, call

ROCK, JAZZ = Origin("1", "1.rock", "192.0.2.1", "stomp"), Origin("2", "2.jazz", "", "http")


class TestPublishers(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = str(Path(folder.name) / "journal.sqlite")
        self.ledger = Ledger(self.file, time.time)
        self.addCleanup(self.ledger.close)
        now = int(time.time())
        origins = (ROCK, JAZZ, None)
        self.ledger.add([Record(f"/t/{i}", b"TEXT %d" % i, (), now, origin=each) for i, each in enumerate(origins)])
        self.ledger.add([Record("/t/old", b"TEXT old", (), now - 10**6, origin=ROCK)])

    def logs(self, *words: str) -> Done:
        return call("logs", "--file", self.file, *words)

    def test_a_line_names_the_publisher(self) -> None:
        first, second, third = self.logs().stdout.splitlines()
        self.assertTrue(first.endswith("TEXT 0  (1.rock from 192.0.2.1 over stomp)"), first)
        self.assertTrue(second.endswith("TEXT 1  (2.jazz over http)"), second)
        self.assertTrue(third.endswith("TEXT 2"), third)

    def test_json_has_it(self) -> None:
        found = [json.loads(line)["publisher"] for line in self.logs("--json").stdout.splitlines()]
        self.assertEqual(found, [ROCK._asdict(), JAZZ._asdict(), None])

    def test_those_of_a_station_or_login(self) -> None:
        for words in (("--station", "2"), ("--login", "2.jazz"), ("/t/*", "--station", "2", "--login", "2.jazz")):
            with self.subTest(words):
                (line,) = self.logs("--json", *words).stdout.splitlines()
                self.assertEqual(json.loads(line)["topic"], "/t/1")

    def test_tail_shows_the_newest_last(self) -> None:
        now = int(time.time())
        self.ledger.add([Record("/t/late", b"TEXT late", (), now + 5), Record("/t/early", b"TEXT early", (), now - 5)])
        for count, bodies in (
            (1, ["TEXT late"]),
            (2, ["TEXT 2", "TEXT late"]),
            (100, ["TEXT old", "TEXT early", "TEXT 0", "TEXT 1", "TEXT 2", "TEXT late"]),
        ):
            with self.subTest(count):
                lines = self.logs("--tail", str(count), "--json").stdout.splitlines()
                self.assertEqual([json.loads(line)["body"] for line in lines], bodies)

    def test_tail_of_a_topic_of_a_station_and_of_a_time(self) -> None:
        for words, bodies in (
            (("/t/0",), ["TEXT 0"]),
            (("--station", "1"), ["TEXT old", "TEXT 0"]),
            (("--station", "1", "--from", "1h"), ["TEXT 0"]),
            (("/none/*",), []),
        ):
            with self.subTest(words):
                lines = self.logs("--tail", "2", "--json", *words).stdout.splitlines()
                self.assertEqual([json.loads(line)["body"] for line in lines], bodies)

    def test_tail_is_a_number_from_1_and_no_limit(self) -> None:
        for words in (("--tail", "0"), ("--tail", "x"), ("--tail", "1", "--limit", "1")):
            with self.subTest(words):
                done = self.logs(*words)
                self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, "", 1))

    def test_deletes_all_of_a_station(self) -> None:
        done = self.logs("--delete", "--station", "1")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "2 messages were deleted\n", ""))
        self.assertEqual(len(self.logs("--from", "0000000000").stdout.splitlines()), 2)
        self.ledger.add([Record("/t/new", b"TEXT", (), int(time.time()))])  # The process whose journal it is goes on.

    def test_deletes_no_more_than_was_meant(self) -> None:
        for words in (
            (),
            ("/t/*",),
            ("--station", "1", "--limit", "1"),
            ("--station", "1", "--follow"),
            ("--station", "1", "--tail", "1"),
        ):
            with self.subTest(words):
                done = self.logs("--delete", *words)
                self.assertEqual(done.returncode, 2)
                self.assertIn("--delete", done.stderr)
        self.assertEqual(self.logs("--delete", "--station", "1", "--to", "7d").stdout, "1 message was deleted\n")
