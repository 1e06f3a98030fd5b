"""The properties of our messages: the octets of pika, and only such are read."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties
from twisted.trial import unittest

from fanout.bus import properties
from fanout.bus.properties import Properties

HEADERS = st.dictionaries(st.text(max_size=40), st.text(max_size=60), max_size=6)


def octets_of(given_properties: Any) -> bytes:
    return b"".join(given_properties.encode())


class TheProperties(unittest.TestCase):
    @given(HEADERS, st.text(max_size=60))
    def test_written_as_pika_writes_them_and_read_back(self, headers: dict[str, str], serial: str) -> None:
        fields = {"headers": headers, "delivery_mode": 2, "correlation_id": serial}
        octets = octets_of(Properties(**fields))
        self.assertEqual(octets, octets_of(BasicProperties(**fields)))
        found = properties.read(b"a" + octets + b"b", 1, 1 + len(octets))
        assert found is not None
        self.assertEqual(found, BasicProperties(**fields))

    def test_written_as_pika_writes_them_without_a_serial_or_with_a_type(self) -> None:
        for more in ({}, {"correlation_id": "fanout-1", "type": "again"}, {"type": "again"}):
            fields = {"headers": {"topic": "/topic/a"}, "delivery_mode": 2, **more}
            self.assertEqual(octets_of(Properties(**fields)), octets_of(BasicProperties(**fields)))

    def test_a_strangers_are_left_to_pika(self) -> None:
        strangers: list[dict[str, Any]] = [
            {"headers": {"topic": "/topic/a"}},
            {"headers": {"topic": "/topic/a"}, "delivery_mode": 2},
            {"headers": {"topic": "/topic/a"}, "delivery_mode": 2, "correlation_id": "1", "app_id": "x"},
            {"headers": {"topic": b"/topic/a"}, "delivery_mode": 2, "correlation_id": "1"},
            {"delivery_mode": 2, "correlation_id": "1", "content_type": "text/plain"},
        ]
        for fields in strangers:
            octets = octets_of(BasicProperties(**fields))
            self.assertIsNone(properties.read(octets, 0, len(octets)), fields)

    def test_more_or_less_than_one_is_left_to_pika(self) -> None:
        octets = octets_of(Properties(headers={"topic": "/topic/a"}, delivery_mode=2, correlation_id="x"))
        self.assertIsNone(properties.read(octets + b"y", 0, len(octets) + 1))
        self.assertIsNone(properties.read(octets, 0, len(octets) - 1))
