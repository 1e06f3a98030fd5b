"""The services of a BBC server: what becomes of each field, and every fault with its line."""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from radiovis.directory.bbc_services import BbcServices, ServicesFileError, read_services, stations_text
from radiovis.directory.password import LOCKED
from radiovis.directory.stations_parser import parse_stations

GOOD = """\
{
  "station1": {
    "name": "Big Station 1",
    "default_image": "http://cdn.example.com/images/static/station1.png",
    "default_link": "http://www.example.com/station1",
    "bearers": [
      "dab:ce2.ce21.c201.0",
      "fm:ce2.c201.09710"
    ]
  },
  "station2": {
    "default_text": "Hello World",
    "default_image_url": "https://cdn.example.com/images/static/station2.png",
    "default_link_url": null,
    "bearers": ["dab:ce2.ce21.C202.1.04-001.12", "drm:e1c238", "amss:e1c239", "hd:292.98f00",
                "id:www.Example.com/Rock"]
  }
}
"""


class ServicesCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "services.json")

    def read(self, text: str | bytes) -> BbcServices:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_services(self.path)

    def faults(self, text: str | bytes) -> list[str]:
        """What is said of a file, without its folder."""
        with self.assertRaises(ServicesFileError) as raised:
            self.read(text)
        return str(raised.exception).replace(str(self.path.parent) + "/", "").splitlines()


class Conversion(ServicesCase):
    def stations(self, text: str) -> Any:
        made = stations_text(self.read(text), lambda: LOCKED)
        parse_stations(made, "made")
        return tomllib.loads(made)["station"]

    def test_a_service_becomes_a_station_and_each_bearer_a_channel(self) -> None:
        one, two = self.stations(GOOD)
        self.assertEqual((one["login"], one["name"], one["password"]), ("station1", "Big Station 1", "locked"))
        self.assertEqual(
            one["channel"],
            [
                {
                    "topic": topic,
                    "image": "http://cdn.example.com/images/static/station1.png",
                    "text": "You are listening to Big Station 1",
                    "link": "http://www.example.com/station1",
                }
                for topic in ("/topic/dab/ce2/ce21/c201/0/", "/topic/fm/ce2/c201/09710/")
            ],
        )
        self.assertEqual(two["name"], "station2")
        self.assertEqual(
            [each["topic"] for each in two["channel"]],
            [
                "/topic/dab/ce2/ce21/c202/1/04-001/12/",
                "/topic/drm/e1c238/",
                "/topic/amss/e1c239/",
                "/topic/hd/292/98f00/",
                "/topic/id/www.example.com/Rock/",
            ],
        )
        self.assertEqual(
            {key: value for key, value in two["channel"][0].items() if key != "topic"},
            {"image": "https://cdn.example.com/images/static/station2.png", "text": "Hello World"},
        )

    def test_only_bearers_have_to_be_there(self) -> None:
        (station,) = self.stations(
            '{"bbclondon": {"bearers": ["dab:ce1.c186.cc31.0"], "name": "", "default_text": null}}'
        )
        self.assertEqual(station["name"], "bbclondon")
        self.assertEqual(
            station["channel"],
            [{"topic": "/topic/dab/ce1/c186/cc31/0/", "text": "You are listening to bbclondon"}],
        )
        self.assertEqual(self.read('{"x": {"bearers": []}}').services[0].topics, ())

    def test_a_byte_order_mark_and_any_line_ends(self) -> None:
        self.assertEqual(self.read("\ufeff" + GOOD.replace("\n", "\r\n")), self.read(GOOD))

    def test_other_fields_are_named_and_left_out(self) -> None:
        found = self.read('{"x": {"bearers": [],\n"default_txt": 1,\n"colour": {"a": [1]}}}')
        self.assertEqual(
            [line.rpartition("services.json")[2] for line in found.unused],
            [
                ":2: service x: default_txt: is not used; did you mean default_text?",
                ":3: service x: colour: is not used",
            ],
        )

    @settings(deadline=None)
    @given(st.text(), st.text(min_size=1, max_size=20))
    def test_any_text_is_written_as_it_was_or_refused(self, name: str, text: str) -> None:
        service = {"x": {"name": name, "default_text": text, "bearers": ["fm:4e1.4000.09580"]}}
        try:
            (station,) = self.stations(json.dumps(service))
        except ServicesFileError:
            return
        self.assertEqual((station["name"], station["channel"][0]["text"]), (name or "x", text))


class Faults(ServicesCase):
    def assert_faults(self, text: str | bytes, *expected: str) -> None:
        found = self.faults(text)
        self.assertEqual(len(found), len(expected), found)
        for line, part in zip(found, expected, strict=True):
            self.assertTrue(line.startswith(f"services.json{part}"), f"{line!r} does not begin with {part!r}")

    def test_what_is_no_json(self) -> None:
        newer = sys.version_info >= (3, 13)
        place = ":17: is no JSON: Illegal trailing comma" if newer else ":18: is no JSON: Expecting property name"
        self.assert_faults(GOOD.replace("  }\n}", "  },\n}"), place)
        self.assert_faults("", ":1: is no JSON: Expecting value")
        self.assert_faults('{"a":\n{"name": "x}', ":2: is no JSON: ")
        self.assert_faults('{"a": ' + "9" * 5_000 + "}", ": is no JSON: Exceeds the limit")
        self.assert_faults("[" * 100_000, ": is nested too deeply")
        self.assert_faults(b'{"a":\n"\xff"}', ":2: is not UTF-8 here")

    def test_what_cannot_be_read(self) -> None:
        for path, part in ((self.path, "No such file"), (self.path.parent, "Is a directory")):
            with self.assertRaisesRegex(ServicesFileError, f"cannot be read: {part}"):
                read_services(path)
        with self.path.open("wb") as file:
            file.truncate(2**24)
        with self.assertRaisesRegex(ServicesFileError, "is longer than 8388608 bytes"):
            read_services(self.path)

    def test_wrong_types(self) -> None:
        self.assert_faults("[]", ":1: the file: must be an object, not a list")
        self.assert_faults('"x"', ":1: the file: must be an object, not a text in quotes")
        self.assert_faults("{}", ":1: the file: there is no service in it")
        self.assert_faults('{"a":\n{"bearers": []}, "b":\n["x"]}', ":2: service b: must be an object, not a list")
        self.assert_faults(
            '{"a": {"name": 1,\n"default_text": ["x"],\n"default_image": {"a": 1},\n"default_link": true,\n'
            '"bearers": "fm:4e1.4000.09580"}}',
            ":1: service a: name: must be a text in quotes, not a number",
            ":2: service a: default_text: must be a text in quotes, not a list",
            ":3: service a: default_image: must be a text in quotes, not an object",
            ":4: service a: default_link: must be a text in quotes, not true or false",
            ":5: service a: bearers: must be a list, not a text in quotes",
        )
        self.assert_faults(
            '{"a": {"bearers": [\nnull,\n1.5]}}', ":2: service a: bearers[0]: must be", ":3: service a: b"
        )

    def test_missing_bearers(self) -> None:
        self.assert_faults('{\n"a": {}}', ":2: service a: bearers: is missing")
        self.assert_faults('{"a":\n{"name": "x",\n"bearers": null}}', ":3: service a: bearers: is missing")

    def test_what_stands_twice(self) -> None:
        self.assert_faults('{"a": {"bearers": []},\n"a": {"bearers": []}}', ":2: the file: a: is given twice")
        self.assert_faults(
            '{"a": {"bearers": [],\n"bearers": ["fm:4e1.4000.09580"]}}', ":2: service a: bearers: is given twice"
        )
        self.assert_faults(
            '{"a": {"bearers": [],\n"default_link_url": "http://x/",\n"default_link": "http://y/"}}',
            ":2: service a: default_link_url: is given besides default_link",
        )

    def test_a_bearer_of_two_services_and_one_that_is_repeated(self) -> None:
        self.assert_faults(
            '{"a": {"bearers": ["fm:4e1.4000.09580",\n"fm:4E1.4000.09580"]},\n"b": {"bearers": ["fm:4e1.4000.09580"]}}',
            ":2: service a: bearers[1]: fm:4E1.4000.09580 belongs to service a already",
            ":3: service b: bearers[0]: fm:4e1.4000.09580 belongs to service a already",
        )

    def test_bearers_that_are_none(self) -> None:
        for bearer, part in (
            ("vhf:4e1.4000.09580", "'vhf:4e1.4000.09580' is not a bearer of fm, dab, drm, amss, hd or id"),
            ("", "'' is not a bearer of fm"),
            ("fm:4e1.4000", "'fm:4e1.4000' must have the form fm:<gcc>.<pi>.<frequency>, as in fm:4e1.4000.09580"),
            ("fm:4e1.4000.95.8", "'fm:4e1.4000.95.8' must have the form fm:"),
            ("dab:ce1.ce15.c221", "'dab:ce1.ce15.c221' must have the form dab:<gcc>.<eid>.<sid>.<scids>"),
            ("drm:e1c2", "'drm:e1c2' must have the form drm:<sid>"),
            ("id:rock", "'id:rock' must have the form id:<domain name>/<service>"),
            ("id:www.example.com/" + "x" * 600, "'/topic/id/www.example.com/xxx"),
            ("http://www.example.com/stream", "'http://www.example.com/stream' is not a bearer of"),
        ):
            with self.subTest(bearer=bearer):
                self.assert_faults(
                    '{"a": {"bearers": [\n' + json.dumps(bearer) + "]}}", f":2: service a: bearers[0]: {part}"
                )

    def test_a_text_of_more_than_128_octets(self) -> None:
        self.read('{"a": {"bearers": [], "default_text": "' + "é" * 64 + '"}}')
        self.assert_faults(
            '{"a": {"bearers": [],\n"default_text": "' + "é" * 64 + 'x"}}',
            ":2: service a: default_text: has 129 octets, radios take 128",
        )
        self.assert_faults(
            '{"a": {"bearers": [],\n"name": "' + "x" * 120 + '"}}',
            ":2: service a: name: 'You are listening to …', which stands for a default_text, has 141 octets",
        )
        self.assert_faults(
            '{\n"' + "x" * 120 + '": {"bearers": []}}', f":2: service {'x' * 120}: 'You are listening to …'"
        )
        self.assert_faults(
            '{"a": {"bearers": [], "default_text":\n"a\\nb"}}', ":1: service a: default_text: contains a line break"
        )
        self.assert_faults(
            '{"a": {"bearers": [], "name": "\\ud800"}}', ":1: service a: name: has half of a character in it"
        )

    def test_addresses_that_radios_cannot_fetch(self) -> None:
        for url in ("/images/1.png", "images/1.png", "//example.com/1.png", "ftp://example.com/1.png", "http://a b/"):
            with self.subTest(url=url):
                self.assert_faults(
                    '{"a": {"bearers": [],\n"default_image": "' + url + '"}}',
                    ":2: service a: default_image: must be a URL that begins with http:// or https://",
                )
        self.assert_faults(
            '{"a": {"bearers": [],\n"default_link": "http://x/' + "y" * 600 + '"}}',
            ":2: service a: default_link: is 609 bytes long; receivers accept 512",
        )

    def test_ids_that_cannot_be_logins(self) -> None:
        for id in ("radio 1", "radio.1", "radio:1", "radio/1", "", "a\\u0000"):
            with self.subTest(id=id):
                self.assertIn(": its id becomes a login, ", self.faults('{"' + id + '": {"bearers": []}}')[0])

    def test_all_faults_of_a_file_but_not_thousands(self) -> None:
        many = json.dumps({f"s{n}": {"bearers": ["x:1"], "name": 1} for n in range(5_000)}, indent=0)
        found = self.faults(many)
        self.assertEqual((len(found), found[-1]), (21, "services.json: and 9980 more"))
        self.assertTrue(found[0].startswith("services.json:4: service s0: bearers[0]: "), found[0])
