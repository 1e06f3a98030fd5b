from __future__ import annotations

import json

from twisted.trial import unittest

from artcast.datum import Datum, Registration, as_json, parse, read_datum, read_registration
from fanout.listeners.datagrams import MalformedDatagram

NESTED = b'["k", ' + b"[" * 2000 + b"]" * 2000 + b"]"


class Data(unittest.TestCase):
    def test_a_key_and_a_value(self) -> None:
        for value in (1, 0.1, "text", "Zürich", None, True, [1, 2], {"a": [{}]}):
            datagram = json.dumps(["some/key", value], ensure_ascii=False).encode()
            self.assertEqual(read_datum(datagram, 100), Datum("some/key", json.dumps(value).encode()))

    def test_the_order_of_names_stays(self) -> None:
        self.assertEqual(read_datum(b'["k", {"b": 1, "a": 2}]', 9).value, b'{"b": 1, "a": 2}')

    def test_malformed(self) -> None:
        for datagram, reason in (
            (b"", "no JSON"),
            (b"nonsense", "no JSON"),
            (b"\xff\xfe[", "no JSON in UTF-8"),
            (b'["k", "\xe9"]', "no JSON in UTF-8"),
            (b'["k", "\\ud800"]', "no JSON in UTF-8"),
            (b'["\\udfff", 1]', "no JSON in UTF-8"),
            (b'["k", 1', "no JSON"),
            (b'["k", 1] trailing', "no JSON"),
            (b'["k", NaN]', "NaN is no JSON"),
            (b'["k", -Infinity]', "-Infinity is no JSON"),
            (b'["k", 1e999]', "no JSON"),
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
