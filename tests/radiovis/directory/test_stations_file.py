"""The stations file as a directory: logins, and following the file's changes."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.application.login_throttle import LoginQueue
from radiovis.directory.interface import Channel, Default
from radiovis.directory.password import hash_password
from radiovis.directory.stations_file import REMEMBERED_SECONDS, StationsFile, StationsFileError
from radiovis.directory.stations_parser import read_sections
from tests.authority import Authority

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

    async def test_more_logins_than_are_checked_at_a_time_wait(self) -> None:
        stations = StationsFile(self.path, reactor, queue=LoginQueue(2))
        stations.load()
        words = ["geheim", "falsch"] * 3
        logins = [Deferred.fromCoroutine(stations.check_auth("1.rock", word, "10.0.31.1")) for word in words]
        self.assertEqual(await gatherResults(logins), [True, False] * 3)

    async def test_a_login_that_was_right_is_not_checked_again_for_a_while(self) -> None:
        self.assertTrue(await self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        again = Deferred.fromCoroutine(self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.assertTrue(self.successResultOf(again))
        self.assertEqual(self.stations.remembered, 1)
        self.clock.advance(REMEMBERED_SECONDS)
        checked = Deferred.fromCoroutine(self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.assertFalse(checked.called)
        self.assertTrue(await checked)

    async def test_nothing_else_is_remembered_with_it(self) -> None:
        await self.stations.check_auth("1.rock", "geheim", "10.0.31.1")
        for login in (
            ("1.rock", "Geheim", "10.0.31.1"),
            ("1.rock", "geheim", "10.0.31.2"),
            ("1.rockg", "eheim", "10.0.31.1"),
            ("1.rock", "geheim10", ".0.31.1"),
        ):
            with self.subTest(login):
                checked = Deferred.fromCoroutine(self.stations.check_auth(*login))
                self.assertFalse(checked.called)
                await checked

    async def test_many_of_the_same_login_at_once_are_checked_once(self) -> None:
        stations = StationsFile(self.path, reactor, queue=LoginQueue(1))
        stations.load()
        logins = [Deferred.fromCoroutine(stations.check_auth("1.rock", "geheim", "10.0.31.1")) for _ in range(50)]
        self.assertEqual(await gatherResults(logins), [True] * 50)
        self.assertEqual(stations.remembered, 49)

    async def test_no_password_stays_in_memory(self) -> None:
        await self.stations.check_auth("1.rock", "geheim", "10.0.31.1")
        self.assertNotIn("geheim", repr(vars(self.stations)))

    async def test_the_reactor_goes_on_while_a_password_is_checked(self) -> None:
        login = Deferred.fromCoroutine(self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.assertFalse(login.called)
        self.assertTrue(await login)


class TestTwoPasswords(_StationsFileCase):
    END = 1_800_000_000.0

    def setUp(self) -> None:
        super().setUp()
        until = datetime.fromtimestamp(self.END, UTC).isoformat()
        old = f'password = "{STORED}"\nold_password = "{hash_password("uralt")}"\nold_password_until = {until}'
        self.write(GOOD.replace(f'password = "{STORED}"', old))
        self.now = self.END - 10
        self.stations = StationsFile(self.path, reactor, clock=self.clock, now=lambda: self.now)
        self.stations.load()

    async def allows(self, password: str) -> bool:
        return await self.stations.check_auth("1.rock", password, "10.0.31.1")

    async def test_both_are_right_and_nothing_else(self) -> None:
        found = [await self.allows(password) for password in ("geheim", "uralt", "falsch")]
        self.assertEqual(found, [True, True, False])

    async def test_the_old_one_ends_also_if_it_is_remembered(self) -> None:
        self.assertTrue(await self.allows("uralt"))
        self.now = self.END
        self.clock.advance(10)
        self.assertFalse(await self.allows("uralt"))
        self.assertTrue(await self.allows("geheim"))


class TestCertificates(_StationsFileCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.path.parent, "Clients")
        self.stranger = Authority(self.path.parent, "Stranger")
        self.mine = self.issued(self.authority)

    def issued(self, authority: Authority) -> x509.Certificate:
        return x509.load_pem_x509_certificate(authority.pair()[0])

    def know(self, *certificates: str) -> None:
        """Station 1.rock logs in with one of these, and without a password."""
        text = GOOD.replace(f'password = "{STORED}"', f"certificates = {list(certificates)}")
        self.write(f'client_ca = "{self.authority.certificate.name}"\n{text}')
        self.stations.load()

    def allows(self, certificate: x509.Certificate, login: str = "1.rock", address: str = "10.0.31.1") -> bool:
        octets = certificate.public_bytes(serialization.Encoding.DER)
        return self.stations.check_certificate(login, [octets], address)

    def test_by_its_fingerprint(self) -> None:
        self.know("sha256:" + self.mine.fingerprint(hashes.SHA256()).hex())
        self.assertTrue(self.stations.has_certificates)
        self.assertTrue(self.allows(self.mine))
        self.assertFalse(self.allows(self.issued(self.authority)))
        self.assertFalse(self.allows(self.mine, login="2.jazz"))
        self.assertFalse(self.allows(self.mine, address="10.0.32.1"))

    def test_by_its_subject_if_our_authority_has_signed_it(self) -> None:
        self.know(self.mine.subject.rfc4514_string())
        self.assertTrue(self.allows(self.mine))
        self.assertFalse(self.allows(self.issued(self.authority)))
        forged = self.issued(self.stranger)
        self.assertEqual(forged.subject, self.mine.subject)
        self.assertFalse(self.allows(forged))

    def test_a_subject_whose_certificate_has_expired(self) -> None:
        self.authority.days = -0.5
        expired = self.issued(self.authority)
        self.know(expired.subject.rfc4514_string())
        self.assertFalse(self.allows(expired))

    def test_octets_that_are_no_certificate(self) -> None:
        self.know(self.mine.subject.rfc4514_string())
        self.assertFalse(self.stations.check_certificate("1.rock", [b"\x30\x82"], "10.0.31.1"))

    async def test_there_is_no_password_to_guess(self) -> None:
        self.know(self.mine.subject.rfc4514_string())
        for password in ("", "geheim"):
            self.assertFalse(await self.stations.check_auth("1.rock", password, "10.0.31.1"))

    def test_an_authority_that_cannot_be_read(self) -> None:
        self.write(f'client_ca = "nowhere.pem"\n{GOOD}')
        with self.assertRaisesRegex(StationsFileError, "client_ca: .*nowhere.pem cannot be read"):
            self.stations.load()


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

    async def test_what_was_remembered_is_forgotten_with_a_change(self) -> None:
        self.assertTrue(await self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.write(GOOD.replace(STORED, hash_password("another")))
        self.clock.advance(1)
        self.assertFalse(await self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.assertTrue(await self.stations.check_auth("1.rock", "another", "10.0.31.1"))

    async def test_a_check_that_began_before_a_change_is_not_remembered(self) -> None:
        begun = Deferred.fromCoroutine(self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))
        self.write(GOOD.replace(STORED, hash_password("another")))
        self.clock.advance(1)
        await begun
        self.assertFalse(await self.stations.check_auth("1.rock", "geheim", "10.0.31.1"))

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
