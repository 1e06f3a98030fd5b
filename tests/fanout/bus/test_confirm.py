"""Confirms read in one piece are those pika reads; all else is left to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pika.frame import Heartbeat, Method
from pika.spec import Basic
from twisted.trial import unittest

from fanout.bus.confirm import read

TAGS = st.integers(0, 2**64 - 1)
CHANNELS = st.integers(0, 2**16 - 1)


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    octets: bytes = Method(channel, Basic.Ack(tag, multiple)).marshal()
    return octets


class Confirms(unittest.TestCase):
    @given(CHANNELS, TAGS, st.booleans(), st.binary(max_size=20), st.binary(max_size=20))
    def test_what_was_sent_is_read_wherever_it_stands(
        self, channel: int, tag: int, multiple: bool, before: bytes, behind: bytes
    ) -> None:
        octets = ack(channel, tag, multiple)
        found = read(before + octets + behind, len(before))
        self.assertEqual(found, (len(before + octets), channel, tag, multiple))

    def test_one_that_is_not_whole(self) -> None:
        octets = ack(1, 7, True)
        for size in range(len(octets)):
            self.assertIsNone(read(octets[:size], 0), size)

    def test_what_is_none(self) -> None:
        octets = ack(1, 7, True)
        cases = {
            "a refusal": Method(1, Basic.Nack(7, True)).marshal() + octets,
            "a heart-beat": Heartbeat().marshal() + octets,
            "a rejection by a consumer": Method(1, Basic.Reject(7)).marshal() + octets,
            "a frame that ends wrongly": octets[:-1] + b"x",
            "a frame of another type": b"\x02" + octets[1:],
            "a frame of another size": octets.replace(b"\0\0\0\r", b"\0\0\0\x0e", 1),
        }
        for name, data in cases.items():
            self.assertIsNone(read(data, 0), name)
