from __future__ import annotations

import json

from twisted.trial import unittest

from artcast.catalogue import Copies
from artcast.datum import Datum, Registration, as_json, parse, read_datum, read_registration
from fanout.listeners.datagrams import MalformedDatagram

NESTED = b'["k", ' + b"[" * 30_000 + b"]" * 30_000 + b"]"


class Data(unittest.TestCase):
    def test_a_key_and_a_value(self) -> None:
        for value in (1, 0.1, "text", "Zürich", None, True, [1, 2], {"a": [{}]}):
            datagram = json.dumps(["some/key", value], ensure_ascii=False).encode()
            self.assertEqual(read_datum(datagram, 100), Datum("some/key", json.dumps(value).encode()))

    def test_the_order_of_names_stays(self) -> None:
        self.assertEqual(read_datum(b'["k", {"b": 1, "a": 2}]', 9).value, b'{"b": 1, "a": 2}')

    def test_malformed(self) -> None:
        for datagram, reason in (
            (b"", "not JSON"),
            (b"nonsense", "not JSON"),
            (b"\xff\xfe[", "not JSON in UTF-8"),
            (b'["k", "\xe9"]', "not JSON in UTF-8"),
            (b'["k", "\\ud800"]', "not JSON in UTF-8"),
            (b'["\\udfff", 1]', "not JSON in UTF-8"),
            (b'["k", 1', "not JSON"),
            (b'["k", 1] trailing', "not JSON"),
            (b'["k", NaN]', "NaN is not JSON"),
            (b'["k", -Infinity]', "-Infinity is not JSON"),
            (b'["k", 1e999]', "not JSON"),
            (b'{"k": 1}', "should be a list"),
            (b'"k"', "should be a list"),
            (b'["k"]', "should be a list"),
            (b'["k", 1, 2]', "should be a list"),
            (b"[1, 2]", "should be a list"),
            (b"[null, 2]", "should be a list"),
            (b'["' + "é".encode() * 51 + b'", 1]', "longer than 100 octets"),
            (NESTED, "nested too deeply"),
        ):
            with self.assertRaisesRegex(MalformedDatagram, reason, msg=datagram[:40]):
                read_datum(datagram, 100)

    def test_what_came_over_the_bus_is_read_as_strictly(self) -> None:
        with self.assertRaises(MalformedDatagram):
            as_json(parse(b"[1, NaN]"))


class Registrations(unittest.TestCase):
    def test_facts(self) -> None:
        license_ = {"uri": "https://example.org", "title": "T"}
        facts = {"description": "d", "provenance": "p", "license": license_}
        self.assertEqual(read_registration(json.dumps(["k", facts]).encode(), 9), Registration("k", facts))
        facts["license"] = None  # type: ignore[assignment]
        self.assertEqual(read_registration(json.dumps(["k", facts]).encode(), 9), Registration("k", facts))

    def test_what_is_not_said_stays_unknown_and_what_is_unknown_is_left_out(self) -> None:
        self.assertEqual(read_registration(b'["k", {}]', 9).facts, {})
        datagram = b'["k", {"other": 1, "license": {"title": "T", "x": 2}}]'
        self.assertEqual(read_registration(datagram, 9).facts, {"license": {"title": "T"}})

    def test_malformed(self) -> None:
        for datagram, reason in (
            (b'["k", 1]', "should be an object"),
            (b'["k", {"description": 1}]', "description should be text"),
            (b'["k", {"provenance": null}]', "provenance should be text"),
            (b'["k", {"license": "CC0"}]', "license should be null or an object"),
            (b'["k", {"license": {"uri": 1}}]', "uri should be text"),
            (b"[]", "should be a list"),
        ):
            with self.assertRaisesRegex(MalformedDatagram, reason):
                read_registration(datagram, 9)


class Rule(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.copies = Copies(lambda: self.now, 5)

    def heard(self, way: str, value: bytes = b"1", source: str = "a:1", key: str = "k") -> bool:
        """Whether it is taken for news."""
        return not self.copies.is_copy(way, source, key, value)

    def test_the_same_value_by_another_way_is_a_copy(self) -> None:
        self.assertEqual([self.heard(way) for way in ("port", "bus B", "bus C", "port")], [True, False, False, True])

    def test_the_way_by_which_it_came_first_is_its_way(self) -> None:
        self.assertEqual([self.heard(way) for way in ("bus B", "port", "bus B", "port")], [True, False, True, False])

    def test_another_value_key_or_source_is_no_copy(self) -> None:
        self.assertTrue(self.heard("port"))
        self.assertTrue(self.heard("bus", value=b"2"))
        self.assertTrue(self.heard("bus", key="l"))
        self.assertTrue(self.heard("bus", source="a:2"))

    def test_when_its_way_is_silent_another_one_takes_over(self) -> None:
        self.assertTrue(self.heard("port"))
        self.now += 4.9
        self.assertFalse(self.heard("bus"))
        self.now += 0.1
        self.assertTrue(self.heard("bus"))
        self.assertFalse(self.heard("port"))

    def test_what_is_remembered_is_bounded_in_time_and_number(self) -> None:
        copies = Copies(lambda: self.now, 5, values=10)
        for number in range(1000):
            copies.is_copy("port", "a:1", "k", b"%d" % number)
        self.assertEqual(len(copies._heard), 10)
        self.now += 5
        copies.is_copy("port", "a:1", "k", b"last")
        self.assertEqual(len(copies._heard), 1)
