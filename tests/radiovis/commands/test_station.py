"""station: the file is edited as by hand, or not at all."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import tomllib
import unittest
from datetime import UTC, datetime
from pathlib import Path

from radiovis.directory.password import check_password, hash_password
from tests.radiovis.commands.calling import Done, call

HASH = hash_password("old")
TEXT = f"""# Our stations.

[[station]]
login = "1.rock"            # the first
password = "{HASH}"  # changed every year
networks = ["10.0.0.0/8"]

# Its only frequency.
[[station.channel]]
topic = "/topic/fm/4e1/4000/09580/"

[[station]]
password = '{HASH}'
login = "2.jazz"

[countries]
ch = "4e1" # Switzerland
"""


NEITHER = {"certificates": 0, "old_password_until": None}


class StationsFileCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "stations.toml")
        self.path.write_text(TEXT)

    def station(self, action: str, *words: str, stdin: str = "new\n") -> Done:
        return call("station", action, *words, "--file", str(self.path), stdin=stdin)

    def assert_refused(self, done: Done, part: str) -> None:
        """Exit code 2, one line, and the file as it was."""
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(part, done.stderr)
        self.assertEqual(self.path.read_text(), TEXT)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def password(self, login: str) -> str:
        stations = tomllib.loads(self.path.read_text())["station"]
        return str(next(each["password"] for each in stations if each["login"] == login))


class Passwd(StationsFileCase):
    def test_changes_one_hash_and_no_other_octet(self) -> None:
        for login in ("1.rock", "2.jazz"):
            self.path.write_text(TEXT)
            done = self.station("passwd", login)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            changed = self.password(login)
            self.assertTrue(check_password("new", changed))
            self.assertNotIn("new", done.stdout.replace(str(self.path), ""))
            before, after = TEXT.splitlines(), self.path.read_text().splitlines()
            (line,) = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
            self.assertEqual(after[line].replace(changed, HASH).replace('"', "'"), before[line].replace('"', "'"))

    def test_the_old_one_may_stay_valid_for_a_while(self) -> None:
        done = self.station("passwd", "1.rock", "--keep", "24")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("the one from before is valid until 20", done.stdout)
        station = tomllib.loads(self.path.read_text())["station"][0]
        self.assertTrue(check_password("new", station["password"]))
        self.assertEqual(station["old_password"], HASH)
        hours = (station["old_password_until"] - datetime.now(UTC)).total_seconds() / 3600
        self.assertTrue(23.5 < hours <= 24, hours)
        self.assertIn("# Its only frequency.", self.path.read_text())
        self.station("passwd", "1.rock", stdin="third\n")
        self.assertNotIn("old_password", self.path.read_text())

    def test_an_old_one_that_would_never_end(self) -> None:
        for hours in ("0", "-1", "1e9", "nan", "x"):
            self.assert_refused(self.station("passwd", "1.rock", "--keep", hours), "--keep")

    def test_line_ends_of_windows_stay(self) -> None:
        self.path.write_bytes(TEXT.replace("\n", "\r\n").encode())
        self.assertEqual(self.station("passwd", "1.rock").returncode, 0)
        content = self.path.read_bytes()
        self.assertEqual(content.count(b"\n"), content.count(b"\r\n"))

    def test_mode_and_link_stay(self) -> None:
        self.path.chmod(0o604)
        link = self.path.with_name("link.toml")
        link.symlink_to(self.path.name)
        self.assertEqual(call("station", "passwd", "1.rock", "--file", str(link), stdin="new\n").returncode, 0)
        self.assertTrue(link.is_symlink())
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o604)
        self.assertNotEqual(self.password("1.rock"), HASH)

    def test_the_file_is_replaced_and_not_written_into(self) -> None:
        with self.path.open() as before:
            self.station("passwd", "1.rock")
            self.assertEqual(before.read(), TEXT)

    def test_a_login_nobody_has(self) -> None:
        self.assert_refused(self.station("passwd", "1.rok"), "no such login: 1.rok; did you mean 1.rock?")

    def test_no_password(self) -> None:
        self.assert_refused(self.station("passwd", "1.rock", stdin="\n"), "no password was given")

    def test_a_file_that_is_wrong_already(self) -> None:
        self.path.write_text(TEXT + "[[stations]]\n")
        done = self.station("passwd", "1.rock")
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"{self.path}:", done.stderr)
        self.assertEqual(self.path.read_text(), TEXT + "[[stations]]\n")

    def test_a_file_that_is_not_there(self) -> None:
        done = call("station", "passwd", "1.rock", "--file", "/nowhere/stations.toml", stdin="x\n")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("/nowhere/stations.toml: No such file", done.stderr)


class Add(StationsFileCase):
    def test_a_station_stands_at_the_end(self) -> None:
        topics = ("/topic/fm/4e1/4001/10000/", "/topic/fm/4e1/4001/*/")
        flags = [word for topic in topics for word in ("--topic", topic)]
        done = self.station("add", "3.talk", *flags, "--network", "192.0.2.0/24", "--name", 'Talk "3" é')
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        text = self.path.read_text()
        self.assertTrue(text.startswith(TEXT))
        added = tomllib.loads(text)["station"][2]
        self.assertTrue(check_password("new", added.pop("password")))
        self.assertEqual(
            added,
            {
                "login": "3.talk",
                "name": 'Talk "3" é',
                "networks": ["192.0.2.0/24"],
                "channel": [{"topic": topic} for topic in topics],
            },
        )

    def test_the_first_station_makes_the_file(self) -> None:
        self.path.unlink()
        self.assertEqual(self.station("add", "1.rock").returncode, 0)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.assertTrue(check_password("new", self.password("1.rock")))

    def test_what_no_node_could_use_is_not_written(self) -> None:
        for words, part in (
            (("1.rock",), "1.rock is there already"),
            (("3 talk",), "without spaces"),
            (("3.talk", "--topic", "/topic/fm/4e1/4000/09580/"), "belongs to station 1.rock already"),
            (("3.talk", "--network", "10.0.0.1/8"), "networks"),
        ):
            with self.subTest(words=words):
                self.assert_refused(self.station("add", *words), part)

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_a_folder_that_cannot_be_written(self) -> None:
        self.path.parent.chmod(0o500)
        self.addCleanup(self.path.parent.chmod, 0o700)
        self.assert_refused(self.station("add", "3.talk"), "cannot be written: Permission denied")


class List(StationsFileCase):
    def test_logins_and_channels(self) -> None:
        self.assertEqual(
            json.loads(self.station("list", "--json").stdout),
            [
                {"login": "1.rock", "networks": ["10.0.0.0/8"], "channels": ["/topic/fm/4e1/4000/09580/"], **NEITHER},
                {"login": "2.jazz", "networks": ["0.0.0.0/0", "::/0"], "channels": [], **NEITHER},
            ],
        )
        self.assertEqual(
            self.station("list").stdout.splitlines()[:2],
            ["1.rock  from 10.0.0.0/8", "    /topic/fm/4e1/4000/09580/"],
        )
        self.assertNotIn("scrypt", self.station("list").stdout)

    def test_the_file_of_the_settings(self) -> None:
        self.assertIn("1.rock", call("station", "list", STATIONS_FILE=str(self.path)).stdout)
        self.assertIn("which file?", call("station", "list").stderr)

    def test_an_action_that_is_nearly_one(self) -> None:
        done = call("station", "pasword")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(
            done.stderr,
            "server.py: station: no such word: pasword; did you mean passwd?; see server.py station --help\n",
        )
