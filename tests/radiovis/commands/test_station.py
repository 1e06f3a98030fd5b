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
from radiovis.directory.stations_parser import parse_stations
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


NEITHER = {"certificates": 0, "old_password_until": None, "locked": False}


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
        self.assertIn("the old one stays valid until 20", done.stdout)
        station = tomllib.loads(self.path.read_text())["station"][0]
        self.assertTrue(check_password("new", station["password"]))
        self.assertEqual(station["old_password"], HASH)
        hours = (station["old_password_until"] - datetime.now(UTC)).total_seconds() / 3600
        self.assertTrue(23.5 < hours <= 24, hours)
        self.assertIn("# Its only frequency.\n[[station.channel]]\n", self.path.read_text())
        self.station("passwd", "1.rock", stdin="third\n")
        self.assertNotIn("old_password", self.path.read_text())

    def test_an_old_one_that_would_never_end(self) -> None:
        for hours in ("0", "-1", "1e9", "nan", "x"):
            self.assert_refused(self.station("passwd", "1.rock", "--keep", hours), "must be a number of hours")

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
            (("1.rock",), "1.rock already exists"),
            (("3 .talk",), "without spaces"),
            (("9",), "'9' must have the form <station id>.<name>, such as 9.studio"),
            (("9.",), "'9.' must have the form"),
            ((".talk",), "such as 1.talk"),
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

    def test_it_says_how_to_publish(self) -> None:
        told = self.station("add", "3.talk", "--topic", "/topic/fm/4e1/4001/10000/").stdout
        self.assertIn("server.py pub /topic/fm/4e1/4001/10000/", told)
        self.assertIn("station channel add 4.none", self.station("add", "4.none").stdout)


class Remove(StationsFileCase):
    def test_the_first_goes_with_its_comments_and_channels_and_nothing_else(self) -> None:
        done = self.station("remove", "1.rock")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("removed 1.rock and 1 channel", done.stdout)
        head, rest = TEXT.index("[[station]]"), TEXT.index("[[station]]\npassword = '")
        self.assertEqual(self.path.read_text(), TEXT[:head] + TEXT[rest:])

    def test_the_last_goes_and_what_stands_behind_it_stays(self) -> None:
        self.assertEqual(self.station("remove", "2.jazz").returncode, 0)
        first, behind = TEXT.index("[[station]]\npassword = '"), TEXT.index("[countries]")
        self.assertEqual(self.path.read_text(), TEXT[:first] + TEXT[behind:])

    def test_comments_of_neighbours_stay(self) -> None:
        around = (
            "# The jazz station.\n",
            f"[[station]]\nlogin = '1.a'\npassword = '{HASH}'  # a\n# networks = []\n\n# --- others ---\n\n",
            f"# About b.\n[[station]]\nlogin = '2.b'\npassword = '{HASH}'\n",
        )
        for login, rest in (("1.a", "# The jazz station.\n\n# --- others ---\n\n" + around[2]), ("2.b", None)):
            with self.subTest(login):
                self.path.write_text("".join(around))
                self.assertEqual(self.station("remove", login).returncode, 0)
                kept = self.path.read_text()
                self.assertEqual(kept, rest or around[0] + around[1].rstrip() + "\n")

    def test_one_that_is_written_in_one_line(self) -> None:
        self.path.write_text(
            f'station = [{{login = "1.a", password = "{HASH}"}}, {{login="2.b", password="{HASH}"}}] # x\n'
        )
        self.assertEqual(self.station("remove", "1.a").returncode, 0)
        self.assertEqual([each["login"] for each in tomllib.loads(self.path.read_text())["station"]], ["2.b"])
        self.assertIn("# x", self.path.read_text())

    def test_a_hash_sign_in_a_text_of_several_lines_is_no_comment(self) -> None:
        text = (
            f'[[station]]\nlogin = \'1.a\'\npassword = \'{HASH}\'\nname = """\n# not a comment\n[[station]]\n# a"""\n'
        )
        self.path.write_text(text + f"[[station]]\nlogin = '2.b'\npassword = '{HASH}'\n")
        done = self.station("remove", "2.b")
        stations = tomllib.loads(self.path.read_text())["station"]
        self.assertEqual(stations[0]["name"], "# not a comment\n[[station]]\n# a")
        self.assertEqual(len(stations), 1 if done.returncode == 0 else 2)

    def test_the_only_one_stays(self) -> None:
        self.station("remove", "1.rock")
        left = self.path.read_text()
        done = self.station("remove", "2.jazz")
        self.assertEqual((done.returncode, self.path.read_text()), (2, left))
        self.assertIn("2.jazz is the only station, and a node needs one", done.stderr)

    def test_a_login_nobody_has(self) -> None:
        self.assert_refused(self.station("remove", "1.rok"), "no such login: 1.rok; did you mean 1.rock?")


class Rename(StationsFileCase):
    def test_another_login_changes_one_word(self) -> None:
        done = self.station("rename", "1.rock", "1.studio")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("1.rock is now 1.studio", done.stdout)
        self.assertEqual(self.path.read_text(), TEXT.replace('"1.rock"', '"1.studio"'))

    def test_another_id_takes_the_channels_along_and_says_so(self) -> None:
        done = self.station("rename", "1.rock", "3.rock")
        self.assertIn("its channels now belong to station 3 instead of station 1", done.stdout)

    def test_a_name_for_listeners(self) -> None:
        self.assertEqual(self.station("rename", "1.rock", "--name", "Röck").returncode, 0)
        first, second = tomllib.loads(self.path.read_text())["station"]
        self.assertEqual((first["login"], first["name"]), ("1.rock", "Röck"))
        self.assertNotIn("name", second)
        for comment in ("# the first", "# changed every year", "# Its only frequency.", "# Switzerland"):
            self.assertIn(comment, self.path.read_text())

    def test_what_cannot_be(self) -> None:
        for words, part in (
            (("1.rock",), "give a new login, --name, or both"),
            (("1.rock", "2.jazz"), "2.jazz already exists"),
            (("1.rok", "3.rock"), "no such login: 1.rok; did you mean 1.rock?"),
            (("1.rock", "9"), "'9' must have the form"),
            (("1.rock", "1 .rock"), "without spaces"),
        ):
            with self.subTest(words):
                self.assert_refused(self.station("rename", *words), part)


class ChannelOfAStation(StationsFileCase):
    TOPIC = "/topic/fm/4e1/4001/10000/"

    def channels(self, station: int) -> list[dict[str, str]]:
        found: list[dict[str, str]] = tomllib.loads(self.path.read_text())["station"][station].get("channel", [])
        return found

    def test_one_more_stands_behind_the_last_one_of_its_station(self) -> None:
        done = self.station("channel", "add", "1.rock", self.TOPIC, "--text", "Rock", "--link", "http://rock.example/")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"1.rock may now publish to {self.TOPIC}", done.stdout)
        self.assertEqual(self.channels(0)[1], {"topic": self.TOPIC, "text": "Rock", "link": "http://rock.example/"})
        left = TEXT.splitlines()
        added = ["[[station.channel]]", f'topic = "{self.TOPIC}"', 'text = "Rock"', 'link = "http://rock.example/"']
        behind = left.index('topic = "/topic/fm/4e1/4000/09580/"') + 1
        self.assertEqual(self.path.read_text().splitlines(), left[:behind] + added + left[behind:])

    def test_the_first_one_of_a_station(self) -> None:
        self.assertEqual(self.station("channel", "add", "2.jazz", self.TOPIC).returncode, 0)
        self.assertEqual(
            (self.channels(1), tomllib.loads(self.path.read_text())["countries"]),
            ([{"topic": self.TOPIC}], {"ch": "4e1"}),
        )

    def test_added_and_removed_again_leaves_the_file_as_it_was(self) -> None:
        for login in ("1.rock", "2.jazz"):
            for ends in ("\n", "\r\n"):
                with self.subTest(login=login, ends=ends):
                    before = TEXT.replace("\n", ends).encode()
                    self.path.write_bytes(before)
                    self.station("channel", "add", login, self.TOPIC)
                    self.assertEqual(self.station("channel", "remove", login, self.TOPIC).returncode, 0)
                    self.assertEqual(self.path.read_bytes(), before)

    def test_one_goes_with_its_comment(self) -> None:
        done = self.station("channel", "remove", "1.rock", "/topic/fm/4e1/4000/09580/")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        first, behind = TEXT.index("# Its only"), TEXT.index("[[station]]\npassword = '")
        self.assertEqual(self.path.read_text(), TEXT[:first] + TEXT[behind:])

    def test_channels_that_are_written_in_one_line(self) -> None:
        self.path.write_text(
            f'[[station]]\nlogin = "1.a"\npassword = "{HASH}"\nchannel = [{{topic = "/topic/a/"}}] # x\n'
        )
        self.assertEqual(self.station("channel", "add", "1.a", self.TOPIC).returncode, 0)
        self.assertEqual(self.channels(0), [{"topic": "/topic/a/"}, {"topic": self.TOPIC}])
        self.assertEqual(self.station("channel", "remove", "1.a", "/topic/a/").returncode, 0)
        self.assertEqual(self.channels(0), [{"topic": self.TOPIC}])
        self.assertIn("# x", self.path.read_text())

    def test_what_cannot_be(self) -> None:
        mine = "/topic/fm/4e1/4000/09580/"
        for words, part in (
            (("add", "1.rok", self.TOPIC), "no such login: 1.rok; did you mean 1.rock?"),
            (("add", "2.jazz", mine), "belongs to station 1.rock already"),
            (("add", "2.jazz", "fm/4e1"), "topic"),
            (("add", "2.jazz", self.TOPIC, "--image", "ftp://x/"), "http"),
            (("remove", "1.rock", "/topic/fm/4e1/4000/09581/"), f"did you mean {mine}?"),
            (("remove", "2.jazz", mine), f"{mine} is a channel of 1.rock, not of 2.jazz"),
            (("remove", "2.jazz", self.TOPIC), "it has no channels"),
            (("remove", "1.rock", mine, "--text", "x"), "can only be used with add"),
            (("ad", "1.rock", mine), "did you mean add?"),
        ):
            with self.subTest(words):
                self.assert_refused(self.station("channel", *words), part)


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
        self.assertIn("there is no stations file to edit: give --file", call("station", "list").stderr)

    def test_an_action_that_is_nearly_one(self) -> None:
        done = call("station", "pasword")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(
            done.stderr,
            "server.py: station: unknown word: pasword; did you mean passwd?; see server.py station --help\n",
        )


SERVICES = """{
  "rock": {"name": "Rock FM", "default_image": "http://img.example/rock.png", "bearers": ["fm:4e1.4000.09580"]},
  "jazz": {"bearers": ["dab:4e1.4fff.4001.0", "fm:4e1.4001.09900"]}
}
"""


class ImportBbc(StationsFileCase):
    def setUp(self) -> None:
        super().setUp()
        self.services = self.path.with_name("services.json")
        self.services.write_text(SERVICES)
        self.new = self.path.with_name("new.toml")

    def import_bbc(self, *words: str, stdin: str = "") -> Done:
        return call("station", "import-bbc", str(self.services), *words, stdin=stdin)

    def assert_nothing_written(self, done: Done, *lines: str) -> None:
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(len(done.stderr.splitlines()), len(lines), done.stderr)
        for found, part in zip(done.stderr.splitlines(), lines, strict=True):
            self.assertIn(part, found)
        self.assertEqual(self.path.read_text(), TEXT)
        self.assertEqual({each.name for each in self.path.parent.iterdir()}, {self.path.name, self.services.name})

    def test_to_stdout(self) -> None:
        done = self.import_bbc()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        stations = parse_stations(done.stdout, "stdout")
        self.assertEqual(list(stations.accounts), ["rock", "jazz"])
        self.assertEqual(stations.channels["jazz"], ("/topic/dab/4e1/4fff/4001/0/", "/topic/fm/4e1/4001/09900/"))
        self.assertEqual(stations.locked, ("rock", "jazz"))

    def test_to_a_file_that_other_actions_and_check_config_take(self) -> None:
        done = self.import_bbc("-o", str(self.new))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, f"{self.new}: 2 stations with 3 channels\n")
        self.assertEqual(stat.S_IMODE(self.new.stat().st_mode), 0o640)
        checked = call("check-config", "--standalone", STATIONS_FILE=str(self.new))
        self.assertEqual(checked.returncode, 0)
        self.assertIn("these logins have no password; `station passwd` sets one: rock, jazz", checked.stdout)
        listed = call("station", "list", "--file", str(self.new))
        self.assertIn("rock  from anywhere  (no password yet)", listed.stdout.splitlines())
        for words in (("rock",), ("jazz", "--keep", "24")):
            done = call("station", "passwd", *words, "--file", str(self.new), stdin="new\n")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(done.stdout, f"{self.new}: the password of {words[0]} was changed\n")
        report = json.loads(call("check-config", "--standalone", "--json", STATIONS_FILE=str(self.new)).stdout)
        self.assertEqual([line for line in report["warnings"] if "passwd" in line], [])

    def test_one_password_for_all(self) -> None:
        done = self.import_bbc("--password", "-o", str(self.new), stdin="all of us\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        hashes = [each["password"] for each in tomllib.loads(self.new.read_text())["station"]]
        self.assertEqual(len(set(hashes)), 2, "each has a salt of its own")
        self.assertTrue(all(check_password("all of us", each) for each in hashes))
        self.new.unlink()
        self.assert_nothing_written(self.import_bbc("--password", "-o", str(self.new)), "no password was given")

    def test_a_file_is_only_replaced_with_force(self) -> None:
        self.assert_nothing_written(self.import_bbc("-o", str(self.path)), "already exists; --force replaces it")
        self.path.write_text("this was no stations file")
        self.path.chmod(0o600)
        done = self.import_bbc("-o", str(self.path), "--force")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.path.read_text(), self.import_bbc().stdout)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_every_fault_is_a_line_and_nothing_is_written(self) -> None:
        self.services.write_text(SERVICES.replace("dab:", "xyz:").replace('"Rock FM"', "1"))
        for words in ((), ("-o", str(self.new)), ("-o", str(self.path), "--force")):
            with self.subTest(words=words):
                self.assert_nothing_written(
                    self.import_bbc(*words),
                    f"{self.services}:2: service rock: name: must be a text in quotes, not a number",
                    f"{self.services}:3: service jazz: bearers[0]: 'xyz:4e1.4fff.4001.0' is not a bearer of fm,",
                )

    def test_text_from_the_file_cannot_move_the_cursor(self) -> None:
        self.services.write_text('{"\\u001b[2J": {"bearers": []}}')
        self.assertNotIn("\x1b", self.import_bbc().stderr)

    def test_fields_that_are_left_out_are_named(self) -> None:
        self.services.write_text('{"rock": {"bearers": [], "colour": "red"}}')
        done = self.import_bbc()
        self.assertEqual(
            (done.returncode, done.stderr), (0, f"server.py: {self.services}:1: service rock: colour: is not used\n")
        )

    def test_wrong_usage(self) -> None:
        self.assert_nothing_written(self.import_bbc("--force"), "--force needs --output")
        nowhere = self.path.parent / "none" / "new.toml"
        self.assert_nothing_written(self.import_bbc("-o", str(nowhere)), "No such file or directory")
        self.services.unlink()
        done = self.import_bbc()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("cannot be read: No such file", done.stderr)
