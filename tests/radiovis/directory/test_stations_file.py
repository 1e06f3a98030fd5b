"""The stations file as a directory: logins, and following the file's changes."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial import unittest

from radiovis.directory.interface import Channel, Default, DirectoryError
from radiovis.directory.password import hash_password
from radiovis.directory.stations_file import StationsFile, StationsFileError
from radiovis.directory.stations_parser import read_sections

STORED = hash_password("geheim")
GOOD = f"""\
[[station]]
login = "1.rock"
password = "{STORED}"
networks = ["10.0.16.0/20"]
[[station.channel]]
topic = "/topic/fm/4e1/4000/09580/"
text = "Rock FM"
[countries]
ch = "4e1"
"""
MORE = GOOD + f'[[station]]\nlogin = "2.jazz"\npassword = "{STORED}"\n'


class _StationsFileCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "stations.toml"
        self.path.write_text(GOOD)
        self.clock = Clock()
        self.changes: list[int] = []
        self.stations = StationsFile(
            self.path, reactor, clock=self.clock, on_change=lambda: self.changes.append(1), interval=1.0
        )

    def write(self, text: str) -> None:
        """As a careful editor does: the new file takes the old one's place."""
        other = self.path.with_suffix(".new")
        other.write_text(text)
        other.replace(self.path)


class TestDirectory(_StationsFileCase):
    def setUp(self) -> None:
        super().setUp()
        self.stations.load()

    async def test_logins(self) -> None:
        cases = {
            ("1.rock", "geheim", "10.0.31.1"): True,
            ("1.rock", "geheim", "::ffff:10.0.31.1"): True,
            ("1.rock", "geheim", "10.0.32.1"): False,
            ("1.rock", "Geheim", "10.0.31.1"): False,
            ("1.rock", "", "10.0.31.1"): False,
            ("1.rock", STORED, "10.0.31.1"): False,
            ("1.ROCK", "geheim", "10.0.31.1"): False,
            ("1", "geheim", "10.0.31.1"): False,
            ("", "", "10.0.31.1"): False,
        }
        for login, allowed in cases.items():
            self.assertIs(await self.stations.check_auth(*login), allowed, login)

    async def test_what_it_knows(self) -> None:
        topic = "/topic/fm/4e1/4000/09580/"
        self.assertEqual(await self.stations.channels("1"), (topic,))
        self.assertEqual(await self.stations.channels("2"), ())
        self.assertEqual([await self.stations.gcc(country) for country in ("ch", "zz")], ["4e1", None])
        (channel,) = await self.stations.topics()
        self.assertEqual(channel, Channel(topic, channel.id, True))
        self.assertEqual(await self.stations.default(channel.id), Default(text="Rock FM"))
        self.assertIsNone(await self.stations.default(channel.id + 1))

    async def test_fault_8_an_unknown_login_takes_as_long_as_a_known_one(self) -> None:
        async def median(login: str, address: str) -> float:
            times = []
            for _ in range(7):
                begin = time.monotonic()
                await self.stations.check_auth(login, "wrong", address)
                times.append(time.monotonic() - begin)
            return statistics.median(times)

        known = await median("1.rock", "10.0.31.1")
        for login, address in (("9.none", "10.0.31.1"), ("1.rock", "203.0.113.1")):
            self.assertGreater(await median(login, address), known / 4)  # Without the work it is a thousandth.

    async def test_fault_8_nothing_of_a_password_is_logged(self) -> None:
        with capture_logs() as logs:
            await self.stations.check_auth("1.rock", "verraten", "10.0.31.1")
            self.write(GOOD.replace(STORED, "verraten"))
            self.stations.reload()
        self.assertEqual([line["event"] for line in logs], ["stations.refused"])
        self.assertNotIn("verraten", repr(logs))

    async def test_a_flood_of_logins_does_not_pile_up(self) -> None:
        stations = StationsFile(self.path, reactor, max_logins=2)
        stations.load()
        logins = [Deferred.fromCoroutine(stations.check_auth("1.rock", "geheim", "10.0.31.1")) for _ in range(2)]
        with self.assertRaisesRegex(DirectoryError, "2 logins"):
            await stations.check_auth("1.rock", "geheim", "10.0.31.1")
        self.assertEqual(await gatherResults(logins), [True, True])
        self.assertTrue(await stations.check_auth("1.rock", "geheim", "10.0.31.1"))

    async def test_the_reactor_goes_on_while_a_password_is_checked(self) -> None:
        login = Deferred.fromCoroutine(self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.assertFalse(login.called)
        self.assertTrue(await login)


class TestLoad(_StationsFileCase):
    def test_a_file_that_is_not_there_or_no_file(self) -> None:
        missing = StationsFile(self.path.with_name("none"), reactor)
        with self.assertRaisesRegex(StationsFileError, r"none: cannot be read: No such file"):
            missing.load()
        with self.assertRaisesRegex(StationsFileError, "cannot be read: Is a directory"):
            StationsFile(self.path.parent, reactor).load()

    def test_a_file_that_is_no_text_names_the_line(self) -> None:
        self.path.write_bytes(GOOD.encode().replace(b"Rock FM", b"Rock \xff"))
        with self.assertRaisesRegex(StationsFileError, ":7: is not UTF-8"):
            self.stations.load()

    def test_a_file_far_too_long(self) -> None:
        self.path.write_text("#" * (8 * 2**20 + 1))
        with self.assertRaisesRegex(StationsFileError, "longer than"):
            self.stations.load()


class TestReload(_StationsFileCase):
    def setUp(self) -> None:
        super().setUp()
        self.stations.load()
        self.stations.start()
        self.addCleanup(self.stations.stop)

    async def known(self) -> bool:
        return await self.stations.check_auth("2.jazz", "geheim", "::1")

    async def test_a_change_is_taken_over_within_a_second(self) -> None:
        self.assertFalse(await self.known())
        self.write(MORE)
        self.clock.advance(1)
        self.assertTrue(await self.known())
        self.assertEqual(self.changes, [1])

    async def test_a_file_written_in_place_is_noticed_too(self) -> None:
        self.path.write_text(MORE)
        self.clock.advance(1)
        self.assertTrue(await self.known())

    async def test_a_change_of_the_same_length_and_time_is_noticed(self) -> None:
        before = self.path.stat()
        self.write(GOOD.replace("1.rock", "2.jazz").replace('["10.0.16.0/20"]', '["::/0"]        '))
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertEqual((self.path.stat().st_size, self.path.stat().st_mtime_ns), (before.st_size, before.st_mtime_ns))
        self.clock.advance(1)
        self.assertTrue(await self.known())

    async def test_an_unchanged_file_is_not_read_again(self) -> None:
        self.clock.pump([1] * 10)
        self.assertEqual(self.changes, [])

    async def test_a_broken_edit_keeps_the_old_list_and_says_why_once_with_its_line(self) -> None:
        with capture_logs() as logs:
            self.write(MORE.replace("2.jazz", "1.rock"))
            self.clock.pump([1] * 10)
        self.assertEqual([line["event"] for line in logs], ["stations.refused"])
        self.assertIn(f"{self.path}:11: station 1.rock: login: another station", logs[0]["error"])
        self.assertEqual(self.stations.refused, logs[0]["error"])
        self.assertEqual(self.changes, [])
        self.assertTrue(await self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.write(MORE)
        self.clock.advance(1)
        self.assertEqual(self.stations.refused, "")
        self.assertTrue(await self.known())

    async def test_a_file_taken_away_keeps_the_old_list(self) -> None:
        with capture_logs() as logs:
            self.path.unlink()
            self.clock.pump([1] * 10)
        self.assertEqual([line["event"] for line in logs], ["stations.refused"])
        self.assertTrue(await self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.path.write_text(MORE)
        self.clock.advance(1)
        self.assertTrue(await self.known())

    async def test_a_listener_that_fails_does_not_end_the_looking(self) -> None:
        def fail() -> None:
            raise RuntimeError("a mistake of the listener")

        stations = StationsFile(self.path, reactor, clock=self.clock, on_change=fail)
        stations.load()
        stations.start()
        self.addCleanup(stations.stop)
        self.write(MORE)
        with capture_logs() as logs:
            self.clock.advance(1)
        self.assertIn("stations.on_change", [line["event"] for line in logs])
        self.write(GOOD)
        self.clock.advance(1)
        self.assertFalse(await stations.check_auth("2.jazz", "geheim", "::1"))

    async def test_after_stop_nothing_is_followed(self) -> None:
        self.stations.stop()
        self.write(MORE)
        self.clock.pump([1] * 3)
        self.assertFalse(await self.known())
        self.assertTrue(self.stations.reload())
        self.assertTrue(await self.known())


TEXT = '''\
top = 1
[[station]]   # a comment
login = "1.rock"
"password" = "x"
text = """
[[station]]
login = "not a key"
"""
  [[ station . channel ]]
  topic = "/topic/a/"
[[station]]
networks = [
  "10.0.0.0/8",
]
s = \'\'\'one line\'\'\'
after = 1  # """
last.dotted = 2
'''


class TestReadSections(unittest.SynchronousTestCase):
    def test_finds_each_header_and_key(self) -> None:
        found = [(section.name, section.line, section.keys) for section in read_sections(TEXT)]
        self.assertEqual(
            found,
            [
                ("", 1, {"top": 1, "station": 2}),
                ("station", 2, {"login": 3, "password": 4, "text": 5}),
                ("station.channel", 9, {"topic": 10}),
                ("station", 11, {"networks": 12, "s": 15, "after": 16, "last": 17}),
            ],
        )

    def test_a_key_that_is_not_there_is_at_its_header(self) -> None:
        station = read_sections(TEXT)[1]
        self.assertEqual([station.line_of(key) for key in ("login", "name", None)], [3, 2, 2])
