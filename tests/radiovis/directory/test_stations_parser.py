"""Every check a stations file must pass, and the line each error names."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from radiovis.directory.interface import Default
from radiovis.directory.stations_parser import Account, KnownCertificate, Stations, StationsFileError, parse_stations

STORED = "scrypt$1024$8$1$MDEyMzQ1Njc4OWFiY2RlZg==$MDEyMzQ1Njc4OWFiY2RlZg=="
GOOD = f"""\
[[station]]
login = "1.rock"
name = "Rock"
password = "{STORED}"
networks = ["10.0.16.0/20", "2001:db8::/32"]
[[station.channel]]
topic = "/topic/fm/4e1/4000/09580/"
image = "http://img.example/rock.png"
text = "Rock FM"
link = "https://rock.example/?a=1"
[[station.channel]]
topic = "/topic/dab/4e1/4fff/4001/0"

[[station]]
login = "1.second"
password = "{STORED}"
[[station.channel]]
topic = "/topic/id/rock.example/1/"

[[station]]
login = "2.jazz"
password = "{STORED}"

[countries]
ch = "4e1"
"""


def parse(text: str) -> Stations:
    return parse_stations(text, "stations.toml")


class TestContent(unittest.SynchronousTestCase):
    def test_logins_channels_defaults_and_countries(self) -> None:
        stations = parse(GOOD)
        self.assertEqual(set(stations.accounts), {"1.rock", "1.second", "2.jazz"})
        self.assertEqual(stations.countries, {"ch": "4e1"})
        rock = stations.topics[0]
        self.assertEqual(rock.topic, "/topic/fm/4e1/4000/09580/")
        default = Default("http://img.example/rock.png", "Rock FM", "https://rock.example/?a=1")
        self.assertEqual(stations.defaults, {rock.id: default})
        self.assertTrue(all(channel.listed for channel in stations.topics))

    def test_logins_of_one_station_share_its_channels(self) -> None:
        channels = parse(GOOD).channels
        self.assertEqual(set(channels), {"1"})
        self.assertEqual(len(channels["1"]), 3)
        self.assertIn("/topic/dab/4e1/4fff/4001/0/", channels["1"])

    def test_a_channel_keeps_its_number_wherever_it_stands(self) -> None:
        numbers = {channel.topic: channel.id for channel in parse(GOOD).topics}
        first, *rest = GOOD.split("[[station]]\n")[1:]
        rest[-1], countries = rest[-1].split("[countries]")
        turned = "[[station]]\n" + "[[station]]\n".join([*reversed(rest), first]) + "[countries]" + countries
        self.assertEqual({channel.topic: channel.id for channel in parse(turned).topics}, numbers)
        self.assertEqual(len(set(numbers.values())), 3)
        self.assertTrue(all(0 <= number < 2**48 for number in numbers.values()))

    def test_twenty_thousand_channels_are_read_in_seconds(self) -> None:
        station = f'[[station]]\nlogin = "{{0}}.x"\npassword = "{STORED}"\n'
        channels = "".join(f'[[station.channel]]\ntopic = "/topic/id/{{0}}/{number}/"\n' for number in range(10))
        text = "".join((station + channels).format(number) for number in range(2000))
        begin = time.monotonic()
        self.assertEqual(len(parse(text).topics), 20_000)
        self.assertLess(time.monotonic() - begin, 20)


FINGERPRINT = "sha256:" + "ab" * 32
UNTIL = "2026-12-31T23:59:59Z"


class TestPasswordsAndCertificates(unittest.SynchronousTestCase):
    def account(self, *lines: str, head: str = "") -> Account:
        station = "\n".join(['[[station]]\nlogin = "1.rock"', *lines])
        return parse(f"{head}\n{station}\n").accounts["1.rock"]

    def refused(self, part: str, *lines: str, head: str = "") -> None:
        with self.assertRaisesRegex(StationsFileError, part):
            self.account(*lines, head=head)

    def test_an_old_password_is_valid_until_its_end(self) -> None:
        old = STORED.replace("1024", "2048")
        lines = f'password = "{STORED}"', f'old_password = "{old}"', f"old_password_until = {UNTIL}"
        account = self.account(*lines)
        end = datetime.fromisoformat(UNTIL).timestamp()
        self.assertEqual([str(each) for each, _ in account.passwords(end - 1)], [STORED, old])
        self.assertEqual([until for _, until in account.passwords(end - 1)], [math.inf, end])
        self.assertEqual([str(each) for each, _ in account.passwords(end)], [STORED])

    def test_a_station_may_wait_for_its_first_password(self) -> None:
        account = self.account('password = "locked"')
        self.assertEqual((account.password, account.passwords(0)), (None, ()))
        self.refused("password: not of the form", 'password = "Locked"')
        old = 'password = "locked"', 'old_password = "locked"', f"old_password_until = {UNTIL}"
        self.refused("old_password: not of the form", *old)
        text = GOOD.replace(STORED, "locked")
        self.assertEqual(parse(text).locked, ("1.rock", "1.second", "2.jazz"))
        with_certificate = text.replace("networks =", f'certificates = ["{FINGERPRINT}"]\nnetworks =')
        self.assertEqual(parse(with_certificate).locked, ("1.second", "2.jazz"))

    def test_an_old_password_has_an_end(self) -> None:
        password, old = f'password = "{STORED}"', f'old_password = "{STORED}"'
        self.refused("old_password: must be set together with old_password_until", password, old)
        self.refused("old_password: must be set together", password, f"old_password_until = {UNTIL}")
        for until in (f'"{UNTIL}"', UNTIL.removesuffix("Z"), "2026-12-31", "1"):
            self.refused("a time with its zone", password, old, f"old_password_until = {until}")

    def test_a_fingerprint_in_any_usual_form(self) -> None:
        for text in (FINGERPRINT, "SHA256:" + "AB" * 32, "sha256: " + ":".join(["Ab"] * 32)):
            account = self.account(f'certificates = ["{text}"]')
            self.assertEqual(account.certificates, (KnownCertificate(b"\xab" * 32),))
            self.assertEqual((account.password, account.passwords(0)), (None, ()))

    def test_a_subject_needs_an_authority(self) -> None:
        line, head = 'certificates = ["CN=rock,O=Radio"]', 'client_ca = "clients.pem"'
        (known,) = self.account(line, head=head).certificates
        self.assertEqual(known.subject and known.subject.rfc4514_string(), "CN=rock,O=Radio")
        self.refused("a subject needs client_ca", line)

    def test_what_is_no_certificate(self) -> None:
        for text in ("", "rock", "sha256:abc", "sha1:" + "ab" * 20, FINGERPRINT + "0"):
            self.refused("certificates: ", f'certificates = ["{text}"]', head='client_ca = "clients.pem"')

    def test_without_a_certificate_there_is_a_password(self) -> None:
        self.refused("password: is missing", "certificates = []")

    def test_only_a_file_with_certificates_asks_for_them(self) -> None:
        self.assertFalse(parse(GOOD).has_certificates)
        self.assertTrue(
            parse(GOOD.replace("networks =", f'certificates = ["{FINGERPRINT}"]\nnetworks =')).has_certificates
        )


class TestNetworks(unittest.SynchronousTestCase):
    def allows(self, networks: str, address: str) -> bool:
        lines = re.sub(r"networks = .*", f"networks = {networks}", GOOD)
        return parse(lines).accounts["1.rock"].allows(address)

    def test_fault_10_a_mask_that_is_no_multiple_of_eight(self) -> None:
        networks = '["10.0.16.0/20"]'
        cases = {"10.0.16.0": True, "10.0.31.1": True, "10.0.31.255": True, "10.0.32.1": False, "10.0.15.255": False}
        for address, allowed in cases.items():
            self.assertIs(self.allows(networks, address), allowed, address)

    def test_fault_10_ipv6_and_single_addresses(self) -> None:
        networks = '["2001:db8::/33", "192.0.2.7"]'
        cases = {
            "2001:db8:7fff::1": True,
            "2001:db8:8000::1": False,
            "192.0.2.7": True,
            "192.0.2.8": False,
            "::1": False,
        }
        for address, allowed in cases.items():
            self.assertIs(self.allows(networks, address), allowed, address)

    def test_an_ipv4_address_in_ipv6_clothing_is_ipv4(self) -> None:
        self.assertTrue(self.allows('["10.0.0.0/8"]', "::ffff:10.1.2.3"))
        self.assertFalse(self.allows('["10.0.0.0/8"]', "::ffff:11.1.2.3"))
        self.assertFalse(self.allows('["::/0"]', "::ffff:10.1.2.3"))

    def test_what_is_no_address_is_refused_and_no_error(self) -> None:
        for address in ("", "radio.example", "10.0.0", "10.0.0.1:80", "10.0.0.1/8"):
            self.assertIs(self.allows('["0.0.0.0/0", "::/0"]', address), False, address)

    def test_an_empty_list_allows_nobody_and_no_list_everybody(self) -> None:
        self.assertFalse(self.allows("[]", "10.0.0.1"))
        everybody = parse(GOOD).accounts["2.jazz"]
        self.assertTrue(everybody.allows("203.0.113.9") and everybody.allows("2001:db8::1"))


ERRORS = [
    # (what is replaced, by what, the line named, words of the text)
    ('login = "1.rock"', 'login = "1.rock', 2, ["Illegal character"]),
    ('name = "Rock"', "name = ", 3, ["value"]),
    ('name = "Rock"', 'login = "again"', 3, ["overwrite"]),
    ('login = "1.rock"', "", 1, ["station number 1", "login", "missing"]),
    ('login = "1.rock"', "login = 1", 2, ["login", "text in quotes", "a number"]),
    ('login = "1.rock"', 'login = "1. rock"', 2, ["without spaces"]),
    ('login = "1.rock"', 'login = ".rock"', 2, ["<station id>.<name>"]),
    ('login = "1.second"', 'login = "1.rock"', 15, ["login already"]),
    (f'password = "{STORED}"\nnetworks', "networks", 1, ["station 1.rock", "password", "missing"]),
    (STORED, "geheim", 4, ["password", "station hash"]),
    ("scrypt$1024$", "scrypt$1048576$", 4, ["out of bounds"]),
    ("networks = [", "network = [", 5, ["network", "did you mean 'networks'?"]),
    ('networks = ["10', 'colour = ["10', 5, ["colour", "known are login, password"]),
    ('["10.0.16.0/20", "2001:db8::/32"]', '"10.0.16.0/20"', 5, ["networks", "must be a list"]),
    ("10.0.16.0/20", "10.0.31.1/20", 5, ["host bits", "10.0.16.0/20"]),
    ("10.0.16.0/20", "10.0.16.0/33", 5, ["10.0.16.0/33"]),
    ('"10.0.16.0/20"', "10", 5, ["text in quotes"]),
    ("/topic/fm/4e1/4000/09580/", "/queue/fm", 7, ["channel 1", "/topic/"]),
    ("/topic/fm/4e1/4000/09580/", "/topic/", 7, ["is not a topic"]),
    ("/topic/fm/4e1/4000/09580/", "/topic/fm 4e1/", 7, ["space"]),
    ("/topic/fm/4e1/4000/09580/", "/topic/a\\u0000/", 7, ["control character"]),
    ("image =", "picture =", 8, ["picture", "known are topic, image"]),
    ("text =", "txt =", 9, ["did you mean 'text'?"]),
    ("http://img.example/rock.png", "rock.png", 8, ["image", "http://"]),
    ("http://img.example/rock.png", "ftp://img.example/rock.png", 8, ["http://"]),
    ("http://img.example/rock.png", "http://img.example/" + "r" * 500, 8, ["519 bytes", "512"]),
    ("Rock FM", "ü" * 65, 9, ["1.rock", "has 130 octets, radios take 128: shorten it"]),
    ("Rock FM", "Rock\\nFM", 9, ["line break"]),
    ("https://rock.example/?a=1", "javascript:alert(1)", 10, ["link"]),
    ('topic = "/topic/dab/4e1/4fff/4001/0"', "", 11, ["channel 2", "topic", "missing"]),
    ("/topic/dab/4e1/4fff/4001/0", "/topic/fm/4e1/4000/09580", 12, ["belongs to station 1.rock already"]),
    ("/topic/id/rock.example/1/", "/topic/fm/ch/4000/09580/", 18, ["station 1.second", "belongs to station 1.rock"]),
    ("/topic/id/rock.example/1/", "/topic/FM/4E1/4000/09580/", 18, ["belongs to station 1.rock"]),
    ("[countries]", "[country]", 24, ["country", "did you mean 'countries'?"]),
    ('ch = "4e1"', 'che = "4e1"', 25, ["che", "two lower-case letters"]),
    ('ch = "4e1"', 'ch = "4E1"', 25, ["'4E1'", "three lower-case hex digits"]),
    ('ch = "4e1"', "ch = 401", 25, ["text in quotes"]),
]


class TestErrors(unittest.SynchronousTestCase):
    def error(self, text: str) -> StationsFileError:
        with self.assertRaises(StationsFileError) as raised:
            parse(text)
        self.assertNotIn(STORED[20:], str(raised.exception))
        return raised.exception

    def test_each_names_file_line_and_key(self) -> None:
        for old, new, line, words in ERRORS:
            self.assertIn(old, GOOD)
            error = self.error(GOOD.replace(old, new, 1))
            self.assertTrue(str(error).startswith(f"stations.toml:{line}: "), f"{error} (for {new}, line {line})")
            for word in words:
                self.assertIn(word, str(error))

    def test_an_unknown_top_key_is_named(self) -> None:
        self.assertIn("did you mean 'station'?", str(self.error(GOOD.replace("[[station]]", "[[stations]]"))))

    def test_a_file_without_stations_is_refused_as_a_half_written_one(self) -> None:
        for text in ("", "# nothing\n", '[countries]\nch = "4e1"\n'):
            self.assertIn("no [[station]]", str(self.error(text)))

    def test_a_single_table_where_many_are_meant(self) -> None:
        self.assertIn("must be a list, not a table", str(self.error(f'[station]\nlogin = "1"\npassword = "{STORED}"')))

    def test_inline_tables_are_found_at_their_line(self) -> None:
        text = f'[[station]]\nlogin = "1.a"\npassword = "{STORED}"\n# a line more\nchannel = [{{topic = "x"}}]\n'
        self.assertEqual(self.error(text).line, 5)
        self.assertEqual(self.error('\nstation = [{login = "1.a"}]').line, 2)
        self.assertEqual(self.error("\nstation = [5]").line, 2)

    def test_a_file_cut_short_names_its_last_line(self) -> None:
        self.assertEqual(self.error('[[station]]\nlogin = "1.a"\ntext = """never\nended').line, 4)

    def test_nesting_without_end(self) -> None:
        self.assertIn("too deeply", str(self.error("a = " + "[" * 100_000)))

    @given(st.integers(0, len(GOOD)), st.integers(0, 40), st.text(max_size=5))
    def test_whatever_is_done_to_a_file_it_is_read_or_refused_in_one_way(self, at: int, cut: int, put: str) -> None:
        try:
            parse(GOOD[:at] + put + GOOD[at + cut :])
        except StationsFileError as error:
            self.assertTrue(str(error).startswith("stations.toml"))
