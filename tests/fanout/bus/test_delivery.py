"""Deliveries read in one piece are those pika reads in three; all else is left to it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pika.frame import Body, Header, Heartbeat, Method
from pika.spec import Basic, BasicProperties
from twisted.trial import unittest

from fanout.bus.delivery import read

PROPERTIES = BasicProperties(headers={"topic": "/topic/a", "link": "http://ü"}, delivery_mode=2, correlation_id="x")
DELIVER = Basic.Deliver("ctag", 7, True, "radiovis", "key")


def frames(body: bytes = b"SHOW x", properties: Any = PROPERTIES, channel: int = 1) -> list[bytes]:
    """The three frames of a message, or more of a body that pika splits."""
    return [
        Method(channel, DELIVER).marshal(),
        Header(channel, len(body), properties).marshal(),
        Body(channel, body).marshal(),
    ]


class Deliveries(unittest.TestCase):
    @given(st.binary(min_size=1, max_size=200), st.binary(max_size=20), st.binary(max_size=20))
    def test_what_was_sent_is_read_wherever_it_stands(self, body: bytes, before: bytes, behind: bytes) -> None:
        octets = b"".join(frames(body))
        found = read(before + octets + behind, len(before))
        assert found is not None
        self.assertEqual((found.end, found.channel), (len(before + octets), 1))
        self.assertEqual((found.method, found.properties, found.body), (DELIVER, PROPERTIES, body))

    def test_one_that_is_not_whole(self) -> None:
        octets = b"".join(frames())
        for size in range(len(octets)):
            self.assertIsNone(read(octets[:size], 0), size)

    def test_what_is_not_ordinary(self) -> None:
        method, header, body = frames()
        other = frames(channel=2)
        cases = {
            "an acknowledgement": Method(1, Basic.Ack(3, True)).marshal() + header + body,
            "a heart-beat": Heartbeat().marshal() + method + header + body,
            "one between its frames": method + Heartbeat().marshal() + header + body,
            "an empty body": method + Header(1, 0, PROPERTIES).marshal(),
            "a body in two frames": method + Header(1, 12, PROPERTIES).marshal() + body + body,
            "a header of another channel": method + other[1] + body,
            "a body of another channel": method + header + other[2],
            "a device's properties": b"".join(frames(properties=BasicProperties(headers={"topic": "/topic/a"}))),
            "properties of another class": method + header.replace(b"\x00\x3c", b"\x00\x14", 1) + body,
            "a frame that ends wrongly": method[:-1] + b"x" + header + body,
            "a header that does": method + header[:-1] + b"x" + body,
            "a body that does": method + header + body[:-1] + b"x",
        }
        for name, octets in cases.items():
            self.assertIsNone(read(octets, 0), name)

    @given(st.integers(0, 200), st.integers(0, 255))
    def test_a_changed_octet_is_read_or_left_and_never_raises(self, place: int, value: int) -> None:
        octets = bytearray(b"".join(frames()))
        octets[place % len(octets)] = value
        read(bytes(octets), 0)
