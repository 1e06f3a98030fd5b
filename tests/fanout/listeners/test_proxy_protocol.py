from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.listeners.proxy_protocol import V1_LONGEST, V2_LONGEST, ProxiedClient, ProxyHeader, ProxyHeaderError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(addresses: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


IPV4 = ip_address("192.0.2.1").packed + ip_address("198.51.100.1").packed + struct.pack("!HH", 56324, 61613)
IPV6 = ip_address("2001:db8::1").packed + ip_address("2001:db8::2").packed + struct.pack("!HH", 56324, 61613)

GOOD = {
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 61613\r\n": ("192.0.2.1", 56324),
    b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n": ("2001:db8::1", 0),
    b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n": ("192.0.2.1", 1),
    b"PROXY UNKNOWN\r\n": ("", 0),
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": ("", 0),
    v2(IPV4): ("192.0.2.1", 56324),
    v2(IPV6, family=0x21): ("2001:db8::1", 56324),
    v2(IPV4 + b"\x04\x00\x03abc"): ("192.0.2.1", 56324),
    v2(b"", command=0x20, family=0): ("", 0),
    v2(IPV4, command=0x20): ("", 0),
    v2(b"x" * 216, family=0x31): ("", 0),
    v2(IPV4, family=0x12): ("", 0),
}
BAD = (
    b"CONNECT\n\n\0",
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
    b"PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 x 1 2\r\n",
    b"PROXY TCP4 192.0.2.1\n198.51.100.1 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * V1_LONGEST,
    v2(IPV4, command=0x11),
    v2(IPV4, command=0x22),
    v2(IPV4[:11]),
    v2(IPV4, family=0x21),
    v2(b"x" * (V2_LONGEST - 15)),
    b"\r\n\r\n\0\r\nQUIX",
)


class TestProxyHeader(unittest.TestCase):
    def test_good_ones_in_one_piece(self) -> None:
        for data, (host, port) in GOOD.items():
            self.assertEqual(ProxyHeader().feed(data + b"CONNECT"), ProxiedClient(host, port, b"CONNECT"), data)

    def test_good_ones_octet_by_octet(self) -> None:
        for data, (host, port) in GOOD.items():
            header = ProxyHeader()
            found = [header.feed(data[place : place + 1]) for place in range(len(data))]
            self.assertEqual(found[:-1], [None] * (len(data) - 1), data)
            self.assertEqual(found[-1], ProxiedClient(host, port, b""), data)

    def test_bad_ones(self) -> None:
        for data in BAD:
            with self.assertRaises(ProxyHeaderError, msg=data):
                ProxyHeader().feed(data)

    def test_a_line_without_an_end_is_given_up_at_its_greatest_length(self) -> None:
        header = ProxyHeader()
        self.assertIsNone(header.feed(b"PROXY ".ljust(V1_LONGEST - 1)))
        self.assertRaises(ProxyHeaderError, header.feed, b" ")

    def test_a_length_that_is_too_great_is_refused_before_it_is_sent(self) -> None:
        with self.assertRaises(ProxyHeaderError):
            ProxyHeader().feed(SIGNATURE + b"\x21\x11\xff\xff")

    @given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=20))
    def test_anything_is_a_source_or_an_error_or_unfinished(self, data: bytes, cuts: list[int]) -> None:
        for start in (b"", b"PROXY TCP4 ", SIGNATURE):
            header, rest = ProxyHeader(), start + data
            try:
                for cut in [*cuts, len(rest)]:
                    piece, rest = rest[:cut], rest[cut:]
                    if header.feed(piece) is not None:
                        break
            except ProxyHeaderError:
                pass
